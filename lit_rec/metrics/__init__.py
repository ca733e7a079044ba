"""Ranking metrics: the functions, their torchmetrics states, and intervals.

May import core.
"""
