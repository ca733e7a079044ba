"""Small purchase histories, written by hand or drawn at random, and plain-Python views of them."""

from collections import OrderedDict

import numpy as np
import pytest

from lit_rec.purchases import UNKNOWN, PurchaseHistories, Queries, starts


def histories_of(*shoppers):
    """Each shopper a list of orders, oldest first, each a list of products in cart order."""
    lines = [
        (product, len(orders) - number, place)
        for orders in shoppers
        for number, order in enumerate(orders)
        for place, product in enumerate(order, 1)
    ]
    product, orders_ago, cart_position = np.array(lines, dtype=np.int32).reshape(-1, 3).T
    n_lines = np.array([sum(map(len, orders)) for orders in shoppers], dtype=np.int64)
    unknown_lines = np.full(len(lines), UNKNOWN, dtype=np.int8)
    unknown = np.full(len(shoppers), UNKNOWN, dtype=np.int8)
    return PurchaseHistories(
        line_start=starts(n_lines),
        product=product.copy(),
        orders_ago=orders_ago.copy(),
        days_ago=orders_ago.astype(np.float32) * 7,
        cart_position=cart_position.copy(),
        line_dow=unknown_lines,
        line_hour=unknown_lines,
        days_since_prior=np.full(len(shoppers), 7, dtype=np.float32),
        dow=unknown,
        hour=unknown,
    )


def queries_of(*shoppers):
    return Queries(
        ["(no prior orders)." if not orders else "[w0h0] A." for orders in shoppers], histories_of(*shoppers)
    )


def ranking(scores):
    """Products of each row, best first; of equal scores the first in the catalogue."""
    return np.argsort(-scores, axis=1, kind="stable").tolist()


def random_shoppers(n_shoppers, n_products, seed, longest=9):
    """Popular products in front, one to ``longest`` orders, some products twice in an order."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, n_products + 1)
    draw = lambda n: rng.choice(n_products, n, p=weights / weights.sum()).tolist()  # noqa: E731
    return [[draw(rng.integers(1, 7)) for _ in range(rng.integers(1, longest + 1))] for _ in range(n_shoppers)]


def cornac_baskets(shoppers, n_products):
    """cornac's form of the same: users and products by position, a product once an order."""
    from cornac.data import BasketDataset  # seconds to import

    lines = [
        (user, f"{user}.{number}", product, number)
        for user, orders in enumerate(shoppers)
        for number, order in enumerate(orders)
        for product in dict.fromkeys(order)
    ]
    positions = OrderedDict((product, product) for product in range(n_products))
    return BasketDataset.build(lines, fmt="UBIT", global_iid_map=positions)


@pytest.fixture
def build():
    """The functions above, for test modules, which cannot import a conftest by name."""

    class Build:
        histories = staticmethod(histories_of)
        queries = staticmethod(queries_of)
        ranking = staticmethod(ranking)
        shoppers = staticmethod(random_shoppers)
        cornac_baskets = staticmethod(cornac_baskets)

        @staticmethod
        def fitted(baseline, n_products, *shoppers):
            return baseline.fit(histories_of(*shoppers), [""] * n_products)

    return Build
