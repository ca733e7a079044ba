"""Which products are bought together: the item-item model of the ranker, counted on training users.

Numpy and sparse matrices, for training and serving alike. Shapes: N products, P candidate products, U new products.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from lit_rec.data.histories import PurchaseHistories
from lit_rec.ranking.co_occurrence import similarity
from lit_rec.ranking.order_matrix import OrderMatrix

if TYPE_CHECKING:  # reading them takes pyarrow, which the serving path does without
    from lit_rec.ranking.auxiliary_orders import AuxiliaryOrders

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ItemItemModel:
    """Which products are bought together, and how often each is bought.

    Args:
        candidate_products: int64 ``(P,)``, the most popular products, ascending: those that may be recommended to
            users who have not bought them.
        cosine: float32 ``(N, P)``, cosine of the orders of two products, the highest of each row.
        popularity: float32 ``(N,)``, orders that hold the product.
        aisle: int32 ``(N,)``.
        new_products: int64 ``(U,)``, products that nobody could buy yet, candidates too; mostly none.
        weights_of_similar: float32 ``(P, U)``, each new product as the weighted mean of similar candidate products.
    """

    candidate_products: NDArray[np.int64]
    cosine: csr_array
    popularity: Floats
    aisle: NDArray[np.int32]
    new_products: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    weights_of_similar: csr_array | None = None

    @cached_property
    def all_candidates(self) -> NDArray[np.int64]:
        """int64 ``(P + U,)``: candidate products, then new ones."""
        return np.concatenate([self.candidate_products, self.new_products])

    @classmethod
    def fit(
        cls,
        histories: PurchaseHistories,
        aisle: NDArray[np.int32],
        auxiliary_orders: "AuxiliaryOrders | None" = None,
        *,
        n_candidate_products: int = 8_000,
        neighbours: int = 500,
    ) -> Self:
        """Item-item model of all orders.

        Args:
            histories: whole histories of training users.
            aisle: int32 ``(N,)``.
            auxiliary_orders: single orders of other users; None for none.
            n_candidate_products: P, at most.
            neighbours: cosines kept a row.
        """
        n_products = len(aisle)
        incidence = OrderMatrix.of(histories, n_products).incidence
        if auxiliary_orders is not None:
            incidence = csr_array(vstack([incidence, auxiliary_orders.incidence(n_products)]))
        popularity = np.bincount(incidence.indices, minlength=n_products).astype(np.float32)
        most_popular = np.argsort(-popularity, kind="stable")[:n_candidate_products]
        candidate_products = np.sort(most_popular[popularity[most_popular] > 0]).astype(np.int64)
        cosine = similarity(incidence, neighbours, columns=candidate_products)
        return cls(candidate_products, cosine, popularity, aisle)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays by name, for a file; of a model without new products."""
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
        """The model of which :meth:`arrays` made these."""
        candidate_products, popularity = arrays["candidate_products"], arrays["popularity"]
        content = (arrays["cosine"], arrays["cosine_column"], arrays["cosine_start"])
        cosine = csr_array(content, shape=(len(popularity), len(candidate_products)))
        return cls(candidate_products, cosine, popularity, arrays["aisle"])
