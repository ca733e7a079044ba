"""Queries made by hand, and methods that score as they are told."""

from dataclasses import dataclass

import numpy as np
import pytest

from lit_rec.data.histories import UNKNOWN, PurchaseHistories, Queries
from lit_rec.data.ragged import starts
from lit_rec.evaluation.held_out import HeldOut
from lit_rec.evaluation.per_query import PerQuery
from lit_rec.evaluation.report import make_report


def histories_of(users):
    """Each user is a list of orders, oldest first; an order is a list of product indices."""
    lines = [
        (product, len(orders) - number, place)
        for orders in users
        for number, order in enumerate(orders)
        for place, product in enumerate(order, 1)
    ]
    product, orders_ago, place = np.array(lines, dtype=np.int32).reshape(-1, 3).T
    unknown, n = np.full(len(lines), UNKNOWN, np.int8), len(users)
    return PurchaseHistories(
        line_start=starts(np.array([sum(map(len, orders)) for orders in users], dtype=np.int64)),
        product=product.copy(),
        orders_ago=orders_ago.copy(),
        days_ago=7 * orders_ago.astype(np.float32),
        cart_position=place.copy(),
        line_dow=unknown,
        line_hour=unknown,
        days_since_prior=np.full(n, 7, np.float32),
        dow=np.full(n, UNKNOWN, np.int8),
        hour=np.full(n, UNKNOWN, np.int8),
    )


def held_out_of(users, relevant, n_products, first_id=100):
    """Queries whose products have the ids 1,000, 1,001, ..."""
    return HeldOut(
        [str(first_id + row) for row in range(len(users))],
        Queries([f"[+7d w1h9] user {row}." for row in range(len(users))], histories_of(users)),
        [np.array(products, dtype=np.int64) for products in relevant],
        np.arange(1_000, 1_000 + n_products),
    )


def results_of(method="mine", n_queries=4, seed=0, first_id=0, **given):
    """Made-up per-query results; ``given`` replaces parts."""
    rng = np.random.default_rng(seed)
    kinds = np.random.default_rng(first_id)  # of the queries: alike for all methods
    whole = ("ndcg@10", "recall@10", "accuracy@10", "repeat_recall@10")
    explore = ("explore_recall@10", "explore_filtered_recall@100")
    names = (*whole, *explore, "recall@1", "recall@100")
    values = {name: rng.random(n_queries).astype(np.float32) for name in names}
    repeat_share = kinds.choice([0, 0.5, 0.75, 1], n_queries).astype(np.float32)
    values["repeat_recall@10"][repeat_share == 0] = np.nan
    for name in explore:
        values[name][repeat_share == 1] = np.nan
    parts = {
        "query_ids": [str(first_id + row) for row in range(n_queries)],
        "values": values,
        "shown": rng.integers(0, 500, (n_queries, 10)),
        "n_products": 500,
        "n_orders": kinds.integers(1, 30, n_queries),
        "basket_size": kinds.integers(1, 30, n_queries),
        "repeat_share": repeat_share,
        "score_seconds": 0.5,
        "fit_seconds": 2.0,
        "peak_gb": 0.25,
        "settings": [{"beta": 0.8}],
    }
    return PerQuery(method, **(parts | given))


@dataclass
class Told:
    """Scores each query with the row of a matrix that its context names last."""

    matrix: np.ndarray
    name: str = "told"

    def scores(self, queries):
        rows = [int(context.rstrip(".").rpartition(" ")[2]) for context in queries.contexts]
        return self.matrix[rows]


@pytest.fixture
def make():
    """The builders of this file."""

    class Makers:
        histories = staticmethod(histories_of)
        held_out = staticmethod(held_out_of)
        results = staticmethod(results_of)
        told = Told

    return Makers


@pytest.fixture
def results(make):
    """A model and two baselines on the same queries: the model is clearly the best, then strong, then weak."""
    made = [make.results(name, 60, seed=seed) for seed, name in enumerate(("model", "weak", "strong"))]
    for result, shift in zip(made, (0.5, 0, 0.2), strict=True):
        result.values["ndcg@10"][:] = result.values["ndcg@10"] / 2 + np.float32(shift)
    return made


@pytest.fixture
def report(results):
    """What is reported of them."""
    return make_report(results, baselines=["weak", "strong"], n_resamples=300, about={"failed": {}, "split": "test"})
