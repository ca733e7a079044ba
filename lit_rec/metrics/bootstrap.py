"""How far a mean difference between two methods could be off: percentile bootstrap over the queries, paired.

Shapes: Q queries, B resamples.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lit_rec.errors import SettingError, ShapeError

_CELLS_PER_CHUNK = 2_000_000  # 16 MB of drawn positions at a time


class Difference(NamedTuple):
    """A mean difference with its interval.

    Args:
        difference: mean of second - first.
        low: the interval's end below.
        high: the interval's end above.
    """

    difference: float
    low: float
    high: float


def paired_difference(
    first: ArrayLike, second: ArrayLike, *, n_resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> Difference:
    """The mean of ``second - first`` over the queries, and the interval it would move in with other queries.

    Args:
        first: float ``(Q,)``, a metric of each query; NaN where it does not apply, which then is left out.
        second: float ``(Q,)``, the same metric of the same queries by the other method.
        n_resamples: B.
        level: share of the resampled means inside the interval.
        seed: the same seed gives the same interval.

    Returns:
        All NaN where the metric applies to no query.

    Raises:
        ShapeError: not two vectors of one length.
        SettingError: ``n_resamples`` is below 1, or ``level`` is not between 0 and 1.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; paired by query as in Sakai,
    Evaluating evaluation metrics based on the bootstrap (SIGIR 2006).

    >>> paired_difference([0.0, 0.5, 1.0], [0.25, 0.75, 1.25])
    Difference(difference=0.25, low=0.25, high=0.25)
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ShapeError("first and second must be (Q,)", f"got {a.shape} and {b.shape}", "Pass one value a query")
    if n_resamples < 1 or not 0 < level < 1:
        raise SettingError("n_resamples must be at least 1, level between 0 and 1", f"got {n_resamples} and {level}")
    differences = b - a
    differences = differences[~np.isnan(differences)]
    if len(differences) == 0:
        return Difference(np.nan, np.nan, np.nan)
    tail = 50 * (1 - level)
    low, high = np.percentile(_resampled_means(differences, n_resamples, seed), [tail, 100 - tail])
    return Difference(float(differences.mean()), float(low), float(high))


def _resampled_means(values: NDArray[np.float64], n_resamples: int, seed: int) -> NDArray[np.float64]:
    rng, n = np.random.default_rng(seed), len(values)
    per_chunk = max(1, _CELLS_PER_CHUNK // n)
    sizes = [min(per_chunk, n_resamples - begin) for begin in range(0, n_resamples, per_chunk)]
    return np.concatenate([values[rng.integers(0, n, size=(size, n))].mean(axis=1) for size in sizes])
