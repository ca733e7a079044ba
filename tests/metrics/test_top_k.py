"""The best k against a stable sort of the whole row."""

from math import inf, nan

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_rec.core.errors import SettingError, ShapeError
from lit_rec.metrics.top_k import top_k, top_k_indices


def assert_like_stable_sort(scores, k):
    values, indices = top_k(scores, k)
    expected_values, expected_indices = scores.sort(dim=1, descending=True, stable=True)
    assert indices.tolist() == expected_indices[:, :k].tolist()
    assert values.tolist() == expected_values[:, :k].tolist()
    assert values.dtype == scores.dtype
    assert indices.dtype == torch.int64


@pytest.mark.parametrize(
    ("scores", "k", "expected"),
    [
        pytest.param([0.1, 0.9, 0.5], 2, [1, 2], id="no ties"),
        pytest.param([0.5, 0.5, 0.9], 3, [2, 0, 1], id="a tie inside"),
        pytest.param([0.5, 0.9, 0.5, 0.5], 2, [1, 0], id="a tie across the cut"),
        pytest.param([0.5, 0.5, 0.9, 0.9, 0.5], 3, [2, 3, 0], id="a tie inside and one across the cut"),
        pytest.param([7.0] * 5, 3, [0, 1, 2], id="all equal"),
        pytest.param([-3.0, -1.0, -1.0], 1, [1], id="negative scores"),
        pytest.param([-inf, 1.0, -inf, inf], 3, [3, 1, 0], id="infinite scores"),
        pytest.param([-0.0, 0.0, -1.0], 2, [0, 1], id="minus zero equals zero"),
        pytest.param([1.0], 1, [0], id="one product"),
    ],
)
def test_hand_computed(scores, k, expected):
    assert top_k(torch.tensor([scores]), k)[1].tolist() == [expected]


@given(st.data())
def test_equals_stable_sort(data):
    n = data.draw(st.integers(1, 12))
    row = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), min_size=n, max_size=n)
    scores = torch.tensor(data.draw(st.lists(row, min_size=1, max_size=5)))
    assert_like_stable_sort(scores, data.draw(st.integers(1, n)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n_distinct", [3, 300, 10**9], ids=["many ties", "some ties", "hardly a tie"])
def test_equals_stable_sort_on_a_large_catalogue(dtype, n_distinct):
    rng = torch.Generator().manual_seed(0)
    scores = (torch.randint(-n_distinct, n_distinct, (16, 5_000), generator=rng) / n_distinct).to(dtype)
    for k in (1, 100, 4_999, 5_000):
        assert_like_stable_sort(scores, k)


def test_input_is_left_alone_and_may_be_a_view():
    scores = torch.tensor([[1.0, 1.0, 0.0], [1.0, 2.0, 0.0]])
    kept = scores.clone()
    assert top_k(scores.T, 1)[1].tolist() == [[0], [1], [0]]
    assert scores.equal(kept)


def test_no_queries():
    values, indices = top_k(torch.empty(0, 4), 2)
    assert values.shape == indices.shape == (0, 2)


def test_wrong_arguments_are_named():
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        top_k(torch.zeros(3), 1)
    for k in (0, 4):
        with pytest.raises(SettingError, match=f"N = 3: got {k}"):
            top_k(torch.zeros(2, 3), k)


@pytest.mark.parametrize("place", [0, 5, 9])
def test_nan_has_no_rank(place):
    scores = torch.zeros(2, 10)
    scores[1, place] = nan
    with pytest.raises(SettingError, match="NaN"):
        top_k(scores, 2)


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=12), st.data())
def test_of_one_row_without_torch(scores, data):
    k = data.draw(st.integers(1, len(scores)))
    ranked = top_k_indices(np.array(scores, np.float32), k).tolist()
    assert ranked == sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]
    assert ranked == top_k(torch.tensor([scores], dtype=torch.float32), k)[1][0].tolist()


def test_of_one_row_with_many_products_and_ties():
    scores = np.random.default_rng(0).integers(-2, 3, size=5_000).astype(np.float32)
    for k in (0, 1, 10, 4_999, 5_000):
        np.testing.assert_array_equal(top_k_indices(scores, k), np.argsort(-scores, kind="stable")[:k])
