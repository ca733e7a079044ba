"""Features of a product: what many users' purchases say of it.

Plain numpy. Shapes: L order lines, N products.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from lit_rec.data.contexts import product_aisle
from lit_rec.data.histories import PurchaseHistories
from lit_rec.ranking.candidates import Candidates, relative_cart_positions
from lit_rec.ranking.feature_columns import NOBODY, Column, Floats, features_of, linear, log_scaled, stacked

if TYPE_CHECKING:  # reading them takes pyarrow, which the serving path does without
    from lit_rec.ranking.auxiliary_orders import AuxiliaryOrders


@dataclass(frozen=True)
class ProductStatistics:
    """Counts and rates of each product, smoothed where they say little.

    Args:
        columns: float32 ``(N, 9)``, named by :data:`STATISTICS`.
    """

    columns: Floats

    @classmethod
    def fit(
        cls,
        histories: PurchaseHistories,
        aisle: NDArray[np.int32],
        auxiliary_orders: "AuxiliaryOrders | None" = None,
        smoothing: float = 20.0,
    ) -> Self:
        """Statistics of N products.

        Args:
            histories: whole histories of training users.
            aisle: int32 ``(N,)``, the aisle of each product, from 0.
            auxiliary_orders: single orders of other users; None for none.
            smoothing: so many purchases of an average product are added to each.
        """
        return cls(stacked(_product_columns(histories, aisle, auxiliary_orders, smoothing)))


def aisles_of(product_texts: Sequence[str]) -> NDArray[np.int32]:
    """int32 ``(N,)``: a number from 0 for the aisle and department of each product text."""
    return np.unique([product_aisle(text) for text in product_texts], return_inverse=True)[1].astype(np.int32)


def _product_columns(
    histories: PurchaseHistories,
    aisle: NDArray[np.int32],
    auxiliary_orders: "AuxiliaryOrders | None",
    smoothing: float,
) -> dict[str, Column]:
    """Columns ``(N,)``: of the training users first, then, as ``global_*``, of the auxiliary orders.

    Without auxiliary orders, the histories are the ``global_*`` orders too.
    """
    n_products = len(aisle)
    candidates = Candidates.of(histories, n_products)
    product, counts, start = candidates.product, candidates.counts, candidates.start
    # The lines of a user and a product stand side by side, oldest first: see Candidates.
    line_product = np.repeat(product, counts)
    orders_ago = histories.orders_ago[candidates.line]
    oldest, newest = orders_ago[start[:-1]], orders_ago[start[1:] - 1]
    n_bought, n_buyers = _sum(product, counts, n_products), _sum(product, np.ones(len(product)), n_products)
    n_orders_after_first = _sum(product, oldest - 1, n_products)
    in_next_order = np.zeros(len(line_product), dtype=bool)
    in_next_order[:-1] = orders_ago[:-1] - orders_ago[1:] == 1
    in_next_order[start[1:] - 1] = False  # the line after a candidate's newest one is another candidate's
    n_followed = n_bought - _sum(product, newest == 1, n_products)  # the newest order is followed by none
    place = relative_cart_positions(histories)[candidates.line]
    is_reorder = np.ones(len(line_product), dtype=bool)
    is_reorder[start[:-1]] = False
    everyone = line_product, place, is_reorder
    if auxiliary_orders is not None:
        everyone = auxiliary_orders.product, auxiliary_orders.place, auxiliary_orders.reordered
    return {
        "log_popularity": linear(np.log1p(n_bought)),
        # of the purchases, the share by someone who had bought it before
        "reorder_share": linear(_rate(n_bought - n_buyers, n_bought, smoothing)),
        # of the orders of users who had bought it before, the share that holds it
        "reorder_rate": linear(_rate(n_bought - n_buyers, n_orders_after_first, smoothing)),
        # of the orders right after one that holds it, the share that holds it too
        "repurchase_rate": log_scaled(_rate(_sum(line_product, in_next_order, n_products), n_followed, smoothing)),
        # mean place in the cart, 0 (first) to 1 (last)
        "product_cart_position": linear(_rate(_sum(line_product, place, n_products), n_bought, smoothing)),
        **_global_columns(*everyone, aisle, smoothing / 2),
    }


def _global_columns(
    product: NDArray[np.int32], place: Floats, reordered: NDArray[np.bool_], aisle: NDArray[np.int32], smoothing: float
) -> dict[str, Column]:
    """Columns ``(N,)`` of order lines, ``(L,)`` each, that need no history."""
    n_products, n_aisles = len(aisle), int(aisle.max(initial=0)) + 1
    n_bought = _sum(product, np.ones(len(product)), n_products)
    n_reordered, places = _sum(product, reordered, n_products), _sum(product, place, n_products)
    of_aisle = _rate(_sum(aisle, n_reordered, n_aisles), _sum(aisle, n_bought, n_aisles), smoothing)
    return {
        "global_log_popularity": linear(np.log1p(n_bought)),
        "global_reorder_share": linear(_rate(n_reordered, n_bought, smoothing)),
        "global_cart_position": linear(_rate(places, n_bought, smoothing)),
        "aisle_reorder_share": linear(of_aisle[aisle]),
    }


def _sum(group: NDArray[np.int32], values: NDArray[Any], n_groups: int) -> NDArray[np.float64]:
    return np.bincount(group, weights=values, minlength=n_groups).astype(np.float64)


def _rate(hits: NDArray[np.float64], chances: NDArray[np.float64], smoothing: float) -> Floats:
    """Share of the chances that are hits, drawn towards the average of all as if by so many chances more."""
    average = hits.sum() / max(chances.sum(), 1)
    rate: Floats = ((hits + smoothing * average) / (chances + smoothing)).astype(np.float32)
    return rate


STATISTICS = features_of(_product_columns(NOBODY, np.zeros(1, np.int32), None, 1.0))
"""The columns of :class:`ProductStatistics`."""
