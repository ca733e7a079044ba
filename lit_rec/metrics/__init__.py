"""Ranking metrics: the functions, their torchmetrics states, the best k, and intervals.

May import core.
"""
