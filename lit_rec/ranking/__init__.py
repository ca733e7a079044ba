"""The repeat-explore ranker: candidate products, their features, the network, and its training.

May import metrics, data, core.
"""
