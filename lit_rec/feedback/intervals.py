"""Rates and their differences, with intervals.

Shapes: U users, B resamples.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from lit_rec.core.errors import ShapeError

LEVEL = 0.95
N_RESAMPLES = 2_000

_CELLS = 2_000_000  # of a chunk of weights (B, U): 16 MB


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; all None where nothing was counted.

    Args:
        value: the estimate.
        low: the interval's end below.
        high: the interval's end above.
    """

    value: float | None
    low: float | None
    high: float | None


UNKNOWN = Estimate(None, None, None)


def wilson(successes: int, trials: int, level: float = LEVEL) -> Estimate:
    """A rate with Wilson's score interval; trials count as independent.

    Source: Wilson, Probable inference (JASA 1927); recommended by Brown, Cai and DasGupta, Interval estimation for a
    binomial proportion (2001), also for few trials.

    >>> round(wilson(0, 10).high, 4)
    0.2775
    """
    if trials == 0:
        return UNKNOWN
    z = float(norm.ppf(0.5 + level / 2))
    rate, extra = successes / trials, z * z / trials
    centre = (rate + extra / 2) / (1 + extra)
    half = z / (1 + extra) * np.sqrt(rate * (1 - rate) / trials + extra / (4 * trials))
    low = 0.0 if successes == 0 else float(centre - half)
    return Estimate(rate, low, 1.0 if successes == trials else float(centre + half))


def clustered_difference(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    *,
    n_resamples: int = N_RESAMPLES,
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

    Raises:
        ShapeError: not two matrices of two columns.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 8; users as the units of resampling,
    since they are what was split at random.
    """
    for group in (first, second):
        if group.ndim != 2 or group.shape[1] != 2:
            raise ShapeError("A group must be (U, 2): trials and successes", f"got {group.shape}")
    if not first[:, 0].sum() or not second[:, 0].sum():
        return UNKNOWN
    rng = np.random.default_rng(seed)
    rates = [np.concatenate(list(_resampled_rates(group, n_resamples, rng))) for group in (first, second)]
    differences = rates[1] - rates[0]
    tail = 50 * (1 - level)
    low, high = np.nanpercentile(differences, [tail, 100 - tail])
    value = second[:, 1].sum() / second[:, 0].sum() - first[:, 1].sum() / first[:, 0].sum()
    return Estimate(float(value), float(low), float(high))


def _resampled_rates(
    group: NDArray[np.int64], n_resamples: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """A resample draws users with replacement, which is a multinomial weight for each."""
    n_users = len(group)
    per_chunk = max(1, _CELLS // n_users)
    chances = np.full(n_users, 1 / n_users)
    for begin in range(0, n_resamples, per_chunk):
        weights = rng.multinomial(n_users, chances, size=min(per_chunk, n_resamples - begin))
        trials, successes = (weights @ group).T
        yield np.divide(successes, trials, out=np.full(len(trials), np.nan), where=trials > 0)
