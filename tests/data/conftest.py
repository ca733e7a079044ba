"""Tables written down by hand or drawn at random, and a tokenizer that needs no model."""

import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from lit_rec.core import schema
from lit_rec.core.schema import PRIOR, TARGET, UNLABELLED
from lit_rec.data.tables import ORDER_LINES_SCHEMA, ORDERS_SCHEMA, PRODUCTS_SCHEMA, Tables


class Bought(NamedTuple):
    """An order: its eval_set, days since the order before, weekday, hour, product ids in cart order."""

    eval_set: str
    gap: float | None
    dow: int
    hour: int
    products: Sequence[int]


def order_id(user: int, number: int) -> int:
    """Later orders have smaller ids: nothing may take ids for time."""
    return user * 100 + 99 - number


def tables_of(users: dict[int, list[Bought]], product_ids: Sequence[int] = range(1, 31)) -> Tables:
    """Tables of these users; products are called after their ids."""
    numbered = [(user, number, bought) for user, orders in users.items() for number, bought in enumerate(orders, 1)]
    orders = [
        (user, order_id(user, number), number, bought.dow, bought.hour, bought.gap, bought.eval_set)
        for user, number, bought in numbered
    ]
    lines = [
        (order_id(user, number), product, cart)
        for user, number, bought in numbered
        for cart, product in enumerate(bought.products, 1)
    ]
    products = [(product, f"Product {product}", f"aisle {product % 5}", "food") for product in product_ids]
    return Tables(
        pl.DataFrame(orders, schema=ORDERS_SCHEMA, orient="row"),
        pl.DataFrame(lines, schema=ORDER_LINES_SCHEMA, orient="row"),
        pl.DataFrame(products, schema=PRODUCTS_SCHEMA, orient="row"),
    )


def random_tables(n_users: int = 40, n_products: int = 30, seed: int = 0) -> Tables:
    """Users of 1 to 9 orders, 1 to 6 products each; every third user's last order is unlabelled."""
    rng = np.random.default_rng(seed)
    users = {}
    for user in range(1, n_users + 1):
        n_orders = int(rng.integers(1, 10))
        last = UNLABELLED if user % 3 == 0 else TARGET
        users[user] = [
            Bought(
                last if number == n_orders else PRIOR,
                float(rng.integers(0, 31)) if number > 1 else None,
                int(rng.integers(7)),
                int(rng.integers(24)),
                []
                if number == n_orders and last == UNLABELLED
                else (1 + rng.choice(n_products, rng.integers(1, 7), replace=False)).tolist(),
            )
            for number in range(1, n_orders + 1)
        ]
    return tables_of(users, range(1, n_products + 1))


def with_rows_shuffled(tables: Tables, seed: int) -> Tables:
    """The same orders and lines in another order of rows."""
    return Tables(
        tables.orders.sample(fraction=1, shuffle=True, seed=seed),
        tables.order_lines.sample(fraction=1, shuffle=True, seed=seed),
        tables.products,
    )


def with_target_products_replaced(tables: Tables) -> Tables:
    """Every labelled last order holds other products, in other places and of another number."""
    targets = tables.orders.filter(pl.col(schema.EVAL_SET) == TARGET)[schema.ORDER_ID]
    of_target = tables.order_lines[schema.ORDER_ID].is_in(targets.implode())
    first = tables.order_lines.filter(of_target & (tables.order_lines[schema.CART_POSITION] == 1))
    other = first.with_columns((pl.col(schema.PRODUCT_ID) % 30 + 1).cast(pl.Int64))
    return Tables(tables.orders, pl.concat([tables.order_lines.filter(~of_target), other]), tables.products)


class WordTokenizer:
    """One id a word, between 1 (start) and 2 (end)."""

    pad_token_id = 0

    def __init__(self, fingerprint: str = "words") -> None:
        self.fingerprint = fingerprint
        self.texts_seen = 0

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        self.texts_seen += len(texts)
        return [[1, *(3 + zlib.crc32(word.encode()) % 10_000 for word in text.split()), 2] for text in texts]


@pytest.fixture(scope="session")
def bought() -> type[Bought]:
    return Bought


@pytest.fixture(scope="session")
def make_tables() -> Callable[..., Tables]:
    return tables_of


@pytest.fixture(scope="session")
def make_random_tables() -> Callable[..., Tables]:
    return random_tables


@pytest.fixture(scope="session")
def shuffled() -> Callable[[Tables, int], Tables]:
    return with_rows_shuffled


@pytest.fixture(scope="session")
def replace_target_products() -> Callable[[Tables], Tables]:
    return with_target_products_replaced


@pytest.fixture
def word_tokenizer() -> type[WordTokenizer]:
    return WordTokenizer
