"""Item-item collaborative filtering by counts: what was bought in the same orders as the user's products."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lit_rec.baselines.base import Scores
from lit_rec.baselines.popularity_fallback import WithPopularityFallback, score_with_popularity_fallback
from lit_rec.core.bounds import PositiveInt
from lit_rec.data.histories import Queries
from lit_rec.ranking.co_occurrence import co_occurrence
from lit_rec.ranking.order_matrix import OrderMatrix


@dataclass(eq=False)
class ItemItem(WithPopularityFallback):
    """Sum over the user's distinct products h of the number of training orders that hold both h and the product.

    Raw counts, as in chen-bowen/instacart_next_order_recommendation (the seed of this project), with h itself among the
    products that go with h; but here, a product may be bought again. Products that go with none of the user's follow by
    popularity.

    Args:
        neighbours: keep so many products that go with each product, the most frequent; None keeps all, as the seed
            does: 0.6 GB at the full size of Kaggle's data.
    """

    name = "item_item"
    excludes_bought: ClassVar[bool] = False
    """Whether what the user has bought is ranked behind everything."""

    neighbours: PositiveInt | None = None

    def _fit(self, orders: OrderMatrix) -> None:
        self._counts = co_occurrence(orders.incidence, self.neighbours)

    def scores(self, queries: Queries) -> Scores:
        """Above 0 what goes with the user's products, the rest of the catalogue below."""
        bought = OrderMatrix.of(queries.histories, len(self._popularity)).distinct()
        summed = (bought.astype(np.int32) @ self._counts).toarray().astype(np.float64)
        scores = score_with_popularity_fallback(summed, self._popularity)
        if self.excludes_bought:
            scores[queries.histories.query, queries.histories.product] = -np.inf
        return scores


class ItemItemSeed(ItemItem):
    """:class:`ItemItem` as the seed of this project does it: what the user has bought before is ranked behind all.

    The seed counts over the prior orders of the evaluated users alone; these counts are over training users, as of
    every baseline here. Products that go with none of the user's follow by popularity; there, in catalogue order.

    Source: collaborative_filtering.py of the seed.

    Args:
        neighbours: as of :class:`ItemItem`.
    """

    name = "item_item_seed"
    excludes_bought = True
