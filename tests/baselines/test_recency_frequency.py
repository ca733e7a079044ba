from collections import Counter
from fractions import Fraction

import pytest

from lit_rec.baselines.recency_frequency import RecencyFrequency

TRAINING = [[[5], [5], [4]]]


@pytest.mark.parametrize(
    ("beta", "orders", "expected"),
    [
        # product 0: .8^3 + .8^2 = 1.152, 1: .8 = .8
        pytest.param(0.8, [[0], [0], [1]], [0, 1, 5, 4, 2, 3], id="two older orders outweigh the newest"),
        # 0: .125 + .25 = .375, 1: .5
        pytest.param(0.5, [[0], [0], [1]], [1, 0, 5, 4, 2, 3], id="at one half they do not"),
        pytest.param(1.0, [[4], [1]], [4, 1, 5, 0, 2, 3], id="without decay ties are broken by popularity"),
        pytest.param(
            0.7, [[3], *[[0]] * 99], [0, 3, 5, 4, 1, 2], id="what was bought 100 orders ago is ahead of others"
        ),
    ],
)
def test_hand_computed(build, beta, orders, expected):
    fitted = build.fitted(RecencyFrequency(beta), 6, *TRAINING)
    assert build.ranking(fitted.scores(build.queries(orders))) == [expected]


@pytest.mark.parametrize("beta", [Fraction(4, 5), Fraction(19, 20), Fraction(1)])
def test_equals_sorting_exact_fractions(build, beta):
    """Rounding may neither break a tie of equal orders nor hide a difference."""
    n_products, training, asking = 60, build.users(40, 60, seed=1), build.users(25, 60, seed=2, longest=30)
    scores = build.fitted(RecencyFrequency(float(beta)), n_products, *training).scores(build.queries(*asking))
    popular = Counter(product for orders in training for order in orders for product in set(order))
    for row, orders in enumerate(asking):
        exact = Counter()
        for ago, order in enumerate(reversed(orders), 1):
            exact.update(dict.fromkeys(order, beta**ago))
        key = lambda product: (-exact[product], -popular[product], product)  # noqa: B023, E731
        assert build.ranking(scores)[row] == sorted(range(n_products), key=key)
