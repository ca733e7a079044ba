"""LightningCLI, its callbacks, and the export of a checkpoint.

May import evaluation, ranking, models, metrics, data, artifacts, core.
"""
