"""Popularity fallback: what a method has no score for follows by popularity, exactly, whatever is rounded.

Shapes: Q queries, N products, E entries of a sparse matrix.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lit_rec.baselines.base import Baseline, Scores
from lit_rec.data.histories import PurchaseHistories
from lit_rec.ranking.order_matrix import OrderMatrix


class WithPopularityFallback(Baseline):
    """A baseline that ranks by popularity what it has no score for."""

    def fit(self, training: PurchaseHistories, product_texts: Sequence[str]) -> Self:
        """Learn popularity, and what :meth:`_fit` learns."""
        orders = OrderMatrix.of(training, len(product_texts))
        self._popularity = popularity_rank(orders.popularity)
        self._fit(orders)
        return self

    def _fit(self, orders: OrderMatrix) -> None:
        """Learn more than popularity; by default nothing.

        Args:
            orders: of the training users.
        """


def popularity_rank(popularity: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64 ``(N,)``: rank from 0, for the least popular products, to below N; equally popular ones share a rank.

    Args:
        popularity: ``(N,)``.

    >>> popularity_rank(np.array([7, 0, 90, 7]))
    array([1., 0., 2., 1.])
    """
    return np.unique(popularity, return_inverse=True)[1].astype(np.float64)


def rank_with_popularity_fallback(
    entries: csr_array, keys: Sequence[NDArray[np.float64]], popularity: NDArray[np.float64]
) -> Scores:
    """Rank the entries of each row by the first key, ties by the second and so on, then all products by popularity.

    Keys are replaced by their ranks within the row: one sort of all entries by row, then by the keys, and a level that
    rises wherever an entry differs from the one before. Scores are then whole numbers below N^2, which float64 holds
    exactly for N up to 94 million. A sum of a key and a small share of the next would not be exact.

    Args:
        entries: ``(Q, N)``, whose places are read and whose values are not.
        keys: ``(E,)`` each, the most important first; higher is better.
        popularity: ``(N,)`` as of :func:`popularity_rank`.

    Returns:
        Above N for entries, below for the rest.
    """
    row = np.repeat(np.arange(entries.shape[0]), np.diff(entries.indptr))
    order = np.lexsort((*reversed(keys), row))
    sorted_row, column = row[order], entries.indices[order]
    begins = np.ones(len(row), dtype=bool)
    begins[1:] = np.any([key[order][1:] != key[order][:-1] for key in (row, *keys)], axis=0)
    level = np.cumsum(begins)
    scores = np.tile(popularity, (entries.shape[0], 1))
    rank_in_row = level - level[entries.indptr[sorted_row]] + 1
    scores[sorted_row, column] += rank_in_row * float(len(popularity))
    return scores


def score_with_popularity_fallback(scores: Scores, popularity: NDArray[np.float64]) -> Scores:
    """Keep scores above 0; the products without one follow by popularity, below 0.

    Args:
        scores: ``(Q, N)``.
        popularity: ``(N,)`` as of :func:`popularity_rank`.
    """
    below_zero = popularity / (popularity.max(initial=0) + 1) - 1
    return np.where(scores > 0, scores, below_zero)
