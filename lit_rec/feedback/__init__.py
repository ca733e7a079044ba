"""What users did with recommendations: reports, simulated users, training pairs.

May import inference, store, data, artifacts, core.
"""
