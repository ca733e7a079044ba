"""The distinct products of each user's history, and where their lines stand in the orders.

Plain numpy, for training and serving alike. Shapes: Q users, L order lines, M candidates (a user and a product
that the user has bought), N products.
"""

from dataclasses import dataclass
from typing import Any, Self

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
        """Lines grouped by user and product."""
        # One number for each user and product. A stable sort by it puts the lines of a candidate side by side and
        # leaves them oldest first, so that a candidate begins wherever the number is another than that before it.
        key = histories.query * n_products + histories.product
        line = np.argsort(key, kind="stable")
        key, ago = key[line], histories.orders_ago[line]
        is_new_product, is_new_order = (np.append(True, values[1:] != values[:-1])[: len(key)] for values in (key, ago))
        is_kept = is_new_product | is_new_order
        line, key, is_new_product = line[is_kept], key[is_kept], is_new_product[is_kept]
        first = np.flatnonzero(is_new_product)
        return cls(
            query=key[first] // n_products,
            product=(key[first] % n_products).astype(np.int32),
            start=np.append(first, len(key)),
            line=line,
        )

    def __len__(self) -> int:
        return len(self.product)

    @property
    def counts(self) -> NDArray[np.int64]:
        """int64 ``(M,)``: orders that hold the product."""
        return np.diff(self.start)

    def total(self, values: NDArray[Any]) -> Floats:
        """float32 ``(M,)``: sums of values over the lines of each candidate.

        Args:
            values: one for each of :attr:`line`.
        """
        if not len(values):  # reduceat needs a place to begin at
            return values.astype(np.float32)
        return np.add.reduceat(values, self.start[:-1]).astype(np.float32)


def relative_cart_positions(histories: PurchaseHistories) -> Floats:
    """float32 ``(L,)``: place in the cart from 0 (first) towards 1 (last)."""
    query, ago = histories.query, histories.orders_ago
    begins = np.append(True, (query[1:] != query[:-1]) | (ago[1:] != ago[:-1]))[: len(query)]
    order = np.cumsum(begins) - 1  # orders of all users, numbered as their lines stand
    size = np.bincount(order)[order] if len(order) else order
    position: Floats = ((histories.cart_position - 0.5) / size).clip(0, 1).astype(np.float32)
    return position
