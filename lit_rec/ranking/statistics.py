"""What many users' purchases say of each product.

Plain numpy. Shapes: L order lines, N products.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lit_rec.data.contexts import product_aisle
from lit_rec.data.histories import PurchaseHistories
from lit_rec.ranking.candidates import Candidates, relative_cart_positions

Floats = NDArray[np.float32]

STATISTICS = (
    "log_popularity",
    "reorder_share",
    "reorder_rate",
    "repurchase_rate",
    "product_cart_position",
    "global_log_popularity",
    "global_reorder_share",
    "global_cart_position",
    "aisle_reorder_share",
)
"""Columns of :class:`ProductStatistics`.

``log_popularity``: log of 1 + order lines. ``reorder_share``: of its purchases, the share by someone who had bought it
before. ``reorder_rate``: of the orders of users who had bought it before, the share that holds it.
``repurchase_rate``: of the orders right after one that holds it, the share that holds it too.
``product_cart_position``: mean place in the cart, 0 (first) to 1 (last). ``global_*``: of the auxiliary orders alone,
or of the histories where there are none; ``aisle_reorder_share``: of all products of its aisle.
"""


@dataclass(frozen=True)
class AuxiliaryOrders:
    """Single orders of other users, whose histories are not known.

    Args:
        order: int64 ``(L,)``, ascending; 0 for the first order.
        product: int32 ``(L,)``, product index.
        place: float32 ``(L,)``, relative place in the cart, 0 (first) to 1.
        reordered: bool ``(L,)``, whether the user had bought the product before.
    """

    order: NDArray[np.int64]
    product: NDArray[np.int32]
    place: Floats
    reordered: NDArray[np.bool_]


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
        auxiliary_orders: AuxiliaryOrders | None = None,
        smoothing: float = 20.0,
    ) -> Self:
        """Count.

        Args:
            histories: whole histories of training users.
            aisle: int32 ``(N,)``, the aisle of each product, from 0.
            auxiliary_orders: single orders of other users; None for none.
            smoothing: so many purchases of an average product are added to each.
        """
        n_products = len(aisle)
        candidates = Candidates.of(histories, n_products)
        product, counts = candidates.product, candidates.counts
        orders_ago = histories.orders_ago[candidates.line]
        first, last = orders_ago[candidates.start[:-1]], orders_ago[candidates.start[1:] - 1]
        lines, buyers = _sum(product, counts, n_products), _sum(product, np.ones(len(product)), n_products)
        chances = _sum(product, first - 1, n_products)
        of_line = np.repeat(product, counts)
        next_is_order_after = np.zeros(len(of_line), dtype=bool)
        next_is_order_after[:-1] = orders_ago[:-1] - orders_ago[1:] == 1
        next_is_order_after[candidates.start[1:] - 1] = False  # the next line is another candidate's
        after = lines - _sum(product, last == 1, n_products)  # the newest order is followed by none
        place = relative_cart_positions(histories)[candidates.line]
        if auxiliary_orders is None:
            is_again = np.ones(len(of_line), dtype=bool)
            is_again[candidates.start[:-1]] = False
            auxiliary_orders = AuxiliaryOrders(np.empty(0, np.int64), of_line, place, is_again)
        columns = [
            np.log1p(lines),
            _rate(lines - buyers, lines, smoothing),
            _rate(lines - buyers, chances, smoothing),
            _rate(_sum(of_line, next_is_order_after, n_products), after, smoothing),
            _rate(_sum(of_line, place, n_products), lines, smoothing),
            *_global(auxiliary_orders, aisle, smoothing / 2),
        ]
        return cls(np.stack([np.asarray(column, dtype=np.float32) for column in columns], axis=1))


def aisles_of(product_texts: Sequence[str]) -> NDArray[np.int32]:
    """int32 ``(N,)``: a number from 0 for the aisle and department of each product text."""
    return np.unique([product_aisle(text) for text in product_texts], return_inverse=True)[1].astype(np.int32)


def _global(
    auxiliary_orders: AuxiliaryOrders, aisle: NDArray[np.int32], smoothing: float
) -> list[NDArray[np.floating]]:
    n_products, n_aisles = len(aisle), int(aisle.max(initial=0)) + 1
    lines = _sum(auxiliary_orders.product, np.ones(len(auxiliary_orders.product)), n_products)
    again, place = (
        _sum(auxiliary_orders.product, values, n_products)
        for values in (auxiliary_orders.reordered, auxiliary_orders.place)
    )
    aisle_lines, aisle_again = _sum(aisle, lines, n_aisles), _sum(aisle, again, n_aisles)
    return [
        np.log1p(lines),
        _rate(again, lines, smoothing),
        _rate(place, lines, smoothing),
        _rate(aisle_again, aisle_lines, smoothing)[aisle],
    ]


def _sum(group: NDArray[np.int32], values: NDArray[Any], n_groups: int) -> NDArray[np.float64]:
    return np.bincount(group, weights=values, minlength=n_groups).astype(np.float64)


def _rate(hits: NDArray[np.float64], chances: NDArray[np.float64], smoothing: float) -> Floats:
    average = hits.sum() / max(chances.sum(), 1)
    rate: Floats = ((hits + smoothing * average) / (chances + smoothing)).astype(np.float32)
    return rate
