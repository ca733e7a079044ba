"""What the models are compared with: one file a method, one interface.

May import ranking, data, artifacts, core.
"""
