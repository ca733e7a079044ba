"""The same ranking for everyone: what the training users bought most."""

from collections.abc import Sequence
from typing import Self

import numpy as np

from lit_rec.baselines.base import Baseline, Scores
from lit_rec.data.histories import PurchaseHistories, Queries
from lit_rec.ranking.order_matrix import OrderMatrix


class Popularity(Baseline):
    """Number of training orders that hold the product.

    Orders and not users are counted: a product bought every week by a few is more likely in the next order than
    one that many tried once. It is also what breaks ties, and follows after a user's own purchases, in the other
    baselines.
    """

    name = "popularity"

    def fit(self, training: PurchaseHistories, product_texts: Sequence[str]) -> Self:
        """Count orders."""
        self._popularity = OrderMatrix.of(training, len(product_texts)).popularity.astype(np.float64)
        return self

    def scores(self, queries: Queries) -> Scores:
        """Orders, the same for each query."""
        return np.tile(self._popularity, (len(queries), 1))
