"""Why a product is recommended, in a few words that are true of this user."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lit_rec.data.contexts import NO_PRIOR_ORDERS, product_aisle, product_name
from lit_rec.data.histories import PurchaseHistories, Queries
from lit_rec.inference.index import EmbeddingIndex
from lit_rec.ranking.ranker import Ranker

# Two products are similar from this cosine on, and from one that only 1 of 100 random pairs reaches: some encoders put
# all texts into a narrow cone.
_SIMILAR_COSINE, _SIMILAR_QUANTILE, _RANDOM_PAIRS = 0.5, 0.99, 5_000


@dataclass(frozen=True)
class Explainer:
    """The reasons for one user's recommendations.

    Args:
        product_texts: N texts, in catalogue order.
        index: of the same catalogue.
        ranker: knows what others buy; None for a model without one.
    """

    product_texts: list[str]
    index: EmbeddingIndex
    ranker: Ranker | None

    def reasons(self, products: Sequence[int], query: Queries) -> list[str]:
        """The reason for each recommended product; empty where only the text speaks for it.

        Of what is true of a product, the first in this order is said: it was bought before, and how often; it is
        similar to something bought; it goes with what is bought; it is from an aisle that is bought from; it is new in
        the catalogue, or bought by many or by few. All but the first two need a ranker.

        Args:
            products: product indices.
            query: the one user whom they are recommended to.
        """
        bought = query.histories.distinct_products(0)
        if len(bought):
            return self._from_purchases(products, query.histories, bought)
        if self.ranker is None:
            return [""] * len(products)
        if NO_PRIOR_ORDERS not in query.contexts[0]:
            return ["fits the words"] * len(products)
        return [_popularity(self.ranker, product) for product in products]

    def _from_purchases(
        self, products: Sequence[int], history: PurchaseHistories, bought: NDArray[np.int32]
    ) -> list[str]:
        go_with_bought: set[int] = set()
        aisles_bought: set[int] = set()
        if self.ranker is not None:
            item_item = self.ranker.item_item
            go_with_bought.update(item_item.candidate_products[item_item.cosine[bought].indices].tolist())
            aisles_bought.update(item_item.aisle[bought].tolist())
        cosines = self.index.embeddings[list(products)] @ self.index.embeddings[bought].T
        reasons = []
        for product, similarity in zip(products, cosines, strict=True):
            lines = history.product == product
            if lines.any():
                reason = _how_often(history, lines)
            elif similarity.max() >= self._similar_from:
                reason = f"similar to {product_name(self.product_texts[bought[similarity.argmax()]])}"
            elif self.ranker is None:
                reason = ""
            elif product in go_with_bought:
                reason = "goes with what you buy"
            elif product_aisle(self.product_texts[product]) and self.ranker.item_item.aisle[product] in aisles_bought:
                reason = "from an aisle that you buy from"
            else:
                reason = _popularity(self.ranker, product)
            reasons.append(reason)
        return reasons

    @cached_property
    def _similar_from(self) -> float:
        """A cosine that hardly any two products of the catalogue reach."""
        pairs = np.random.default_rng(0).integers(0, len(self.index.embeddings), (2, _RANDOM_PAIRS))
        first, second = self.index.embeddings[pairs[:, pairs[0] != pairs[1]]]
        cosines = (first * second).sum(axis=1)
        return max(_SIMILAR_COSINE, float(np.quantile(cosines, _SIMILAR_QUANTILE))) if len(cosines) else _SIMILAR_COSINE


def _popularity(ranker: Ranker, product: int) -> str:
    """What can be said of a product without knowing whom it is for."""
    if product in ranker.item_item.new_products:
        return "new in the catalogue"
    popularity = ranker.item_item.popularity
    return "bought by many" if popularity[product] > popularity.mean() else "bought by few"


def _how_often(history: PurchaseHistories, lines: NDArray[np.bool_]) -> str:
    """Purchases of one product, and when; nothing of days that were only assumed."""
    n_orders = len(np.unique(history.orders_ago[lines]))  # two orders may be of one day
    days = history.days_ago[lines]
    assumed = np.zeros_like(days) if history.days_assumed is None else history.days_assumed[lines]
    if n_orders == 1:
        when = "today" if round(float(days[0])) == 0 else f"{_days(days[0])} ago"
        return f"bought once, {when}" if assumed[0] == 0 else "bought once"
    gap = float(days[0] - days[-1]) / (n_orders - 1)
    is_known = assumed[0] == assumed[-1] and round(gap) >= 1
    return f"bought {n_orders} times" + (f", about every {_days(gap)}" if is_known else "")


def _days(number: float) -> str:
    """Such as ``1 day`` or ``9 days``."""
    return "1 day" if round(number) == 1 else f"{number:.0f} days"
