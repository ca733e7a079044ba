"""What speaks for a product beside its own purchases by the user: what goes with the others, aisles, popularity.

Numpy and sparse matrices, for training and serving alike. Shapes: Q users, L order lines, N products, P candidate
products, C candidates that they have not bought, M candidates that they have, F features.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from lit_rec.data.histories import PurchaseHistories
from lit_rec.ranking.candidates import Candidates
from lit_rec.ranking.co_occurrence import similarity
from lit_rec.ranking.order_matrix import OrderMatrix
from lit_rec.ranking.statistics import STATISTICS, AuxiliaryOrders, ProductStatistics

Floats = NDArray[np.float32]

_DECAY = 0.9  # of the weight of an order with each order after it
_PER_SOURCE = 100

USER_FEATURES = ("user_orders", "user_basket_size", "user_distinct", "user_reorder_share")
EXPLORE_FEATURES = (
    "item_item_confidence",
    "item_item_cosine",
    "item_item_confidence_newest",
    "user_aisle_share",
    "product_share_in_aisle",
    "aisle_probability",
    *USER_FEATURES,
    *STATISTICS,
)
"""Columns of :attr:`ExploreCandidates.features`."""

AFFINITY_FEATURES = ("item_item_confidence", "item_item_cosine", "item_item_confidence_newest")
"""Columns of :func:`affinity_features`."""


@dataclass(frozen=True)
class ItemItemModel:
    """Which products are bought together, and which are bought much.

    Args:
        candidate_products: int64 ``(P,)``, the products that may be found: the most popular ones, ascending.
        cosine: float32 ``(N, P)``, cosine of the orders of two products, the strongest of each row.
        popularity: float32 ``(N,)``, order lines.
        aisle: int32 ``(N,)``.
        new_products: int64 ``(U,)``, products that nobody could buy yet, which may be found too; mostly none.
        relatives: float32 ``(P, U)``, of which products each of those goes with the others like the weighted mean.
    """

    candidate_products: NDArray[np.int64]
    cosine: csr_array
    popularity: Floats
    aisle: NDArray[np.int32]
    new_products: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    relatives: csr_array | None = None

    @cached_property
    def found(self) -> NDArray[np.int64]:
        """int64 ``(P + U,)``: all products that may be found."""
        return np.concatenate([self.candidate_products, self.new_products])

    @classmethod
    def fit(
        cls,
        histories: PurchaseHistories,
        aisle: NDArray[np.int32],
        auxiliary_orders: AuxiliaryOrders | None = None,
        *,
        n_candidate_products: int = 8_000,
        neighbours: int = 500,
    ) -> Self:
        """Count.

        Args:
            histories: whole histories of training users.
            aisle: int32 ``(N,)``.
            auxiliary_orders: single orders of other users; None for none.
            n_candidate_products: P, at most.
            neighbours: products kept a row.
        """
        n_products = len(aisle)
        incidence = OrderMatrix.of(histories, n_products).incidence
        if auxiliary_orders is not None and len(auxiliary_orders.order):
            ones = np.ones(len(auxiliary_orders.order), dtype=np.float32)
            further = csr_array(
                (ones, (auxiliary_orders.order, auxiliary_orders.product)),
                shape=(int(auxiliary_orders.order[-1]) + 1, n_products),
            )
            further.sum_duplicates()
            further.data.fill(1)
            incidence = csr_array(vstack([incidence, further]))
        popularity = np.bincount(incidence.indices, minlength=n_products).astype(np.float32)
        by_popularity = np.argsort(-popularity, kind="stable")[:n_candidate_products]
        candidate_products = np.sort(by_popularity[popularity[by_popularity] > 0]).astype(np.int64)
        cosine = similarity(incidence, neighbours, columns=candidate_products)
        return cls(candidate_products, cosine, popularity, aisle)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What :meth:`from_arrays` takes."""
        return {
            "candidate_products": self.candidate_products,
            "cosine": self.cosine.data.astype(np.float32),
            "cosine_column": self.cosine.indices.astype(np.int32),
            "cosine_start": self.cosine.indptr.astype(np.int64),
            "popularity": self.popularity,
            "aisle": self.aisle,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """What :meth:`arrays` made."""
        content = (arrays["cosine"], arrays["cosine_column"], arrays["cosine_start"])
        shape = (len(arrays["popularity"]), len(arrays["candidate_products"]))
        return cls(arrays["candidate_products"], csr_array(content, shape=shape), arrays["popularity"], arrays["aisle"])


@dataclass(frozen=True)
class ExploreCandidates:
    """Products that a user has not bought, worth a closer look.

    Args:
        query: int64 ``(C,)``, ascending.
        product: int64 ``(C,)``, each once a user.
        features: float32 ``(C, F)``, columns :data:`EXPLORE_FEATURES`.
    """

    query: NDArray[np.int64]
    product: NDArray[np.int64]
    features: Floats


def user_features(histories: PurchaseHistories) -> Floats:
    """float32 ``(Q, 4)``, columns :data:`USER_FEATURES`; all 0 without a history."""
    n_orders, n_lines = histories.n_orders, histories.n_lines
    key = histories.query * (int(histories.product.max(initial=0)) + 1) + histories.product
    distinct = np.bincount(histories.query[np.unique(key, return_index=True)[1]], minlength=len(histories))
    basket = n_lines / np.maximum(n_orders, 1)
    again = (n_lines - distinct) / np.maximum(n_lines, 1)
    columns = (np.log1p(n_orders), np.log1p(basket), np.log1p(distinct), again)
    return np.stack([np.asarray(column, dtype=np.float32) for column in columns], axis=1)


@dataclass(frozen=True)
class Affinity:
    """How well each candidate product goes with what each user has bought.

    Args:
        share: float32 ``(Q, N)``, purchases weighted by age, of sum 1.
        last: float32 ``(Q, N)``, 1 where the newest order holds the product.
        rules: float32 ``(Q, P + U)`` by name, the first columns of :data:`EXPLORE_FEATURES`.
    """

    share: csr_array
    last: csr_array
    rules: Mapping[str, Floats]

    @classmethod
    def of(cls, histories: PurchaseHistories, item_item: ItemItemModel) -> Self:
        """Compute.

        Args:
            histories: of a few users: P numbers are held for each, several times.
            item_item: of other users.
        """
        orders = OrderMatrix.of(histories, len(item_item.aisle))
        weights = orders.decayed(_DECAY).astype(np.float32)
        last = orders.summed((orders.orders_ago == 1).astype(np.float64)).astype(np.float32)
        total = np.asarray(weights.sum(axis=1)).reshape(-1, 1).clip(1e-6).astype(np.float32)
        share = csr_array(weights / total)
        return cls(share, last, _rules(share, last, item_item))


def affinity_features(candidates: Candidates, affinity: Affinity, item_item: ItemItemModel) -> Floats:
    """How well bought products go with the others that the user has bought.

    Args:
        candidates: of the histories.
        affinity: of the same users.
        item_item: of other users.

    Returns:
        float32 ``(M, 3)``, columns :data:`AFFINITY_FEATURES`; NaN for a product that is no candidate product.
    """
    features = np.full((len(candidates), len(AFFINITY_FEATURES)), np.nan, dtype=np.float32)
    place = np.full(len(item_item.aisle), -1)
    place[item_item.found] = np.arange(len(item_item.found))
    is_candidate = place[candidates.product] >= 0
    query, product = candidates.query[is_candidate], candidates.product[is_candidate]
    for column, (rule, weights) in enumerate(
        [
            ("item_item_confidence", affinity.share),
            ("item_item_cosine", affinity.share),
            ("item_item_confidence_newest", affinity.last),
        ]
    ):
        own = np.asarray(weights[query, product]).ravel()  # a product goes with itself with 1
        features[is_candidate, column] = affinity.rules[rule][query, place[product]] - own
    return features


def explore_candidates(
    histories: PurchaseHistories, affinity: Affinity, item_item: ItemItemModel, statistics: ProductStatistics
) -> ExploreCandidates:
    """The best of each of four simple rules, with what speaks for each.

    Args:
        histories: of a few users.
        affinity: of the same users.
        item_item: of other users.
        statistics: of other users.
    """
    found, rules = item_item.found, affinity.rules
    seen = np.zeros((len(histories), len(item_item.aisle)), dtype=bool)
    seen[histories.query, histories.product] = True
    seen = seen[:, found]
    query, place = np.nonzero(_best_of_each(rules, seen))
    product = found[place]
    columns = [rules[name][query, place] for name in rules]
    features = [np.stack(columns, axis=1), user_features(histories)[query], statistics.columns[product]]
    return ExploreCandidates(query, product, np.concatenate(features, axis=1).astype(np.float32))


def _rules(share: csr_array, last: csr_array, item_item: ItemItemModel) -> dict[str, Floats]:
    """float32 ``(Q, P + U)`` each."""
    found, aisle, popularity = item_item.found, item_item.aisle, item_item.popularity
    root = np.sqrt(np.maximum(popularity, 1)).astype(np.float32)
    goes_with = _goes_with(share, last, item_item.cosine, root)
    goes_with[[0, 2]] *= root[item_item.candidate_products]
    if item_item.relatives is not None:
        goes_with = np.concatenate([goes_with, np.stack([some @ item_item.relatives for some in goes_with])], axis=2)
    n_aisles = int(aisle.max(initial=0)) + 1
    of_aisle = csr_array(
        (np.ones(len(aisle), np.float32), (np.arange(len(aisle)), aisle)), shape=(len(aisle), n_aisles)
    )
    aisle_share = np.asarray((share @ of_aisle).toarray(), dtype=np.float32)[:, aisle[found]]
    counted = popularity.copy()
    counted[item_item.new_products] = 0
    aisle_lines = np.bincount(aisle, weights=counted, minlength=n_aisles)
    share_of_aisle = (popularity / np.maximum(aisle_lines, 1)[aisle])[found].astype(np.float32)
    return {
        "item_item_confidence": goes_with[0],
        "item_item_cosine": goes_with[1],
        "item_item_confidence_newest": goes_with[2],
        "user_aisle_share": aisle_share,
        "product_share_in_aisle": np.broadcast_to(share_of_aisle, aisle_share.shape),
        "aisle_probability": aisle_share * share_of_aisle,
    }


def _goes_with(share: csr_array, last: csr_array, cosine: csr_array, root: Floats) -> Floats:
    """float32 ``(3, Q, P)``: sums over the user's products h of weight times cosine.

    The weights are share / root, share and last / root. With root, the square root of popularity, the first and the
    last become sums of weight times the share of the orders of h that hold the product, once they are multiplied with
    the root of that product.

    User by user, for scipy multiplies rows of ``cosine`` with three dense columns at once, faster than three
    products of sparse matrices, which look at those rows twice each.
    """
    sums = np.empty((3, share.shape[0], cosine.shape[1]), dtype=np.float32)
    for query in range(share.shape[0]):
        entries = slice(share.indptr[query], share.indptr[query + 1])
        product, weight = share.indices[entries], share.data[entries]
        newest = slice(last.indptr[query], last.indptr[query + 1])
        in_newest = np.isin(product, last.indices[newest])
        columns = np.stack([weight / root[product], weight, in_newest / root[product]], axis=1)
        sums[:, query] = (cosine[product].T @ columns.astype(np.float32)).T
    return sums


def _best_of_each(rules: Mapping[str, Floats], seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Bool ``(Q, P + U)``: among the best of some rule, and not bought yet."""
    chosen = np.zeros(seen.shape, dtype=bool)
    n = min(_PER_SOURCE, seen.shape[1])
    if n == 0:
        return chosen
    for name in ("item_item_confidence", "item_item_cosine", "item_item_confidence_newest", "aisle_probability"):
        scores = np.where(seen, -np.inf, rules[name])
        best = np.argpartition(-scores, n - 1, axis=1)[:, :n]
        np.put_along_axis(chosen, best, True, axis=1)
    return chosen & ~seen
