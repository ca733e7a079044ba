from collections import Counter

import pytest

from lit_rec.baselines.personal_frequency import PersonalFrequency

TRAINING = [[[5], [5], [4]]]  # 5 is the most popular, then 4


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        pytest.param([[0, 1], [1], [2]], [1, 2, 0, 5, 4, 3], id="frequency, then last purchase, then the rest"),
        pytest.param([[0], [0], [0], [3]], [0, 3, 5, 4, 1, 2], id="frequency beats the last purchase"),
        pytest.param([[0, 4]], [4, 0, 5, 1, 2, 3], id="of one order the more popular first"),
        pytest.param([[5], [0]], [0, 5, 4, 1, 2, 3], id="the last purchase beats popularity"),
        pytest.param([[3, 1]], [1, 3, 5, 4, 0, 2], id="of equals the first in the catalogue"),
    ],
)
def test_hand_computed(build, orders, expected):
    assert build.ranking(build.fitted(PersonalFrequency(), 6, *TRAINING).scores(build.queries(orders))) == [expected]


def test_equals_sorting_in_python(build):
    n_products, training, asking = 60, build.users(40, 60, seed=1), build.users(25, 60, seed=2, longest=30)
    scores = build.fitted(PersonalFrequency(), n_products, *training).scores(build.queries(*asking))
    popular = Counter(product for orders in training for order in orders for product in set(order))
    for row, orders in enumerate(asking):
        frequency = Counter(product for order in orders for product in set(order))
        last = {product: number for number, order in enumerate(orders) for product in order}
        key = lambda product: (-frequency[product], -last.get(product, -1), -popular[product], product)  # noqa: B023, E731
        assert build.ranking(scores)[row] == sorted(range(n_products), key=key)
