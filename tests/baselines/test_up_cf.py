"""By hand, and against cornac's UP-CF."""

import sys
from types import ModuleType

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from lit_rec.baselines import up_cf as module
from lit_rec.baselines.up_cf import UpCf


def test_scores_by_hand(build):
    """User: 0 in both of the last two orders, 1 in one; neighbours share one of two and one of three products."""
    method = UpCf(recency=2, asymmetry=0.5, locality=2, n_neighbors=2)
    fitted = build.fitted(method, 6, [[3], [0], [0, 3]], [[1, 4, 5]], [[5]])
    found = fitted.scores(build.queries([[2], [0, 1], [0]]))[0]
    one, other = (1 / 6**0.5) ** 2, (1 / 9**0.5) ** 2  # similarities, squared
    assert found[:2] == pytest.approx([1 + one, 0.5 + other])
    assert found[3:] == pytest.approx([one * 0.5, other, other])
    assert found[2] < 0  # three orders ago


def test_asymmetry_by_hand(build):
    """A user of two products and one of eight, two in common: 2 / (2^a 8^(1 - a))."""
    training = [[[0, 1, 2, 3, 4, 5, 6, 7]]]
    for asymmetry, similarity in ((0.0, 0.25), (1.0, 1.0), (0.75, 2 / (2**0.75 * 8**0.25))):
        fitted = build.fitted(UpCf(asymmetry=asymmetry, locality=1), 8, *training)
        assert fitted.scores(build.queries([[0, 1]]))[0, 7] == pytest.approx(similarity)


def test_only_the_most_similar_count(build):
    fitted = build.fitted(UpCf(n_neighbors=1), 5, [[0, 2, 3]], [[0, 4]])
    found = fitted.scores(build.queries([[0]]))[0]
    assert found[4] > 0 > found[2]


@pytest.fixture
def similaripy(monkeypatch):
    """cornac takes two functions from this package but does not install it: both from its documentation, dense.

    similaripy 0.7 gives the same similarities to 1e-7; its dot_product crashes the process when cornac 3.0 calls it.
    """

    def asymmetric_cosine(matrix, alpha, target_rows, verbose):
        dense = matrix.toarray().astype(float)
        norms = (dense**2).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = dense[target_rows] @ dense.T / (norms[target_rows][:, None] ** alpha * norms ** (1 - alpha))
        return csr_matrix(np.nan_to_num(found))

    fake = ModuleType("similaripy")
    fake.asymmetric_cosine = asymmetric_cosine
    fake.dot_product = lambda one, other, verbose: csr_matrix(one.toarray().reshape(1, -1) @ other.toarray())
    monkeypatch.setitem(sys.modules, "similaripy", fake)


@pytest.mark.usefixtures("similaripy")
@pytest.mark.parametrize(
    "settings",
    [
        {"recency": 10, "asymmetry": 0.75, "locality": 10},
        {"recency": 2, "asymmetry": 0.25, "locality": 1},
        {"recency": 0, "asymmetry": 0.5, "locality": 3},
    ],
    ids=str,
)
def test_equals_cornac(build, settings):
    """All training users are neighbours here; cornac has no setting for fewer.

    The paper's similarity is of sets of products. cornac's matrix counts a product once for each order that holds it,
    which is mended before the comparison. Its shares are in single precision.
    """
    from cornac.models import UPCF

    training, asking = build.users(40, 30, seed=8, longest=20), build.users(10, 30, seed=9, longest=20)
    theirs = UPCF(**settings)
    theirs.fit(build.cornac_baskets(training, 30))
    theirs.user_item_matrix.sum_duplicates()
    theirs.user_item_matrix.data[:] = 1
    scores = build.fitted(UpCf(**settings, n_neighbors=40), 30, *training).scores(build.queries(*asking))
    for row, orders in enumerate(asking):
        expected = theirs.score(0, orders)
        np.testing.assert_allclose(np.maximum(scores[row], 0), expected, rtol=1e-5, atol=1e-12)
        assert (scores[row][expected == 0] < 0).all()


def test_any_number_of_queries_at_a_time(build, monkeypatch):
    training, queries = build.users(40, 30, seed=8), build.queries(*build.users(9, 30, seed=9), [])
    fitted = build.fitted(UpCf(n_neighbors=5), 30, *training)
    expected = fitted.scores(queries)
    monkeypatch.setattr(module, "rows_at_a_time", lambda _: 4)
    np.testing.assert_allclose(fitted.scores(queries), expected, rtol=1e-12)
