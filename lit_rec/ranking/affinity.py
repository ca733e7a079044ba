"""Features of how well a product goes with the user's other products: by item-item similarity, and by aisle.

Numpy and sparse matrices, for training and serving alike. Shapes: Q users, N products, P candidate products and U new
ones, M candidates (a user and a product that the user has bought).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lit_rec.data.histories import PurchaseHistories
from lit_rec.ranking.candidates import Candidates
from lit_rec.ranking.feature_columns import NOBODY, Column, Floats, features_of, linear, stacked
from lit_rec.ranking.item_item import ItemItemModel
from lit_rec.ranking.order_matrix import OrderMatrix

_DECAY = 0.9  # of the weight of an order with each order after it


@dataclass(frozen=True)
class Affinity:
    """How well each candidate product goes with what each user has bought.

    Args:
        item_item: of other users.
        share: float32 ``(Q, N)``, the user's purchases, weighted by age, of sum 1.
        newest: float32 ``(Q, N)``, 1 where the newest order holds the product.
        scores: float32 ``(Q, P + U)`` by name.
    """

    item_item: ItemItemModel
    share: csr_array
    newest: csr_array
    scores: Mapping[str, Floats]

    @classmethod
    def of(cls, histories: PurchaseHistories, item_item: ItemItemModel) -> Self:
        """Affinity of each candidate product to the products of each user.

        Args:
            histories: of a few users: P + U numbers are held for each, several times.
            item_item: of other users.
        """
        orders = OrderMatrix.of(histories, len(item_item.aisle))
        weights = orders.decayed(_DECAY).astype(np.float32)
        newest = orders.summed((orders.orders_ago == 1).astype(np.float64)).astype(np.float32)
        total = np.asarray(weights.sum(axis=1)).reshape(-1, 1).clip(1e-6).astype(np.float32)
        share = csr_array(weights / total)
        scores = {**_item_item_scores(share, newest, item_item), **_aisle_scores(share, item_item)}
        return cls(item_item, share, newest, scores)

    def columns(self, query: NDArray[np.int64], column: NDArray[np.int64]) -> dict[str, Column]:
        """Features ``(C,)`` of candidates that the users have not bought.

        Args:
            query: ``(C,)``.
            column: ``(C,)``, their places among all candidates.
        """
        return {name: linear(scores[query, column]) for name, scores in self.scores.items()}


def affinity_features(candidates: Candidates, affinity: Affinity) -> Floats:
    """Affinity of each bought product to the user's other products.

    Args:
        candidates: of the histories.
        affinity: of the same users.

    Returns:
        float32 ``(M, 3)``, columns :data:`AFFINITY_FEATURES`; NaN for a product that is no candidate product.
    """
    return stacked(_affinity_columns(candidates, affinity))


def _affinity_columns(candidates: Candidates, affinity: Affinity) -> dict[str, Column]:
    all_candidates = affinity.item_item.all_candidates
    column = np.full(len(affinity.item_item.aisle), -1)
    column[all_candidates] = np.arange(len(all_candidates))
    column = column[candidates.product]
    known = np.flatnonzero(column >= 0)
    query, product = candidates.query[known], candidates.product[known]

    def without_itself(name: str, weights: csr_array) -> Column:
        """A score less what the product adds to its own, which is its weight: the similarity to itself is 1."""
        values = np.full(len(candidates), np.nan, dtype=np.float32)
        if len(known):
            values[known] = affinity.scores[name][query, column[known]] - np.asarray(weights[query, product]).ravel()
        return linear(values)

    return {
        "item_item_confidence": without_itself("item_item_confidence", affinity.share),
        "item_item_cosine": without_itself("item_item_cosine", affinity.share),
        "item_item_confidence_newest": without_itself("item_item_confidence_newest", affinity.newest),
    }


def _item_item_scores(share: csr_array, newest: csr_array, item_item: ItemItemModel) -> dict[str, Floats]:
    """float32 ``(Q, P + U)`` each: sums over the user's products h of a weight times a similarity to h.

    The confidence of a product given h is the share of the orders of h that hold the product too. It is
    ``cosine * root[product] / root[h]`` with root the square root of popularity, so that one matrix of cosines serves
    for both: weights are divided by the root of h before the sum, and the sum is multiplied by that of the product.

    The sums go user by user: scipy then multiplies rows of ``cosine`` with three dense columns at once. That is faster
    than three products of sparse matrices, each of which looks at those rows twice.
    """
    root = np.sqrt(np.maximum(item_item.popularity, 1)).astype(np.float32)
    sums = np.empty((3, share.shape[0], len(item_item.candidate_products)), dtype=np.float32)
    for query in range(share.shape[0]):
        entries = slice(share.indptr[query], share.indptr[query + 1])
        product, weight = share.indices[entries], share.data[entries]
        is_newest = np.isin(product, newest.indices[newest.indptr[query] : newest.indptr[query + 1]])
        columns = np.stack([weight / root[product], weight, is_newest / root[product]], axis=1)
        sums[:, query] = (item_item.cosine[product].T @ columns.astype(np.float32)).T
    sums[[0, 2]] *= root[item_item.candidate_products]
    if item_item.weights_of_similar is not None:
        sums = np.concatenate([sums, np.stack([some @ item_item.weights_of_similar for some in sums])], axis=2)
    return {"item_item_confidence": sums[0], "item_item_cosine": sums[1], "item_item_confidence_newest": sums[2]}


def _aisle_scores(share: csr_array, item_item: ItemItemModel) -> dict[str, Floats]:
    """float32 ``(Q, P + U)`` each: how much of the user's purchases is of the aisle, how much of the aisle's is this.

    Their product is the probability of a user who chooses an aisle by habit, and there a product by popularity.
    """
    all_candidates, aisle, popularity = item_item.all_candidates, item_item.aisle, item_item.popularity
    n_products, n_aisles = len(aisle), int(aisle.max(initial=0)) + 1
    ones = np.ones(n_products, np.float32)
    is_of_aisle = csr_array((ones, (np.arange(n_products), aisle)), shape=(n_products, n_aisles))
    of_user = np.asarray((share @ is_of_aisle).toarray(), dtype=np.float32)[:, aisle[all_candidates]]
    counted = popularity.copy()
    counted[item_item.new_products] = 0
    aisle_popularity = np.bincount(aisle, weights=counted, minlength=n_aisles)
    in_aisle = (popularity / np.maximum(aisle_popularity, 1)[aisle])[all_candidates].astype(np.float32)
    return {
        "user_aisle_share": of_user,
        "product_share_in_aisle": np.broadcast_to(in_aisle, of_user.shape),
        "aisle_probability": of_user * in_aisle,
    }


_OF_NOBODY = Affinity.of(NOBODY, ItemItemModel.fit(NOBODY, np.zeros(1, np.int32)))
AFFINITY_FEATURES = features_of(_affinity_columns(Candidates.of(NOBODY, 1), _OF_NOBODY))
"""The columns of :func:`affinity_features`."""

EXPLORE_AFFINITY_FEATURES = features_of(_OF_NOBODY.columns(np.empty(0, np.int64), np.empty(0, np.int64)))
"""The columns of :meth:`Affinity.columns`."""
