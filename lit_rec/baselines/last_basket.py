"""The last order again."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy.sparse import csr_array

from lit_rec.baselines.base import Baseline, Scores
from lit_rec.baselines.popularity_fallback import popularity_rank, rank_with_popularity_fallback
from lit_rec.data.histories import PurchaseHistories, Queries
from lit_rec.ranking.order_matrix import OrderMatrix


class LastBasket(Baseline):
    """The products of the newest order in cart order, then the catalogue by popularity.

    Cart order, because what goes into the cart first is most often bought again. The newest order is the newest one
    that holds a product. A product on two lines has the place of the first one.
    """

    name = "last_basket"

    def fit(self, training: PurchaseHistories, product_texts: Sequence[str]) -> Self:
        """Popularity alone is learnt."""
        self._popularity = popularity_rank(OrderMatrix.of(training, len(product_texts)).popularity)
        return self

    def scores(self, queries: Queries) -> Scores:
        """Of equal cart positions, which no source forbids, the more popular product is first."""
        histories, query = queries.histories, queries.histories.query
        newest = np.zeros(len(queries), dtype=np.int32)
        newest[query] = histories.orders_ago  # oldest first: the newest one stays
        lines = np.flatnonzero(histories.orders_ago == newest[query])[::-1]  # backwards: the first line stays
        cart_position = np.zeros((len(queries), len(self._popularity)), dtype=np.int32)
        cart_position[query[lines], histories.product[lines]] = histories.cart_position[lines]
        basket = csr_array(cart_position)
        return rank_with_popularity_fallback(basket, [-basket.data], self._popularity)
