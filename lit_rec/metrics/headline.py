"""Which metrics are shown, and where; light, so that help comes at once."""

CHOOSING_METRIC = "ndcg@10"
"""Chooses checkpoints and hyper-parameters, ranks methods in tables, and says whether training helped."""

CURVE_METRICS = ("ndcg@10", "recall@10", "repeat_recall@10", "explore_recall@100")
"""On the learning curve and in the log of each epoch."""

HEADLINE_METRICS = (
    "ndcg@10",
    "recall@10",
    "accuracy@10",
    "mrr@10",
    "map@100",
    "repeat_recall@10",
    "explore_recall@100",
)
"""In the tables that training prints."""

INTERVAL_METRICS = (
    *HEADLINE_METRICS,
    "repeat_ndcg@10",
    "explore_recall@10",
    "explore_filtered_recall@10",
    "explore_filtered_recall@100",
    "explore_filtered_ndcg@10",
)
"""Those that ``evaluate`` and ``compare`` give an interval and differences."""

RECALL_RANKS = (1, 3, 5, 10, 20, 50, 100)
"""Where the recall curve of ``evaluate`` has its points."""

TABLE_METRICS = (
    "recall@10",
    "accuracy@10",
    "repeat_recall@10",
    "explore_recall@100",
    "explore_filtered_recall@100",
    "coverage@10",
)
"""Beside the choosing metric in the tables of ``evaluate``."""
