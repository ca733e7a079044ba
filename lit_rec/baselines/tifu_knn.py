"""TIFU-KNN: the user's decayed frequencies, mixed with those of the nearest training users."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lit_rec.baselines.base import Scores
from lit_rec.baselines.popularity_fallback import WithPopularityFallback, score_with_popularity_fallback
from lit_rec.core.bounds import PositiveInt, PositiveShare, Share
from lit_rec.data.histories import Queries
from lit_rec.ranking.order_matrix import OrderMatrix, highest, rows_at_a_time

# Q queries, U training users, N products, O orders


@dataclass(eq=False)
class TifuKnn(WithPopularityFallback):
    """``alpha * own vector + (1 - alpha) * mean vector of the k nearest training users``; the rest by popularity.

    A user's vector is the mean over groups of orders of the mean over a group's orders of what each holds, orders
    and groups weighted by their age; :func:`order_weights` has the formula. Nearest is meant in Euclidean distance,
    of equally near ones those in front. A user without history has the ranking of popularity.

    Source: Hu et al., "Modeling Personalized Item Frequency Information for Next-basket Recommendation", SIGIR 2020,
    section 4; the defaults are those of its table for Instacart. Held against cornac 3.0's vectors and neighbours in
    the tests. (Its score adds, instead of the neighbours' mean vector, one number to all products: the mean of all
    cells of their vectors.)

    Args:
        n_neighbors: k; all of the training users where they are fewer.
        n_groups: m.
        within_decay: r_b, weight of an order relative to the next newer one.
        group_decay: r_g, weight of a group relative to the next newer one.
        alpha: share of the user's own vector, 0 to 1.
    """

    name = "tifu_knn"

    n_neighbors: PositiveInt = 900
    n_groups: PositiveInt = 3
    within_decay: PositiveShare = 0.9
    group_decay: PositiveShare = 0.7
    alpha: Share = 0.9

    @classmethod
    def grid(cls) -> list[Self]:
        """The paper's for Instacart, and some with fewer neighbours that count for more."""
        return [
            cls(),
            cls(n_neighbors=300, group_decay=0.6, alpha=0.7),
            cls(n_neighbors=300, group_decay=0.7, alpha=0.7, n_groups=7),
            cls(n_neighbors=100, group_decay=0.6, alpha=0.9),
        ]

    def _fit(self, orders: OrderMatrix) -> None:
        self._vectors = self._vectors_of(orders)
        self._by_product = self._vectors.T.tocsr()  # (N, U)
        self._squared_norm = _squared_norm(self._vectors)

    def scores(self, queries: Queries) -> Scores:
        """Above 0 what the user or a neighbour has bought, the rest of the catalogue below."""
        own = self._vectors_of(OrderMatrix.of(queries.histories, len(self._popularity)))
        mixed = (self.alpha * own).toarray()
        if self._vectors.shape[0]:
            at_a_time = rows_at_a_time(self._vectors.shape[0])
            for first in range(0, len(queries), at_a_time):
                rows = slice(first, first + at_a_time)
                mixed[rows] += (1 - self.alpha) * self._mean_of_neighbours(own[rows])
        mixed[queries.histories.n_lines == 0] = 0  # the neighbours of nobody are those who bought least
        return score_with_popularity_fallback(mixed, self._popularity)

    def _vectors_of(self, orders: OrderMatrix) -> csr_array:
        return orders.summed(
            order_weights(
                orders.orders_ago, orders.n_orders_of_order, self.n_groups, self.within_decay, self.group_decay
            )
        )

    def _mean_of_neighbours(self, own: csr_array) -> Scores:
        """``(Q, N)``: mean vector of the k nearest training users."""
        # |u - v|^2 = |u|^2 + |v|^2 - 2 uv, so that only products of sparse vectors are needed
        squared_distance = (
            _squared_norm(own)[:, np.newaxis] + self._squared_norm - 2 * (own @ self._by_product).toarray()
        )
        is_neighbour = csr_array(highest(-squared_distance, self.n_neighbors))
        n_neighbours = min(self.n_neighbors, self._vectors.shape[0])
        mean: Scores = (is_neighbour.astype(np.float64) @ self._vectors).toarray() / n_neighbours
        return mean


def order_weights(
    orders_ago: NDArray[np.int32],
    n_orders: NDArray[np.int64],
    n_groups: int,
    within_decay: float,
    group_decay: float,
) -> NDArray[np.float64]:
    """What each order counts for in its user's vector.

    Order t of n (from 0, the oldest) in group g of m (likewise) weighs
    ``r_b^(n - 1 - t) * r_g^(m - 1 - g) / (orders in g) / (number of groups)``. Groups are of ``n // m`` orders, the
    newest ``n % m`` of them of one more. Where n < m, each order is a group, the oldest one group 0, as in the paper's
    program.

    Source: Hu et al., SIGIR 2020, equations 2 to 4.

    Args:
        orders_ago: ``(O,)``, 1 for the newest.
        n_orders: ``(O,)``, n of the order's user.
        n_groups: m.
        within_decay: r_b.
        group_decay: r_g.

    Returns:
        ``(O,)``, above 0.
    """
    place = n_orders - orders_ago
    real_groups = np.minimum(n_orders, n_groups)
    size, n_larger = np.divmod(n_orders, np.maximum(real_groups, 1))
    in_smaller = (real_groups - n_larger) * size  # orders in groups of that size, all before the larger ones
    is_larger = place >= in_smaller
    group = np.where(
        is_larger, real_groups - n_larger + (place - in_smaller) // (size + 1), place // np.maximum(size, 1)
    )
    decay = within_decay ** (orders_ago - 1.0) * group_decay ** (n_groups - 1.0 - group)
    weights: NDArray[np.float64] = decay / ((size + is_larger) * real_groups)
    return weights


def _squared_norm(vectors: csr_array) -> NDArray[np.float64]:
    norm: NDArray[np.float64] = np.asarray(vectors.power(2).sum(axis=1)).ravel()
    return norm
