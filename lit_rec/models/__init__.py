"""The text encoder, the losses, and the LightningModule that trains it.

May import data, artifacts, core.
"""
