"""Item-item collaborative filtering by similarity: what is bought together more than its popularity explains."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from lit_rec.baselines.base import Scores
from lit_rec.baselines.popularity_fallback import WithPopularityFallback, score_with_popularity_fallback
from lit_rec.core.bounds import PositiveInt, PositiveShare, Share
from lit_rec.data.histories import Queries
from lit_rec.ranking.co_occurrence import similarity
from lit_rec.ranking.order_matrix import OrderMatrix


@dataclass(eq=False)
class CoVisitation(WithPopularityFallback):
    """Sum over the user's distinct products h of a weight times the similarity of the product to h.

    What is popular goes together with everything; the similarity, by default the cosine of the two products' orders,
    takes that out. Products that the user has bought take part. Those that are like none of the user's follow
    by popularity.

    Source: :func:`lit_rec.ranking.co_occurrence.similarity` has the formula and where it is from.

    Args:
        neighbours: keep so many similar products of each product, the most similar, itself among them.
        decay: a product's weight is the sum over the user's orders that hold it of ``decay^(orders_ago - 1)``; None
            gives each weight 1.
        asymmetry: 0.5 for the cosine; towards 1 popular products come up more, which finds more of what the user
            has not bought yet, and less of the rest.
    """

    name = "co_visitation"

    neighbours: PositiveInt = 200
    decay: PositiveShare | None = None
    asymmetry: Share = 0.5

    @classmethod
    def grid(cls) -> list[Self]:
        """With and without weights, with and without regard to popularity."""
        return [cls(), cls(decay=0.8), cls(decay=0.95), cls(asymmetry=1.0)]

    def _fit(self, orders: OrderMatrix) -> None:
        self._similarity = similarity(orders.incidence, self.neighbours, self.asymmetry)

    def scores(self, queries: Queries) -> Scores:
        """Above 0 what is like the user's products, the rest of the catalogue below."""
        orders = OrderMatrix.of(queries.histories, len(self._popularity))
        bought = orders.distinct() if self.decay is None else orders.decayed(self.decay)
        summed = (bought.astype(np.float32) @ self._similarity).toarray().astype(np.float64)
        return score_with_popularity_fallback(summed, self._popularity)
