"""All orders of all users as flat arrays: 32 million order lines stay a few hundred megabytes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lit_rec.core import schema
from lit_rec.data.orders import Order, UserHistory
from lit_rec.data.ragged import starts
from lit_rec.data.tables import Tables


@dataclass(frozen=True)
class OrderArrays:
    """Users, their orders in time, and the orders' products in cart order.

    U users, O orders, L order lines. Orders are sorted by user, then by time; ``order_start[u]`` to
    ``order_start[u + 1]`` are the orders of user ``u``, ``line_start[o]`` to ``line_start[o + 1]`` the lines
    of order ``o``.

    Args:
        user_ids: int64 ``(U,)``, ascending.
        order_start: int64 ``(U + 1,)``.
        order_user: int32 ``(O,)``, position in ``user_ids``.
        order_ids: int64 ``(O,)``.
        order_number: int32 ``(O,)``, 1 for a user's first order.
        order_dow: int8 ``(O,)``.
        order_hour: int8 ``(O,)``.
        days_since_prior: float32 ``(O,)``, NaN for a first order.
        is_target: bool ``(O,)``, the user's last order with known products.
        line_start: int64 ``(O + 1,)``.
        line_product: int32 ``(L,)``, product index.
        line_cart_position: int16 ``(L,)``.
    """

    user_ids: NDArray[np.int64]
    order_start: NDArray[np.int64]
    order_user: NDArray[np.int32]
    order_ids: NDArray[np.int64]
    order_number: NDArray[np.int32]
    order_dow: NDArray[np.int8]
    order_hour: NDArray[np.int8]
    days_since_prior: NDArray[np.float32]
    is_target: NDArray[np.bool_]
    line_start: NDArray[np.int64]
    line_product: NDArray[np.int32]
    line_cart_position: NDArray[np.int16]

    @classmethod
    def from_tables(cls, tables: Tables) -> "OrderArrays":
        """Sort and flatten validated tables."""
        orders = tables.orders.sort(schema.USER_ID, schema.ORDER_NUMBER)
        lines = _sorted_lines(orders, tables)
        user_ids, orders_per_user = np.unique(orders[schema.USER_ID].to_numpy(), return_counts=True)
        return cls(
            user_ids=user_ids.astype(np.int64),
            order_start=starts(orders_per_user),
            order_user=np.repeat(np.arange(len(user_ids), dtype=np.int32), orders_per_user),
            order_ids=orders[schema.ORDER_ID].cast(pl.Int64).to_numpy(),
            order_number=orders[schema.ORDER_NUMBER].to_numpy(),
            order_dow=orders[schema.ORDER_DOW].to_numpy(),
            order_hour=orders[schema.ORDER_HOUR].to_numpy(),
            days_since_prior=orders[schema.DAYS_SINCE_PRIOR].fill_null(float("nan")).to_numpy(),
            is_target=(orders[schema.EVAL_SET] == schema.TARGET).to_numpy(),
            line_start=starts(np.bincount(lines["order"].to_numpy(), minlength=len(orders))),
            line_product=lines["product"].to_numpy(),
            line_cart_position=lines[schema.CART_POSITION].to_numpy(),
        )

    @property
    def lines_per_order(self) -> NDArray[np.int64]:
        """int64 ``(O,)``: the size of each basket."""
        return np.diff(self.line_start)

    def products_of(self, order: int) -> NDArray[np.int32]:
        """int32: product indices of an order, in cart order."""
        return self.line_product[self.line_start[order] : self.line_start[order + 1]]

    def history_before(self, order: int, product_ids: Sequence[str], max_orders: int, max_products: int) -> UserHistory:
        """The newest orders of the same user before this one, and when this one is; nothing of what is in it.

        Args:
            order: 0 to O - 1.
            product_ids: the id of each product index.
            max_orders: how many orders at most.
            max_products: how many products an order at most.
        """
        first = max(int(self.order_start[self.order_user[order]]), order - max_orders)
        past = [
            Order(
                [product_ids[product] for product in self.products_of(each)[:max_products].tolist()],
                *self._moment(each),
            )
            for each in range(first, order)
        ]
        return UserHistory(past, *self._moment(order))

    def _moment(self, order: int) -> tuple[float | None, int, int]:
        gap = float(self.days_since_prior[order])
        return None if np.isnan(gap) else gap, int(self.order_dow[order]), int(self.order_hour[order])


def _sorted_lines(orders: pl.DataFrame, tables: Tables) -> pl.DataFrame:
    """Columns ``order``, ``product`` (positions) and the cart position, sorted by order, then cart."""
    order_position = orders.lazy().select(schema.ORDER_ID).with_row_index("order")
    product_position = tables.products.lazy().select(schema.PRODUCT_ID).with_row_index("product")
    return (
        tables.order_lines.lazy()
        .join(order_position, on=schema.ORDER_ID)
        .join(product_position, on=schema.PRODUCT_ID)
        .select(
            pl.col("order").cast(pl.Int32),
            pl.col("product").cast(pl.Int32),
            pl.col(schema.CART_POSITION).cast(pl.Int16),
        )
        .sort("order", schema.CART_POSITION, "product")  # by product too: no source forbids equal cart positions
        .collect()
    )
