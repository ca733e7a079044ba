"""Metrics of each query against values computed by hand, filtered rankings, coverage, chunks."""

import math

import numpy as np
import pytest

from lit_rec.core.errors import SettingError, ShapeError
from lit_rec.evaluation.measure import measure
from lit_rec.metrics.headline import RECALL_RANKS

IDEAL_2 = 1 + 1 / math.log2(3)


@pytest.fixture
def two_queries(make):
    """N = 6. The first ranks 0 1 2 3 4 5, has bought 0 and 2, buys 2 and 3. The second has never bought, buys 5."""
    held_out = make.held_out([[[0, 2], [2]], []], [[2, 3], [5]], 6)
    return held_out, make.told(np.array([[6.0, 5, 4, 3, 2, 1], [1, 1, 1, 1, 1, 1]]))


def values_of(result, name):
    return result.values[name].tolist()


def test_metrics_by_hand(two_queries):
    held_out, method = two_queries
    result = measure(method, held_out)
    assert (result.method, result.query_ids) == ("told", ["100", "101"])
    assert values_of(result, "ndcg@10") == pytest.approx(
        [(1 / math.log2(4) + 1 / math.log2(5)) / IDEAL_2, 1 / math.log2(7)]
    )
    assert values_of(result, "recall@3") == [0.5, 0]
    assert values_of(result, "recall@50") == [1, 1]
    assert values_of(result, "mrr@10") == pytest.approx([1 / 3, 1 / 6])
    assert values_of(result, "repeat_recall@10") == pytest.approx([1, math.nan], nan_ok=True)
    assert values_of(result, "repeat_share@10") == pytest.approx([0.2, 0])
    assert result.n_orders.tolist() == [2, 0]
    assert result.basket_size.tolist() == [2, 1]
    assert result.repeat_share.tolist() == [0.5, 0]
    assert {f"recall@{rank}" for rank in RECALL_RANKS} <= set(result.values)
    assert all(values.dtype == np.float32 and values.shape == (2,) for values in result.values.values())


def test_already_bought_products_filtered_out_by_hand(two_queries):
    held_out, method = two_queries
    result = measure(method, held_out)
    # Without 0 and 2 the first ranking is 1 3 4 5: the new product 3 stands at rank 2 instead of 4.
    assert values_of(result, "explore_filtered_ndcg@10") == pytest.approx([1 / math.log2(3), 1 / math.log2(7)])
    assert values_of(result, "explore_ndcg@10") == pytest.approx([1 / math.log2(5), 1 / math.log2(7)])
    assert values_of(result, "explore_filtered_recall@10") == [1, 1]


def test_filtering_shows_what_is_below_the_history(make):
    """150 products bought before stand in front: only their removal shows the new one within the first 10."""
    held_out = make.held_out([[list(range(150))]], [[0, 155]], 200)
    result = measure(make.told(-np.arange(200.0)[np.newaxis]), held_out)
    assert values_of(result, "explore_recall@100") == [0]
    assert values_of(result, "explore_filtered_recall@10") == [1]
    assert values_of(result, "explore_filtered_ndcg@10") == pytest.approx([1 / math.log2(7)])


def test_without_a_new_product_explore_metrics_do_not_apply(make):
    result = measure(make.told(np.zeros((1, 4))), make.held_out([[[1, 2]]], [[1, 2]], 4))
    explore = [name for name in result.values if name.startswith("explore")]
    assert len(explore) == 8
    assert all(np.isnan(result.values[name]).all() for name in explore)
    assert math.isnan(result.summary()["explore_filtered_recall@100"])
    assert result.summary()["n_queries_explore"] == 0


def test_history_ranked_last_in_a_small_catalogue_is_no_hit(make):
    """With K = N the masked history is ranked too, and product 1 was bought before."""
    result = measure(make.told(np.zeros((1, 3))), make.held_out([[[0, 1]]], [[1, 2]], 3))
    assert values_of(result, "explore_filtered_recall@100") == [1]
    assert values_of(result, "explore_filtered_ndcg@10") == [1]


def test_scores_of_the_method_are_left_as_they_were(two_queries):
    held_out, method = two_queries
    before = method.matrix.copy()
    method.matrix.flags.writeable = False
    measure(method, held_out)
    assert (method.matrix == before).all()


def test_float64_scores_keep_their_precision(make):
    """1 and 1 + 1e-12 are equal in float32."""
    result = measure(make.told(np.array([[1, 1 + 1e-12]])), make.held_out([[]], [[1]], 2))
    assert values_of(result, "recall@1") == [1]


def test_equal_scores_go_by_the_catalogue(make):
    result = measure(make.told(np.zeros((1, 30))), make.held_out([[]], [[0]], 30))
    assert result.shown.tolist() == [list(range(1_000, 1_010))]


def test_coverage_counts_distinct_products_of_the_first_ten(make):
    scores = np.zeros((2, 40))
    scores[1, 5:15] = 1
    result = measure(make.told(scores), make.held_out([[], []], [[0], [1]], 40))
    assert result.coverage() == result.summary()["coverage@10"] == 15 / 40


def test_a_catalogue_of_less_than_ten_products(two_queries):
    held_out, method = two_queries
    result = measure(method, held_out)
    assert result.shown[0].tolist() == [1000, 1001, 1002, 1003, 1004, 1005, -1, -1, -1, -1]
    assert result.coverage() == 1


def test_the_summary_has_means_counts_and_cost(two_queries):
    held_out, method = two_queries
    summary = measure(method, held_out).summary()
    assert summary["recall@3"] == 0.25
    assert summary["repeat_recall@10"] == 1, "over the one query that it applies to"
    assert (summary["n_queries"], summary["n_queries_repeat"], summary["n_queries_explore"]) == (2, 1, 2)
    assert summary["ms_per_query"] > 0
    assert math.isnan(summary["fit_seconds"])


def test_no_query_gives_an_empty_result(make):
    result = measure(make.told(np.zeros((0, 20))), make.held_out([], [], 20))
    assert len(result) == 0
    assert result.shown.shape == (0, 10)
    assert math.isnan(result.coverage())


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 8, 9, 10])
def test_chunks_change_nothing(make, chunk_size):
    rng = np.random.default_rng(chunk_size)
    users = [[rng.integers(0, 130, 3).tolist()] for _ in range(9)]
    held_out = make.held_out(users, [np.unique(rng.integers(0, 130, 4)) for _ in range(9)], 130)
    method = make.told(rng.integers(0, 3, (9, 130)).astype(np.float32))
    whole, parts = measure(method, held_out, 64), measure(method, held_out, chunk_size)
    assert (whole.shown == parts.shown).all()
    for name, values in whole.values.items():
        np.testing.assert_array_equal(values, parts.values[name])


@pytest.mark.parametrize(
    ("scores", "error"),
    [
        pytest.param(np.zeros((2, 5)), ShapeError, id="a product is missing"),
        pytest.param(np.full((2, 6), np.nan), SettingError, id="NaN"),
    ],
)
def test_scores_that_rank_nothing(two_queries, make, scores, error):
    with pytest.raises(error):
        measure(make.told(scores), two_queries[0])


def test_chunks_of_nothing(two_queries):
    with pytest.raises(SettingError, match="chunk_size"):
        measure(two_queries[1], two_queries[0], chunk_size=0)
