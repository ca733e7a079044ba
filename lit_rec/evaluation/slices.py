"""Results apart for kinds of queries: history length, basket size, how much of the basket is bought again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lit_rec.evaluation.measure import PerQuery

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Slice:
    """A kind of queries.

    Args:
        label: what tables call it.
        chosen: of a method's results, which queries are of this kind, bool ``(Q,)``.
    """

    label: str
    chosen: Callable[[PerQuery], Mask]


def _numbers(
    variable: Callable[[PerQuery], NDArray[np.int64]], bounds: Sequence[tuple[int, int | None]]
) -> list[Slice]:
    def between(low: int, high: int | None) -> Slice:
        label = f"{low}+" if high is None else f"{low}-{high}"
        return Slice(label, lambda of: (variable(of) >= low) & (variable(of) <= (np.inf if high is None else high)))

    return [between(low, high) for low, high in bounds]


SLICES: dict[str, list[Slice]] = {
    "history_length": [
        Slice("fewer than 5", lambda of: of.n_orders < 5),
        *_numbers(lambda of: of.n_orders, [(5, 9), (10, 19), (20, None)]),
    ],
    "basket_size": _numbers(lambda of: of.basket_size, [(1, 4), (5, 9), (10, 19), (20, None)]),
    "repeat_share": [
        Slice("0", lambda of: of.repeat_share == 0),
        Slice("above 0 to 1/2", lambda of: (of.repeat_share > 0) & (of.repeat_share <= 0.5)),
        Slice("above 1/2, below 1", lambda of: (of.repeat_share > 0.5) & (of.repeat_share < 1)),
        Slice("1", lambda of: of.repeat_share == 1),
    ],
}
"""By variable: past orders, relevant products, and the share of these that was bought before. They share no query."""

TITLES = {
    "history_length": "Past orders",
    "basket_size": "Products in the basket",
    "repeat_share": "Share of the basket bought before",
}


def sliced(
    results: Sequence[PerQuery], metric: str = "ndcg@10"
) -> dict[str, dict[str, dict[str, int | dict[str, float | None]]]]:
    """The mean of a metric in each slice.

    Args:
        results: of methods on the same queries.
        metric: which.

    Returns:
        Variable, to label, to ``n_queries`` and, under the metric's name, method to mean (None of no query).
    """
    return {
        variable: {one.label: {"n_queries": _count(results, one), metric: _means(results, one, metric)} for one in some}
        for variable, some in SLICES.items()
    }


def _count(results: Sequence[PerQuery], one: Slice) -> int:
    return int(one.chosen(results[0]).sum()) if results else 0


def _means(results: Sequence[PerQuery], one: Slice, metric: str) -> dict[str, float | None]:
    chosen = [(result.method, result.values[metric][one.chosen(result)].astype(np.float64)) for result in results]
    return {method: None if np.isnan(values).all() else float(np.nanmean(values)) for method, values in chosen}
