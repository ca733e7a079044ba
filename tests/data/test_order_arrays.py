"""Tables as flat arrays: users, their orders in time, the orders' products in cart order."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from lit_rec.core import schema
from lit_rec.data.order_arrays import OrderArrays
from lit_rec.data.orders import Order, UserHistory
from lit_rec.data.tables import Tables


@pytest.fixture
def tables(make_tables, bought):
    """User 9 bought before user 4 in the file; ids of products and orders tell nothing of place or time."""
    users = {
        9: [bought("prior", None, 1, 8, [30, 10]), bought("train", 3.0, 2, 9, [20])],
        4: [
            bought("prior", None, 3, 10, [20, 30, 10]),
            bought("prior", 7.0, 4, 11, []),
            bought("test", 30.0, 5, 12, []),
        ],
    }
    return make_tables(users, product_ids=[30, 20, 10])


def test_users_orders_and_lines_are_flat_and_sorted(tables):
    histories = OrderArrays.from_tables(tables)
    assert histories.user_ids.tolist() == [4, 9]
    assert histories.order_start.tolist() == [0, 3, 5]
    assert histories.order_user.tolist() == [0, 0, 0, 1, 1]
    assert histories.order_ids.tolist() == [498, 497, 496, 998, 997]
    assert histories.order_number.tolist() == [1, 2, 3, 1, 2]
    assert histories.order_dow.tolist() == [3, 4, 5, 1, 2]
    assert histories.order_hour.tolist() == [10, 11, 12, 8, 9]
    np.testing.assert_array_equal(histories.days_since_prior, [np.nan, 7, 30, np.nan, 3])
    assert histories.is_target.tolist() == [False, False, False, False, True]
    assert histories.line_start.tolist() == [0, 3, 3, 3, 5, 6]
    assert histories.lines_per_order.tolist() == [3, 0, 0, 2, 1]
    assert histories.line_product.tolist() == [1, 0, 2, 0, 2, 1]  # places in the catalogue 30, 20, 10
    assert histories.line_cart_position.tolist() == [1, 2, 3, 1, 2, 1]


def test_the_order_of_rows_does_not_matter(make_random_tables, shuffled):
    tables = make_random_tables()
    expected = OrderArrays.from_tables(tables)
    for seed in range(3):
        found = OrderArrays.from_tables(shuffled(tables, seed))
        for field in dataclasses.fields(OrderArrays):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name), field.name)


def test_equal_cart_positions_have_one_order_too(make_random_tables, shuffled):
    """No source forbids them, and a folder's content hashes must not depend on luck."""
    tables = make_random_tables(n_users=200)
    at_one = tables.order_lines.with_columns(pl.lit(1, pl.Int32).alias(schema.CART_POSITION))
    tables = Tables(tables.orders, at_one, tables.products)
    one, other = (OrderArrays.from_tables(shuffled(tables, seed)) for seed in (1, 2))
    np.testing.assert_array_equal(one.line_product, other.line_product)


def test_a_history_holds_strictly_earlier_orders_of_the_same_user_and_the_moment_of_this_one(tables):
    arrays = OrderArrays.from_tables(tables)
    found = [arrays.history_before(order, ["thirty", "twenty", "ten"], 2, 2) for order in range(5)]
    first, second, third = (
        Order(["twenty", "thirty"], None, 3, 10),
        Order([], 7.0, 4, 11),
        Order(["thirty", "ten"], None, 1, 8),
    )
    assert found == [
        UserHistory([], None, 3, 10),
        UserHistory([first], 7.0, 4, 11),
        UserHistory([first, second], 30.0, 5, 12),
        UserHistory([], None, 1, 8),
        UserHistory([third], 3.0, 2, 9),
    ]
    assert arrays.history_before(2, ["thirty", "twenty", "ten"], 1, 2).orders == [second]
