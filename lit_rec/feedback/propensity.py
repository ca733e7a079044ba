"""How likely users examine a position, estimated from clicks.

Shapes: K positions, S strata of products that the model scored alike, I impressions.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

Vector = NDArray[np.float64]

DEEPEST = 1_000
"""Positions from this one on are not told apart: callers count them as this one."""

_STRATA = 10
_ROUNDS = 1_000
_CONVERGED = 1e-9


def examination_by_position(position: NDArray[np.int64], clicked: NDArray[np.bool_], score: Vector | None) -> Vector:
    """Chance that each position is examined, relative to the likeliest one.

    A click needs a product that is examined, which depends on its position, and found attractive, which depends on what
    the model thinks of it: clicks at (k, s) = impressions at (k, s) x examination of k x attractiveness of s. Products
    of like score that stood at several positions tell the two apart. Without scores it is the click rate of each
    position, which mistakes a good ranking for users who do not look far. Lower positions are examined no more
    than higher ones.

    Args:
        position: ``(I,)``, from 1.
        clicked: ``(I,)``.
        score: ``(I,)``, what the model gave each product, comparable between lists; None where not known.

    Returns:
        float64 ``(K + 1,)``, 0 to 1, by position; that of 0, which is none, is 1. All 1 without a click.

    Source: Wang et al., Position bias estimation for unbiased learning to rank in personal search (WSDM 2018), with
    strata of the score in place of their regression.
    """
    n_positions = int(position.max(initial=0))
    if not clicked.any():
        return np.ones(n_positions + 1)
    stratum = np.zeros(len(position), dtype=np.int64) if score is None else _strata(score)
    shape = (n_positions, int(stratum.max()) + 1)
    shown, clicks = np.zeros(shape), np.zeros(shape)
    np.add.at(shown, (position - 1, stratum), 1)
    np.add.at(clicks, (position - 1, stratum), clicked)
    examined = _fitted(shown, clicks)
    seen = shown.sum(axis=1)
    falling = IsotonicRegression(increasing=False).fit_transform(np.arange(n_positions), examined, sample_weight=seen)
    return np.concatenate(([1.0], falling / falling.max()))


def _strata(score: Vector) -> NDArray[np.int64]:
    """Tenth of the impressions, by score, that each is in: int64 ``(I,)``. Equal scores are in the same."""
    cuts = np.unique(np.quantile(score, np.arange(1, _STRATA) / _STRATA))
    return np.searchsorted(cuts, score).astype(np.int64)


def _fitted(shown: Vector, clicks: Vector) -> Vector:
    """Examination ``(K,)`` that makes the clicks likeliest, of counts ``(K, S)``.

    Clicks are Poisson counts with the mean shown x examination x attractiveness. With one of the two factors fixed the
    likeliest other one is clicks over expected clicks; the two take turns until nothing changes.
    """
    examined = np.ones(len(shown))
    for _ in range(_ROUNDS):
        attractiveness = _ratio(clicks.sum(axis=0), examined @ shown)
        updated = _ratio(clicks.sum(axis=1), shown @ attractiveness)
        updated /= updated.max()
        change = np.abs(updated - examined).max()
        examined = updated
        if change < _CONVERGED:
            break
    return examined


def _ratio(counts: Vector, expected: Vector) -> Vector:
    return np.divide(counts, expected, out=np.zeros_like(counts), where=expected > 0)


def positive_weights(examination: Vector, max_weight: float) -> Vector:
    """Weight of what was chosen, by position: the inverse of its propensity, at most ``max_weight``.

    Args:
        examination: of :func:`examination_by_position`.
        max_weight: at least 1.

    Source: Joachims et al., Unbiased learning-to-rank with biased feedback (WSDM 2017).
    """
    return 1 / np.maximum(examination, 1 / max_weight)


def negative_weights(examination: Vector, attractiveness: float) -> Vector:
    """Weight of what was shown and not clicked, by position: the inverse of the propensity to be left alone.

    What nobody examined is left alone whether it is liked or not, so that says less: the weight is the chance that a
    product that was not clicked there is not liked, relative to one that was examined for certain.

    Args:
        examination: of :func:`examination_by_position`.
        attractiveness: chance that a product is clicked if it is examined, below 1.

    Source: the ratio t- of Hu et al., Unbiased LambdaMART (WWW 2019), under the position-based model.

    >>> negative_weights(np.array([1.0, 0.5, 0.0]), 0.2).round(3).tolist()
    [1.0, 0.889, 0.8]
    """
    return (1 - attractiveness) / (1 - attractiveness * examination)
