"""The three tables that every source yields, validated, before anything else happens."""

from dataclasses import dataclass
from typing import Self

import polars as pl

from lit_rec.core import schema

ORDERS_SCHEMA = pl.Schema(
    {
        schema.USER_ID: pl.Int64,
        schema.ORDER_ID: pl.Int64,
        schema.ORDER_NUMBER: pl.Int32,
        schema.ORDER_DOW: pl.Int8,
        schema.ORDER_HOUR: pl.Int8,
        schema.DAYS_SINCE_PRIOR: pl.Float32,  # null for a user's first order
        schema.EVAL_SET: pl.String,  # schema.PRIOR, TARGET or UNLABELLED
    }
)
ORDER_LINES_SCHEMA = pl.Schema({schema.ORDER_ID: pl.Int64, schema.PRODUCT_ID: pl.Int64, schema.CART_POSITION: pl.Int32})
PRODUCTS_SCHEMA = pl.Schema(
    {schema.PRODUCT_ID: pl.Int64, schema.PRODUCT_NAME: pl.String, schema.AISLE: pl.String, schema.DEPARTMENT: pl.String}
)


@dataclass(frozen=True)
class Tables:
    """What a source yields.

    Every id is unique where it is a key and known where it is a reference; ``order_number`` counts a
    user's orders from 1 in time; an order's lines are those of the past (``prior``) and of the targets
    (``train``) alike.

    Args:
        orders: one row an order, columns and types of :data:`ORDERS_SCHEMA`.
        order_lines: one row a product of an order, columns and types of :data:`ORDER_LINES_SCHEMA`.
        products: the catalogue in its own order, columns and types of :data:`PRODUCTS_SCHEMA`.
    """

    orders: pl.DataFrame
    order_lines: pl.DataFrame
    products: pl.DataFrame

    @classmethod
    def of(cls, orders: pl.DataFrame, order_lines: pl.DataFrame, products: pl.DataFrame) -> Self:
        """The declared columns of each frame, in their types; further columns are left out."""
        frames = (orders, ORDERS_SCHEMA), (order_lines, ORDER_LINES_SCHEMA), (products, PRODUCTS_SCHEMA)
        return cls(*(frame.select(columns.names()).cast(columns) for frame, columns in frames))
