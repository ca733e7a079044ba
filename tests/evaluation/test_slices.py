"""Kinds of queries: every query is in one slice of each variable, and the means are of those."""

import numpy as np
import pytest

from lit_rec.evaluation.slices import SLICES, sliced

N = 8
VARIABLES = {
    "n_orders": np.array([1, 4, 5, 9, 10, 19, 20, 99]),
    "basket_size": np.array([1, 4, 5, 9, 10, 19, 20, 99]),
    "repeat_share": np.array([0, 0, 0.01, 0.5, 0.51, 0.99, 1, 1], dtype=np.float32),
}
EXPECTED = {
    "history_length": ["fewer than 5", "5-9", "10-19", "20+"],
    "basket_size": ["1-4", "5-9", "10-19", "20+"],
    "repeat_share": ["0", "above 0 to 1/2", "above 1/2, below 1", "1"],
}


@pytest.fixture
def results(make):
    first = {"ndcg@10": np.arange(N, dtype=np.float32)}
    return [
        make.results("first", N, values=first, **VARIABLES),
        make.results("second", N, values={"ndcg@10": 10 * first["ndcg@10"]}, **VARIABLES),
    ]


def test_borders_and_means_by_hand(results):
    found = sliced(results)
    assert {variable: list(slices) for variable, slices in found.items()} == EXPECTED
    for slices in found.values():
        for number, of in enumerate(slices.values()):
            mean = 2 * number + 0.5  # queries 0 and 1, 2 and 3, ...
            assert of == {"n_queries": 2, "ndcg@10": {"first": mean, "second": 10 * mean}}


def test_an_empty_slice_has_no_mean(make):
    found = sliced([make.results("mine", 2, n_orders=np.array([1, 2]))])
    assert found["history_length"]["20+"] == {"n_queries": 0, "ndcg@10": {"mine": None}}


def test_every_query_is_in_one_slice(make):
    result = make.results("mine", 500, seed=3)
    for _, attribute, slices in SLICES.values():
        assert (sum(belongs(getattr(result, attribute)).astype(int) for belongs in slices.values()) == 1).all()
