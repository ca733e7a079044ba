"""Against counting all pairs of a dense matrix."""

import numpy as np
import pytest

from lit_rec.ranking import co_occurrence as module
from lit_rec.ranking.co_occurrence import co_occurrence, similarity
from lit_rec.ranking.order_matrix import OrderMatrix


@pytest.fixture(params=[1, 7, 1000], ids=lambda rows: f"{rows} rows at a time")
def rows_at_a_time(request, monkeypatch):
    monkeypatch.setattr(module, "rows_at_a_time", lambda _: request.param)


@pytest.fixture
def incidence(build):
    """Products 48 and 49 are never bought."""
    return OrderMatrix.of(build.histories(*build.users(30, 48, seed=3)), 50).incidence


def cut(dense, neighbours):
    kept = np.zeros_like(dense)
    best = np.argsort(-dense, axis=1, kind="stable")[:, :neighbours]
    np.put_along_axis(kept, best, np.take_along_axis(dense, best, axis=1), axis=1)
    return kept


def test_hand_computed(build):
    orders = OrderMatrix.of(build.histories([[0, 1, 1], [0, 2]], [[0, 1]]), 4)
    counts = co_occurrence(orders.incidence)
    assert counts.toarray().tolist() == [[3, 2, 1, 0], [2, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert counts.dtype == np.int32
    assert similarity(orders.incidence).toarray()[0, :3] == pytest.approx([1, 2 / 6**0.5, 1 / 3**0.5])
    assert similarity(orders.incidence, asymmetry=1).toarray()[0] == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert similarity(orders.incidence, asymmetry=0).toarray()[0] == pytest.approx([1, 1, 1, 0])


@pytest.mark.usefixtures("rows_at_a_time")
@pytest.mark.parametrize("neighbours", [None, 1, 5, 49, 50, 80])
def test_counts_equal_all_pairs(incidence, neighbours):
    dense = incidence.toarray().astype(int)
    expected = cut(dense.T @ dense, neighbours)
    found = co_occurrence(incidence, neighbours)
    np.testing.assert_array_equal(found.toarray(), expected)
    assert found.nnz == np.count_nonzero(expected)


@pytest.mark.usefixtures("rows_at_a_time")
@pytest.mark.parametrize("asymmetry", [0.5, 1.0, 0.3])
def test_similarities_equal_all_pairs(incidence, asymmetry):
    dense = incidence.toarray().astype(float)
    counts, popularity = dense.T @ dense, np.maximum(dense.sum(axis=0), 1)
    expected = counts / (popularity[:, None] ** asymmetry * popularity ** (1 - asymmetry))
    found = similarity(incidence, asymmetry=asymmetry)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-6)
    np.testing.assert_array_equal(
        similarity(incidence, 5, asymmetry).toarray(), cut(found.toarray(), 5), "the cut is of the rounded values"
    )


def test_no_orders(build):
    assert co_occurrence(OrderMatrix.of(build.histories([]), 3).incidence, 2).toarray().tolist() == [[0] * 3] * 3
