"""By hand, and against cornac's TIFU-KNN."""

import numpy as np
import pytest

from lit_rec.baselines import tifu_knn as module
from lit_rec.baselines.tifu_knn import TifuKnn, order_weights


def weights_of(n_orders, n_groups, within_decay=0.5, group_decay=0.1):
    """Oldest order first."""
    ago = np.arange(n_orders, 0, -1, dtype=np.int32)
    return order_weights(ago, np.full(n_orders, n_orders), n_groups, within_decay, group_decay).tolist()


@pytest.mark.parametrize(
    ("n_orders", "n_groups", "expected"),
    [
        # groups (0 1) (2 3), two of them, of two orders each
        pytest.param(4, 2, [0.125 * 0.1 / 4, 0.25 * 0.1 / 4, 0.5 / 4, 1 / 4], id="equal groups"),
        # groups (0) (1 2)
        pytest.param(3, 2, [0.25 * 0.1 / 2, 0.5 / 4, 1 / 4], id="the newest group is the larger"),
        # each order a group, the newest in group 1 of 0 to 2
        pytest.param(2, 3, [0.5 * 0.01 / 2, 0.1 / 2], id="fewer orders than groups"),
        pytest.param(1, 1, [1], id="one order"),
        pytest.param(3, 1, [0.25 / 3, 0.5 / 3, 1 / 3], id="one group"),
    ],
)
def test_order_weights_by_hand(n_orders, n_groups, expected):
    assert weights_of(n_orders, n_groups) == pytest.approx(expected)


def test_scores_by_hand(build):
    """One group and no decay: vectors are shares of orders. The nearer of two neighbours counts."""
    method = TifuKnn(n_neighbors=1, n_groups=1, within_decay=1, group_decay=1, alpha=0.75)
    fitted = build.fitted(method, 5, [[0, 2], [2]], [[3, 4]])
    found = fitted.scores(build.queries([[0], [1]]))[0]  # .5 of 0 and 1: squared distances 1.25 and 2.5
    assert found[:3] == pytest.approx([0.75 * 0.5 + 0.25 * 0.5, 0.75 * 0.5, 0.25 * 1])
    assert found[3] == found[4] < 0


@pytest.mark.parametrize(
    "settings",
    [
        {"n_neighbors": 5, "n_groups": 3, "within_decay": 0.9, "group_decay": 0.7, "alpha": 0.7},
        {"n_neighbors": 2, "n_groups": 7, "within_decay": 0.8, "group_decay": 0.6, "alpha": 0.2},
    ],
    ids=["three groups", "seven groups"],
)
def test_equals_cornac(build, settings):
    """Vectors and neighbours are compared, and the score as the paper has it made from cornac's.

    cornac's own score adds the mean of *all cells* of the neighbours' vectors to every product (its ``np.mean`` lacks
    an axis), so it ranks by the user's own vector alone. That number is compared too. Its vectors are in single
    precision.
    """
    from cornac.models import TIFUKNN

    training, asking = build.users(40, 30, seed=8, longest=20), build.users(10, 30, seed=9, longest=20)
    theirs = TIFUKNN(**{f"{name}_rate" if name.endswith("decay") else name: value for name, value in settings.items()})
    theirs.fit(build.cornac_baskets([[*orders, [0]] for orders in training], 30))  # it leaves the last basket out
    ours = build.fitted(TifuKnn(**settings), 30, *training)
    np.testing.assert_allclose(ours._vectors.toarray(), theirs.user_vectors, atol=1e-7)
    scores = ours.scores(build.queries(*asking))
    alpha = settings["alpha"]
    for row, orders in enumerate(asking):
        own = theirs._compute_user_vector(orders)
        neighbours = theirs.user_vectors[theirs.tree.query(own, k=settings["n_neighbors"])[1]]
        expected = alpha * own + (1 - alpha) * neighbours.mean(axis=0)
        np.testing.assert_allclose(np.maximum(scores[row], 0), expected, atol=1e-6)
        assert (scores[row][expected == 0] < 0).all()
        added = (scores[row].clip(0) - alpha * own).mean()
        np.testing.assert_allclose(theirs.score(0, orders), alpha * own + added, atol=1e-6)


def test_any_number_of_queries_at_a_time(build, monkeypatch):
    training, queries = build.users(40, 30, seed=8), build.queries(*build.users(9, 30, seed=9), [])
    fitted = build.fitted(TifuKnn(n_neighbors=5), 30, *training)
    expected = fitted.scores(queries)
    monkeypatch.setattr(module, "rows_at_a_time", lambda _: 4)
    np.testing.assert_allclose(fitted.scores(queries), expected, rtol=1e-12)


def test_more_neighbours_than_training_users_are_all_of_them(build):
    training, queries = build.users(6, 30, seed=8), build.queries(*build.users(9, 30, seed=9))
    six, many = (build.fitted(TifuKnn(n_neighbors=k), 30, *training).scores(queries) for k in (6, 900))
    np.testing.assert_array_equal(six, many)
