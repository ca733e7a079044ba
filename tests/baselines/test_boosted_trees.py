"""Trees over history features: better than counting where there is more to learn, safe where there is nothing."""

import numpy as np
import pytest

from lit_rec.baselines.boosted_trees import BoostedTrees


def staples(n_users, seed):
    """Product 0 to 4 are bought in every second order, 5 to 9 once and never again."""
    rng = np.random.default_rng(seed)
    users = []
    for _ in range(n_users):
        regular, once = rng.integers(0, 5, 2), rng.permutation(np.arange(5, 10))
        users.append([[*(regular.tolist() if n % 2 else []), int(once[n % 5])] for n in range(5)])
    return users


def test_what_is_bought_again_is_told_from_what_is_bought_once(build):
    fitted = build.fitted(BoostedTrees(max_iter=30), 12, *staples(200, seed=0))
    users = staples(50, seed=1)
    users = [orders for orders in users if len(orders[-1]) == 1]  # the next order holds the staples
    scores = fitted.scores(build.queries(*users))
    first = scores.argmax(axis=1)
    assert (first < 5).mean() > 0.9


@pytest.mark.parametrize("training", [[], [[[0]]], [[[0], [0]]]], ids=["nobody", "one order", "no negatives"])
def test_with_nothing_to_learn_from_popularity_is_left(build, training):
    scores = build.fitted(BoostedTrees(max_iter=2), 4, *training).scores(build.queries([], [[1]]))
    assert scores.shape == (2, 4)
    assert np.isfinite(scores).all()
    assert scores[0].argmax() == 0
