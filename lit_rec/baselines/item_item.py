"""Item-item collaborative filtering: what was bought in the same orders as the user's products."""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from lit_rec.baselines.base import Baseline, Scores
from lit_rec.baselines.popularity_fallback import popularity_rank, score_with_popularity_fallback
from lit_rec.core.errors import SettingError
from lit_rec.data.histories import PurchaseHistories, Queries
from lit_rec.ranking.co_occurrence import co_occurrence, similarity
from lit_rec.ranking.order_matrix import OrderMatrix


class ItemItem(Baseline):
    """Sum over the user's distinct products h of the number of training orders that hold h and the product both.

    Raw counts, as the reference project has them, with h itself among the products that go with h; but a product may
    be bought again here. Products that go with none of the user's follow by popularity.

    Args:
        neighbours: keep so many products that go with each product, the most frequent; None keeps all, as the
            reference does: 0.6 GB at the full size of Kaggle's data.

    Raises:
        SettingError: ``neighbours`` is below 1.
    """

    name = "item_item"
    excludes_bought: ClassVar[bool] = False
    """Whether what the user has bought is ranked behind everything."""

    def __init__(self, neighbours: int | None = None) -> None:
        self.neighbours = _checked(neighbours)

    def fit(self, training: PurchaseHistories, product_texts: Sequence[str]) -> Self:
        """Count pairs over all orders."""
        orders = OrderMatrix.of(training, len(product_texts))
        self._popularity = popularity_rank(orders.popularity)
        self._counts = co_occurrence(orders.incidence, self.neighbours)
        return self

    def scores(self, queries: Queries) -> Scores:
        """Above 0 what goes with the user's products, the rest of the catalogue below."""
        bought = OrderMatrix.of(queries.histories, len(self._popularity)).distinct()
        summed = (bought.astype(np.int32) @ self._counts).toarray().astype(np.float64)
        scores = score_with_popularity_fallback(summed, self._popularity)
        if self.excludes_bought:
            scores[queries.histories.query, queries.histories.product] = -np.inf
        return scores


class ItemItemSeed(ItemItem):
    """:class:`ItemItem` as the reference project does it: what the user has bought before is ranked behind all.

    Its own counts are over the prior orders of the evaluated users alone; these are over training users, as every
    baseline here. Products that go with none of the user's follow by popularity; there, in catalogue order.

    Source: the reference project's collaborative_filtering.py.

    Args:
        neighbours: as of :class:`ItemItem`.
    """

    name = "item_item_seed"
    excludes_bought = True


class CoVisitation(Baseline):
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

    Raises:
        SettingError: one of them is out of its range.
    """

    name = "co_visitation"

    def __init__(self, neighbours: int = 200, decay: float | None = None, asymmetry: float = 0.5) -> None:
        if decay is not None and not 0 < decay <= 1:
            raise SettingError("decay must be above 0 and at most 1", f"got {decay}", "Pass 0.8, or None")
        if not 0 <= asymmetry <= 1:
            raise SettingError("asymmetry must be from 0 to 1", f"got {asymmetry}", "Pass 0.5 for the cosine")
        self.neighbours, self.decay, self.asymmetry = _checked(neighbours), decay, asymmetry

    @classmethod
    def grid(cls) -> list[Self]:
        """With and without weights, with and without regard to popularity."""
        return [cls(), cls(decay=0.8), cls(decay=0.95), cls(asymmetry=1.0)]

    def fit(self, training: PurchaseHistories, product_texts: Sequence[str]) -> Self:
        """Count pairs over all orders."""
        orders = OrderMatrix.of(training, len(product_texts))
        self._popularity = popularity_rank(orders.popularity)
        self._similarity = similarity(orders.incidence, self.neighbours, self.asymmetry)
        return self

    def scores(self, queries: Queries) -> Scores:
        """Above 0 what is like the user's products, the rest of the catalogue below."""
        orders = OrderMatrix.of(queries.histories, len(self._popularity))
        bought = orders.distinct() if self.decay is None else orders.decayed(self.decay)
        summed = (bought.astype(np.float32) @ self._similarity).toarray().astype(np.float64)
        return score_with_popularity_fallback(summed, self._popularity)


def _checked(neighbours: int | None) -> int | None:
    if neighbours is not None and neighbours < 1:
        raise SettingError("neighbours must be at least 1", f"got {neighbours}", "Pass 200, or None to keep all")
    return neighbours
