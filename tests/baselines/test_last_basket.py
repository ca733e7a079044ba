import dataclasses

import numpy as np
import pytest

from lit_rec.baselines.last_basket import LastBasket
from lit_rec.data.histories import Queries

TRAINING = [[[5], [5], [4]]]


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        pytest.param(
            [[0], [3, 5, 1]], [3, 5, 1, 4, 0, 2], id="cart order, then popularity: older orders are forgotten"
        ),
        pytest.param([[2, 0, 2]], [2, 0, 5, 4, 1, 3], id="a product on two lines has its first place"),
        pytest.param([[3, 1], []], [3, 1, 5, 4, 0, 2], id="the newest order that holds a product"),
    ],
)
def test_hand_computed(build, orders, expected):
    assert build.ranking(build.fitted(LastBasket(), 6, *TRAINING).scores(build.queries(orders))) == [expected]


def test_equal_cart_positions_are_ranked_by_popularity(build):
    queries = build.queries([[3, 4, 1]])
    at_one = dataclasses.replace(queries.histories, cart_position=np.ones(3, dtype=np.int32))
    scores = build.fitted(LastBasket(), 6, *TRAINING).scores(Queries(queries.contexts, at_one))
    assert build.ranking(scores) == [[4, 1, 3, 5, 0, 2]]
