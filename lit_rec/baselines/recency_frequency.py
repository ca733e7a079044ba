"""What the user has bought often and of late."""

from collections.abc import Sequence
from typing import Self

from lit_rec.baselines.base import Baseline, Scores
from lit_rec.baselines.popularity_fallback import popularity_rank, rank_with_popularity_fallback
from lit_rec.core.errors import SettingError
from lit_rec.data.histories import PurchaseHistories, Queries
from lit_rec.ranking.order_matrix import OrderMatrix


class RecencyFrequency(Baseline):
    """Sum over the user's orders that hold the product of ``beta^orders_ago``; ties and the rest by popularity.

    ``orders_ago`` is 1 for the newest order. A beta of 1 is frequency; the smaller, the more the last orders count;
    at 0.5 and below no number of older orders outweighs the newest one.

    Args:
        beta: above 0, at most 1.

    Raises:
        SettingError: beta is out of its range.
    """

    name = "recency_frequency"

    def __init__(self, beta: float = 0.8) -> None:
        if not 0 < beta <= 1:
            raise SettingError("beta must be above 0 and at most 1", f"got {beta}", "0.8 suits groceries")
        self.beta = beta

    @classmethod
    def grid(cls) -> list[Self]:
        """From the last few orders alone to almost plain frequency."""
        return [cls(beta) for beta in (0.8, 0.7, 0.85, 0.9, 0.95, 1.0)]

    def fit(self, training: PurchaseHistories, product_texts: Sequence[str]) -> Self:
        """Popularity alone is learnt."""
        self._popularity = popularity_rank(OrderMatrix.of(training, len(product_texts)).popularity)
        return self

    def scores(self, queries: Queries) -> Scores:
        """Of equal sums the more popular product is first."""
        orders = OrderMatrix.of(queries.histories, len(self._popularity))
        decayed = orders.decayed(self.beta)  # beta times too much, all of them
        return rank_with_popularity_fallback(decayed, [decayed.data], self._popularity)
