"""UP-CF@r: what users with a similar choice of products have bought in their last orders."""

from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lit_rec.baselines.base import Scores
from lit_rec.baselines.popularity_fallback import WithPopularityFallback, score_with_popularity_fallback
from lit_rec.core.bounds import NonNegativeInt, PositiveInt, Share
from lit_rec.data.histories import Queries
from lit_rec.ranking.order_matrix import OrderMatrix, highest, rows_at_a_time

# Q queries, U training users, N products


@dataclass(eq=False)
class UpCf(WithPopularityFallback):
    """Sum over the most similar users v of ``sim(u, v)^q * P[v, i]``; the rest of the catalogue by popularity.

    ``P[v, i]`` is the share of v's last ``min(r, n)`` orders that hold product i, and
    ``sim(u, v) = |I_u and I_v| / (|I_u|^a |I_v|^(1 - a))`` with I the set of all products a user has bought.
    The user is a neighbour of itself too, with similarity 1, as in the paper, whose users are all in the training set.
    Of equally similar users at the cut, those in front count.

    Source: Faggioli, Polato and Aiolli, "Recency Aware Collaborative Filtering for Next Basket Recommendation", UMAP
    2020, section 3; r, a and q are its choice for Instacart. The number of neighbours is cornac's.

    Args:
        recency: r, orders that count; 0 for all.
        asymmetry: a, 0 to 1.
        locality: q, at least 1: how much more similar users count.
        n_neighbors: how many training users count.
    """

    name = "up_cf"

    recency: NonNegativeInt = 10
    asymmetry: Share = 0.75
    locality: Annotated[float, Ge(1)] = 10.0
    n_neighbors: PositiveInt = 100

    @classmethod
    def grid(cls) -> list[Self]:
        """The paper's for Instacart, and shorter and longer memories, and neighbours that count for more."""
        return [cls(), cls(recency=5), cls(recency=25), cls(locality=5), cls(locality=2), cls(recency=25, locality=5)]

    def _fit(self, orders: OrderMatrix) -> None:
        self._recent_shares = self._recent_shares_of(orders)
        bought = orders.distinct()
        self._by_product = bought.T.tocsr()  # (N, U)
        self._n_bought = np.diff(bought.indptr)

    def scores(self, queries: Queries) -> Scores:
        """Above 0 what the user or a similar one bought of late, the rest of the catalogue below."""
        orders = OrderMatrix.of(queries.histories, len(self._popularity))
        bought = orders.distinct()
        shares = self._recent_shares_of(orders).toarray()  # of the user, whose similarity is 1
        at_a_time = rows_at_a_time(len(self._n_bought))
        for first in range(0, len(queries), at_a_time):
            rows = slice(first, first + at_a_time)
            weights = csr_array(self._neighbour_weights(bought[rows]))
            shares[rows] += (weights @ self._recent_shares).toarray()
        return score_with_popularity_fallback(shares, self._popularity)

    def _recent_shares_of(self, orders: OrderMatrix) -> csr_array:
        """``(S, N)``: P."""
        n_orders = orders.n_orders_of_order
        n_recent = np.minimum(n_orders, self.recency) if self.recency else n_orders
        return orders.summed((orders.orders_ago <= n_recent) / np.maximum(n_recent, 1))

    def _neighbour_weights(self, bought: csr_array) -> NDArray[np.float64]:
        """``(Q, U)``: similarity to the power of q, 0 for those who are no neighbours."""
        n_common = (bought @ self._by_product).toarray()
        n_bought = np.maximum(np.diff(bought.indptr), 1.0)[:, np.newaxis]  # nothing in common where it is 0
        similarity = n_common / (n_bought**self.asymmetry * np.maximum(self._n_bought, 1.0) ** (1 - self.asymmetry))
        return np.where(highest(similarity, self.n_neighbors), similarity**self.locality, 0.0)
