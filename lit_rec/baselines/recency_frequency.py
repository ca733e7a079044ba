"""What the user has bought often and of late."""

from dataclasses import dataclass
from typing import Self

from lit_rec.baselines.base import Scores
from lit_rec.baselines.popularity_fallback import WithPopularityFallback, rank_with_popularity_fallback
from lit_rec.core.bounds import PositiveShare
from lit_rec.data.histories import Queries
from lit_rec.ranking.order_matrix import OrderMatrix


@dataclass(eq=False)
class RecencyFrequency(WithPopularityFallback):
    """Sum over the user's orders that hold the product of ``beta^orders_ago``; ties and the rest by popularity.

    ``orders_ago`` is 1 for the newest order. A beta of 1 is frequency; the smaller, the more the last orders count;
    at 0.5 and below no number of older orders outweighs the newest one.

    Args:
        beta: above 0, at most 1. 0.8 suits groceries.
    """

    name = "recency_frequency"

    beta: PositiveShare = 0.8

    @classmethod
    def grid(cls) -> list[Self]:
        """From the last few orders alone to almost plain frequency."""
        return [cls(beta) for beta in (0.8, 0.7, 0.85, 0.9, 0.95, 1.0)]

    def scores(self, queries: Queries) -> Scores:
        """Of equal sums the more popular product is first."""
        orders = OrderMatrix.of(queries.histories, len(self._popularity))
        decayed = orders.decayed(self.beta)  # all of them beta times too small, which changes no ranking
        return rank_with_popularity_fallback(decayed, [decayed.data], self._popularity)
