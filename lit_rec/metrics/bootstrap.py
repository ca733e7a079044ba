"""How far a mean could be off: percentile bootstrap over queries, paired between methods.

Shapes: Q queries, C columns (a metric of a method), B resamples.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; paired by resampling whole queries,
as Sakai, Evaluating evaluation metrics based on the bootstrap (SIGIR 2006), does for rankings.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.progress import track

from lit_rec.core.errors import SettingError, ShapeError

N_RESAMPLES = 10_000
LEVEL = 0.95

_CELLS = 2_000_000  # of a chunk of weights (B, Q): 16 MB
_SLOW = 300_000_000  # cells in all, above which a bar is shown: several seconds

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A percentile interval.

    Args:
        low: the end below.
        high: the end above.
    """

    low: float
    high: float


def resampled_means(values: Values, n_resamples: int = N_RESAMPLES, seed: int = 0) -> Values:
    """The mean of each column in each resample of the queries; all columns see the same resamples.

    A resample draws Q queries with replacement, which is a multinomial weight for each: the means of all columns are
    one matrix product, done for some resamples at a time so that memory stays small.

    Args:
        values: float ``(Q, C)``; NaN where a metric does not apply to a query, which then is not in the mean.
        n_resamples: B.
        seed: the same seed gives the same resamples.

    Returns:
        float64 ``(B, C)``; NaN where a resample holds no query that a metric applies to.

    Raises:
        ShapeError: ``values`` is no matrix with a row.
        SettingError: ``n_resamples`` is below 1.
    """
    if values.ndim != 2 or not len(values):
        raise ShapeError("values must be (Q, C) with at least one query", f"got {values.shape}")
    if n_resamples < 1:
        raise SettingError("n_resamples must be at least 1", f"got {n_resamples}")
    rng, n_queries = np.random.default_rng(seed), len(values)
    applies = ~np.isnan(values)
    sums_and_counts = np.hstack([np.where(applies, values, 0.0), applies])
    per_chunk = max(1, _CELLS // n_queries)
    means = np.empty((n_resamples, values.shape[1]))
    quick = n_resamples * n_queries < _SLOW
    for begin in track(range(0, n_resamples, per_chunk), "Bootstrap", disable=quick, transient=True):
        end = min(begin + per_chunk, n_resamples)
        sums, counts = np.split(_weights(rng, end - begin, n_queries) @ sums_and_counts, 2, axis=1)
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
            means[begin:end] = sums / counts
    return means


def percentile_intervals(resampled: Values, level: float = LEVEL) -> list[Interval]:
    """The central interval of each column.

    Args:
        resampled: ``(B, C)``; NaN does not count.
        level: share of the resamples inside.
    """
    tail = 50 * (1 - level)
    intervals = []
    for column in resampled.T:
        known = column[~np.isnan(column)]
        low, high = np.percentile(known, [tail, 100 - tail]) if len(known) else (np.nan, np.nan)
        intervals.append(Interval(float(low), float(high)))
    return intervals


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
    first: ArrayLike, second: ArrayLike, *, n_resamples: int = N_RESAMPLES, level: float = LEVEL, seed: int = 0
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
    (interval,) = percentile_intervals(resampled_means(differences[:, np.newaxis], n_resamples, seed), level)
    return Difference(float(differences.mean()), interval.low, interval.high)


def _weights(rng: np.random.Generator, n_resamples: int, n_queries: int) -> Values:
    """How often each resample holds each query: ``(B, Q)``, rows that sum to Q."""
    drawn = rng.integers(0, n_queries, size=(n_resamples, n_queries))
    drawn += n_queries * np.arange(n_resamples)[:, np.newaxis]
    counts = np.bincount(drawn.ravel(), minlength=n_resamples * n_queries)
    return counts.reshape(n_resamples, n_queries).astype(np.float64)
