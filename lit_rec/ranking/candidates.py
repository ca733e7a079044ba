"""The distinct products of each user's history, and where their lines stand in the orders.

Plain numpy, for training and serving alike. Shapes: Q users, L order lines, M candidates (a user and a product
that the user has bought), N products.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lit_rec.data.histories import PurchaseHistories

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Candidates:
    """The distinct products of each user's history, with the lines they come from.

    Args:
        query: int64 ``(M,)``, ascending.
        product: int32 ``(M,)``, ascending within a user.
        start: int64 ``(M + 1,)``; the lines of candidate ``m`` are ``line[start[m]:start[m + 1]]``, oldest first.
        line: int64, positions of lines in the histories; of a product named twice in an order, the first alone.
    """

    query: NDArray[np.int64]
    product: NDArray[np.int32]
    start: NDArray[np.int64]
    line: NDArray[np.int64]

    @classmethod
    def of(cls, histories: PurchaseHistories, n_products: int) -> Self:
        """Group lines by user and product."""
        key = histories.query * n_products + histories.product
        order = np.argsort(key, kind="stable")
        key, ago = key[order], histories.orders_ago[order]
        is_again = np.zeros(len(key), dtype=bool)
        is_again[1:] = (key[1:] == key[:-1]) & (ago[1:] == ago[:-1])
        order, key = order[~is_again], key[~is_again]
        is_first = np.ones(len(key), dtype=bool)
        is_first[1:] = key[1:] != key[:-1]
        first = np.flatnonzero(is_first)
        return cls(
            query=key[first] // n_products,
            product=(key[first] % n_products).astype(np.int32),
            start=np.append(first, len(key)),
            line=order,
        )

    def __len__(self) -> int:
        return len(self.product)

    @property
    def counts(self) -> NDArray[np.int64]:
        """int64 ``(M,)``: orders that hold the product."""
        return np.diff(self.start)


def relative_cart_positions(histories: PurchaseHistories) -> Floats:
    """float32 ``(L,)``: place in the cart from 0 (first) towards 1."""
    size = basket_sizes(histories)
    position: Floats = ((histories.cart_position - 0.5) / size).clip(0, 1).astype(np.float32)
    return position


def basket_sizes(histories: PurchaseHistories) -> NDArray[np.int64]:
    """int64 ``(L,)``: lines of each line's order."""
    order = _order_of_line(histories)
    return np.bincount(order)[order] if len(order) else np.empty(0, np.int64)


def _order_of_line(histories: PurchaseHistories) -> NDArray[np.int64]:
    """int64 ``(L,)``: the orders of all users, numbered as their lines stand."""
    query, ago = histories.query, histories.orders_ago
    is_new = np.ones(len(query), dtype=np.int64)
    is_new[1:] = (query[1:] != query[:-1]) | (ago[1:] != ago[:-1])
    return is_new.cumsum() - 1
