"""Metrics of one ranking: hand-computed tables, an independent reference, and what must not be passed."""

from math import isnan, log2, nan

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_rec.core.errors import SettingError, ShapeError
from lit_rec.metrics.functional import (
    accuracy,
    average_precision,
    membership,
    ndcg,
    precision,
    recall,
    reciprocal_rank,
)

METRICS = (accuracy, precision, recall, reciprocal_rank, average_precision, ndcg)


def by_hand(metric, hits, n_relevant, k):
    """The definitions of the protocol in plain Python, one query at a time."""
    if n_relevant == 0:
        return nan
    found = [rank for rank, hit in enumerate(hits[:k], 1) if hit]
    return {
        accuracy: lambda: float(bool(found)),
        precision: lambda: len(found) / k,
        recall: lambda: len(found) / n_relevant,
        reciprocal_rank: lambda: 1 / found[0] if found else 0.0,
        average_precision: lambda: sum(n / rank for n, rank in enumerate(found, 1)) / min(k, n_relevant),
        ndcg: lambda: (
            sum(1 / log2(rank + 1) for rank in found) / sum(1 / log2(r + 1) for r in range(1, min(k, n_relevant) + 1))
        ),
    }[metric]()


def one(metric, hits, n_relevant, k):
    return metric(torch.tensor([[mark == "x" for mark in hits]]), torch.tensor([n_relevant]), k).item()


@pytest.mark.parametrize(
    ("metric", "hits", "n_relevant", "k", "expected"),
    [
        pytest.param(accuracy, "..x", 1, 3, 1.0, id="a hit at the last rank that counts"),
        pytest.param(accuracy, "..x", 1, 2, 0.0, id="a hit just beyond the cut"),
        pytest.param(accuracy, "xxx", 3, 3, 1.0, id="several hits count once"),
        pytest.param(precision, "x.x.", 2, 4, 0.5, id="two of four ranks"),
        pytest.param(precision, "x....", 1, 5, 0.2, id="divides by k though only one could be found"),
        pytest.param(recall, "xx", 4, 2, 0.5, id="divides by |R| = 4, not by min(k, |R|) = 2"),
        pytest.param(recall, "x...", 1, 4, 1.0, id="the only one found"),
        pytest.param(recall, "..xx", 2, 2, 0.0, id="both just beyond the cut"),
        pytest.param(reciprocal_rank, "..x.x", 2, 5, 1 / 3, id="only the first hit counts"),
        pytest.param(reciprocal_rank, "..x", 1, 2, 0.0, id="first hit beyond the cut"),
        pytest.param(average_precision, "x..x", 2, 4, (1 / 1 + 2 / 4) / 2, id="precision at each hit"),
        pytest.param(average_precision, "x...", 2, 4, 1 / 2, id="a relevant product not found counts as 0"),
        pytest.param(average_precision, "xx", 5, 2, 1.0, id="divides by min(k, |R|) = 2, not by |R| = 5"),
        pytest.param(average_precision, ".x..", 1, 4, 1 / 2, id="with one relevant product it is 1 / rank"),
        pytest.param(ndcg, "xx.", 2, 3, 1.0, id="ideal order"),
        pytest.param(ndcg, "xxx", 9, 3, 1.0, id="ideal has min(k, |R|) = 3 hits"),
        pytest.param(ndcg, "x..", 3, 3, 1 / (1 + 1 / log2(3) + 1 / 2), id="ideal takes what was not retrieved too"),
        pytest.param(ndcg, ".x.", 1, 3, 1 / log2(3), id="discount of rank 2"),
        pytest.param(ndcg, "...", 2, 3, 0.0, id="nothing found"),
    ],
)
def test_hand_computed(metric, hits, n_relevant, k, expected):
    assert one(metric, hits, n_relevant, k) == pytest.approx(expected, abs=1e-7)
    assert by_hand(metric, [mark == "x" for mark in hits], n_relevant, k) == pytest.approx(expected)


@st.composite
def rankings(draw):
    n_ranks = draw(st.integers(1, 12))
    rows = draw(st.lists(st.lists(st.booleans(), min_size=n_ranks, max_size=n_ranks), min_size=1, max_size=5))
    n_relevant = [sum(row) + draw(st.integers(0, 15)) for row in rows]
    return rows, n_relevant, draw(st.integers(1, n_ranks))


@pytest.mark.parametrize("metric", METRICS)
@given(rankings())
def test_equals_plain_python(metric, case):
    rows, n_relevant, k = case
    values = metric(torch.tensor(rows), torch.tensor(n_relevant), k)
    expected = [by_hand(metric, row, n, k) for row, n in zip(rows, n_relevant, strict=True)]
    assert values.dtype == torch.float32
    assert values.tolist() == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert all(isnan(value) or 0 <= value <= 1 for value in values.tolist())


@pytest.mark.parametrize("metric", METRICS)
def test_no_relevant_product_is_nan_and_no_query_is_empty(metric):
    assert metric(torch.tensor([[False], [True]]), torch.tensor([0, 1]), 1).isnan().tolist() == [True, False]
    assert metric(torch.zeros(0, 3, dtype=torch.bool), torch.zeros(0, dtype=torch.int64), 3).shape == (0,)


@pytest.mark.parametrize("metric", METRICS)
def test_wrong_arguments_are_named(metric):
    hits, n_relevant = torch.ones(2, 3, dtype=torch.bool), torch.ones(2, dtype=torch.int64)
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        metric(hits[0], n_relevant, 1)
    with pytest.raises(ShapeError, match=r"\(2, 3\) and \(1,\)"):
        metric(hits, n_relevant[:1], 1)
    for top_k in (0, -1, 4):
        with pytest.raises(SettingError, match=f"K = 3: got {top_k}"):
            metric(hits, n_relevant, top_k)


@given(st.data())
def test_membership_equals_sets(data):
    n_queries = data.draw(st.integers(1, 4))

    def matrix():
        row = st.lists(st.integers(-1, 6), min_size=(width := data.draw(st.integers(0, 6))), max_size=width)
        return data.draw(st.lists(row, min_size=n_queries, max_size=n_queries))

    ranked, members = matrix(), matrix()
    found = membership(torch.tensor(ranked, dtype=torch.int64), torch.tensor(members, dtype=torch.int64))
    expected = [
        [product in set(row) - {-1} for product in products] for products, row in zip(ranked, members, strict=True)
    ]
    assert found.tolist() == expected


def test_membership_takes_any_memory_layout():
    ranked, members = torch.tensor([[1, 2], [3, 4]]), torch.tensor([[2, 5], [3, 1]])
    assert membership(ranked.T, members.T).equal(membership(ranked.T.contiguous(), members.T.contiguous()))


def test_membership_names_wrong_shapes():
    with pytest.raises(ShapeError, match=r"\(2, 3\) and \(1, 3\)"):
        membership(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(1, 3, dtype=torch.int64))
