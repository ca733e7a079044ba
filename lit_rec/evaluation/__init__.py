"""Measures models and baselines on the same queries: evaluate, compare, tables, plots, reports.

May import baselines, inference, ranking, metrics, data, artifacts, core.
"""
