"""Estimates with intervals: percentile bootstrap over queries, paired between methods; Wilson's for rates.

Shapes: Q queries, C columns (a metric of a method), U users, B resamples.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13; paired by resampling whole
queries, as Sakai, Evaluating evaluation metrics based on the bootstrap (SIGIR 2006), does for rankings.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.progress import track
from scipy.stats import binomtest

from lit_rec.core.errors import SettingError, ShapeError

N_RESAMPLES = 10_000
LEVEL = 0.95

_CELLS = 2_000_000  # of a chunk of weights (B, Q): 16 MB
_SLOW = 300_000_000  # cells in all, above which a bar is shown: several seconds

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Args:
        value: the estimate; NaN where nothing was counted.
        low: the interval's end below; NaN for none.
        high: the interval's end above; NaN for none.
    """

    value: float
    low: float = nan
    high: float = nan

    def as_json(self, value: str = "value") -> dict[str, float | None]:
        """The value, by the name that is given, ``low`` and ``high``; None for NaN, which JSON does not have."""
        numbers = {value: self.value, "low": self.low, "high": self.high}
        return {name: None if isnan(number) else number for name, number in numbers.items()}


UNKNOWN = Estimate(nan)


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
        # How often each resample holds each query: one count over numbers in which the resample is the upper part.
        drawn = rng.integers(0, n_queries, size=(end - begin, n_queries))
        drawn += n_queries * np.arange(end - begin)[:, np.newaxis]
        weights = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)
        sums, counts = np.split(weights @ sums_and_counts, 2, axis=1)
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
            means[begin:end] = sums / counts
    return means


def percentile_estimates(values: ArrayLike, resampled: Values, level: float = LEVEL) -> list[Estimate]:
    """Each value with the central interval of its resamples.

    Args:
        values: float ``(C,)``, of the sample itself.
        resampled: float ``(B, C)``; NaN does not count.
        level: share of the resamples inside the interval.
    """
    tail = 50 * (1 - level)
    estimates = []
    for value, column in zip(np.asarray(values, dtype=np.float64), resampled.T, strict=True):
        known = column[~np.isnan(column)]
        low, high = np.percentile(known, [tail, 100 - tail]) if len(known) else (nan, nan)
        estimates.append(Estimate(float(value), float(low), float(high)))
    return estimates


def paired_difference(
    first: ArrayLike, second: ArrayLike, *, n_resamples: int = N_RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Estimate:
    """The mean of ``second - first`` over the queries, and the interval it would move in with other queries.

    Args:
        first: float ``(Q,)``, a metric of each query; NaN where it does not apply, which then is left out.
        second: float ``(Q,)``, the same metric of the same queries by the other method.
        n_resamples: B.
        level: share of the resampled means inside the interval.
        seed: the same seed gives the same interval.

    Returns:
        ``UNKNOWN``, all NaN, where the metric applies to no query.

    Raises:
        ShapeError: not two vectors of one length.
        SettingError: ``n_resamples`` is below 1, or ``level`` is not between 0 and 1.

    >>> paired_difference([0.0, 0.5, 1.0], [0.25, 0.75, 1.25])
    Estimate(value=0.25, low=0.25, high=0.25)
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ShapeError("first and second must be (Q,)", f"got {a.shape} and {b.shape}", "Pass one value a query")
    if n_resamples < 1 or not 0 < level < 1:
        raise SettingError("n_resamples must be at least 1, level between 0 and 1", f"got {n_resamples} and {level}")
    differences = b - a
    differences = differences[~np.isnan(differences)]
    if len(differences) == 0:
        return UNKNOWN
    resampled = resampled_means(differences[:, np.newaxis], n_resamples, seed)
    return percentile_estimates([differences.mean()], resampled, level)[0]


def wilson(successes: int, trials: int, level: float = LEVEL) -> Estimate:
    """A rate with Wilson's score interval; trials count as independent. ``UNKNOWN`` without trials.

    Source: Wilson, Probable inference (JASA 1927); recommended by Brown, Cai and DasGupta, Interval estimation for a
    binomial proportion (2001), also for few trials.

    >>> round(wilson(0, 10).high, 4)
    0.2775
    """
    if trials == 0:
        return UNKNOWN
    interval = binomtest(successes, trials).proportion_ci(level, method="wilson")
    return Estimate(successes / trials, float(interval.low), float(interval.high))


def clustered_difference(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    *,
    n_resamples: int = 2_000,
    level: float = LEVEL,
    seed: int = 0,
) -> Estimate:
    """Difference of two rates, second - first, resampling whole users: what one user does is not independent.

    Args:
        first: int64 ``(U1, 2)``, trials and successes of each user of the first group.
        second: int64 ``(U2, 2)``, of each user of the second.
        n_resamples: B.
        level: share of the resampled differences inside the interval.
        seed: the same seed gives the same interval.

    Returns:
        ``UNKNOWN``, all NaN, where a group has no trial.

    Raises:
        ShapeError: not two matrices of two columns.
    """
    for group in (first, second):
        if group.ndim != 2 or group.shape[1] != 2:
            raise ShapeError("A group must be (U, 2): trials and successes", f"got {group.shape}")
    if not first[:, 0].sum() or not second[:, 0].sum():
        return UNKNOWN
    rng = np.random.default_rng(seed)
    rates = [np.concatenate(list(_resampled_rates(group, n_resamples, rng))) for group in (first, second)]
    value = second[:, 1].sum() / second[:, 0].sum() - first[:, 1].sum() / first[:, 0].sum()
    return percentile_estimates([value], (rates[1] - rates[0])[:, np.newaxis], level)[0]


def _resampled_rates(group: NDArray[np.int64], n_resamples: int, rng: np.random.Generator) -> Iterator[Values]:
    """The rate of a group in each resample of its users; NaN where a resample has no trial."""
    n_users = len(group)
    per_chunk = max(1, _CELLS // n_users)
    chances = np.full(n_users, 1 / n_users)
    for begin in range(0, n_resamples, per_chunk):
        weights = rng.multinomial(n_users, chances, size=min(per_chunk, n_resamples - begin))
        trials, successes = (weights @ group).T
        yield np.divide(successes, trials, out=np.full(len(trials), nan), where=trials > 0)
