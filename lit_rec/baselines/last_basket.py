"""The last order again."""

import numpy as np
from scipy.sparse import csr_array

from lit_rec.baselines.base import Scores
from lit_rec.baselines.popularity_fallback import WithPopularityFallback, rank_with_popularity_fallback
from lit_rec.data.histories import Queries


class LastBasket(WithPopularityFallback):
    """The products of the newest order in cart order, then the catalogue by popularity.

    Cart order, because what goes into the cart first is most often bought again. The newest order is the newest one
    that holds a product. A product on two lines has the place of the first one.
    """

    name = "last_basket"

    def scores(self, queries: Queries) -> Scores:
        """Of equal cart positions, which no source forbids, the more popular product is first."""
        histories, query = queries.histories, queries.histories.query
        # Of several values assigned to one place the last one stays. Lines are oldest first: the newest order stays,
        # and read backwards, the first line of a product.
        newest = np.zeros(len(queries), dtype=np.int32)
        newest[query] = histories.orders_ago
        lines = np.flatnonzero(histories.orders_ago == newest[query])[::-1]
        cart_position = np.zeros((len(queries), len(self._popularity)), dtype=np.int32)
        cart_position[query[lines], histories.product[lines]] = histories.cart_position[lines]
        basket = csr_array(cart_position)
        return rank_with_popularity_fallback(basket, [-basket.data], self._popularity)
