"""Against the seed project's counting in loops, and by hand."""

from collections import defaultdict

import numpy as np
import pytest

from lit_rec.baselines.co_visitation import CoVisitation
from lit_rec.baselines.item_item import ItemItem, ItemItemSeed

TRAINING = [[[0, 1], [0, 1, 2]], [[0, 2], [3]], [[1]]]
# counts: 00 3, 11 3, 22 2, 33 1; 01 2, 02 2, 12 1


def test_hand_computed(build):
    queries = build.queries([[1], [1, 3]], [[4]])
    found = build.fitted(ItemItem(), 5, *TRAINING).scores(queries)
    assert found[0, :4].tolist() == [2, 3, 1, 1]
    assert found[0, 4] < 0
    assert build.ranking(found)[1] == [0, 1, 2, 3, 4]  # 4 is new to the training users: popularity
    reference = build.fitted(ItemItemSeed(), 5, *TRAINING).scores(queries)
    assert reference[0, [0, 2]].tolist() == [2, 1]
    assert reference[0, [1, 3]].tolist() == [-np.inf] * 2
    assert build.ranking(reference)[0] == [0, 2, 4, 1, 3]
    assert build.ranking(reference)[1] == [0, 1, 2, 3, 4]


def seed_scores(training, history, n_products):
    """collaborative_filtering.py of the seed project, as a specification."""
    co_occur = defaultdict(int)
    for order in (set(order) for orders in training for order in orders):
        for one in order:
            for other in order:
                co_occur[one, other] += 1
    return [sum(co_occur[candidate, bought] for bought in history) for candidate in range(n_products)]


def test_equals_the_loops_of_the_seed(build):
    training, asking = build.users(30, 40, seed=5), build.users(10, 40, seed=6)
    queries = build.queries(*asking)
    honest = build.fitted(ItemItem(), 40, *training).scores(queries)
    excluding = build.fitted(ItemItemSeed(), 40, *training).scores(queries)
    for row, orders in enumerate(asking):
        history = {product for order in orders for product in order}
        expected = np.array(seed_scores(training, history, 40))
        np.testing.assert_array_equal(np.maximum(honest[row], 0), expected)
        assert (honest[row][expected == 0] < 0).all()
        unseen = [product for product in range(40) if product not in history]
        np.testing.assert_array_equal(excluding[row][unseen], honest[row][unseen])
        assert np.isneginf(excluding[row][list(history)]).all()


def test_sums_that_single_precision_would_round(build):
    """2^24 + 1 is the first whole number that float32 lacks."""
    fitted = build.fitted(ItemItem(), 3, [[0, 1, 2]])
    fitted._counts.data[:] = [2**24, 1, 1, 1, 1, 1, 1, 1, 1]
    assert fitted.scores(build.queries([[0, 1]]))[0, 0] == 2**24 + 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # product 1 weighs 1, product 3 weighs 1; cosines: 01 2/3, 12 1/sqrt(6)
        pytest.param({}, [2 / 3, 1, 6**-0.5, 1], id="cosine"),
        # product 1 weighs 1 + .5, product 3 weighs 1
        pytest.param({"decay": 0.5}, [1, 1.5, 1.5 * 6**-0.5, 1], id="decayed"),
        pytest.param({"asymmetry": 1.0}, [2 / 3, 1, 1 / 3, 1], id="share of the orders of what was bought"),
        pytest.param({"neighbours": 2}, [2 / 3, 1, None, 1], id="the two most similar"),
        pytest.param({"neighbours": 1}, [None, 1, None, 1], id="itself alone"),
    ],
)
def test_co_visitation_hand_computed(build, settings, expected):
    scores = build.fitted(CoVisitation(**settings), 5, *TRAINING).scores(build.queries([[1], [1, 3]]))[0]
    for found, value in zip(scores, [*expected, None], strict=True):
        assert found < 0 if value is None else found == pytest.approx(value)
