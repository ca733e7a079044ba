"""Results apart for kinds of queries: history length, basket size, how much of the basket is bought again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lit_rec.evaluation.per_query import PerQuery
from lit_rec.metrics.headline import CHOOSING_METRIC

Slices = Mapping[str, Callable[[NDArray[Any]], NDArray[np.bool_]]]

_FIVE_AND_MORE: Slices = {
    "5-9": lambda n: (n >= 5) & (n <= 9),
    "10-19": lambda n: (n >= 10) & (n <= 19),
    "20+": lambda n: n >= 20,
}
SLICES: dict[str, tuple[str, str, Slices]] = {
    "history_length": ("Past orders", "n_orders", {"fewer than 5": lambda n: n < 5, **_FIVE_AND_MORE}),
    "basket_size": ("Products in the basket", "basket_size", {"1-4": lambda n: n < 5, **_FIVE_AND_MORE}),
    "repeat_share": (
        "Share of the basket bought before",
        "repeat_share",
        {
            "0": lambda share: share == 0,
            "above 0 to 1/2": lambda share: (share > 0) & (share <= 0.5),
            "above 1/2, below 1": lambda share: (share > 0.5) & (share < 1),
            "1": lambda share: share == 1,
        },
    ),
}
"""Variable to its title, to the attribute of :class:`PerQuery` that it reads, and to which queries each label names."""


def sliced(results: Sequence[PerQuery], metric: str = CHOOSING_METRIC) -> dict[str, dict[str, dict[str, Any]]]:
    """The mean of a metric in each slice.

    Args:
        results: of methods on the same queries, at least one.
        metric: which.

    Returns:
        Variable, to label, to ``n_queries`` and, under the metric's name, method to mean (None of no query).
    """
    means: dict[str, dict[str, dict[str, Any]]] = {}
    for variable, (_, attribute, slices) in SLICES.items():
        means[variable] = {}
        for label, belongs in slices.items():
            chosen = belongs(getattr(results[0], attribute))
            values = {result.method: result.values[metric][chosen].astype(np.float64) for result in results}
            means[variable][label] = {
                "n_queries": int(chosen.sum()),
                metric: {name: None if np.isnan(v).all() else float(np.nanmean(v)) for name, v in values.items()},
            }
    return means
