"""Lines grouped by user and product, against plain dictionaries."""

import numpy as np
import pytest

from lit_rec.ranking.candidates import Candidates, relative_cart_positions


def grouped(users):
    """(user, product) to orders ago, oldest first, by plain Python."""
    groups = {}
    for user, orders in enumerate(users):
        for number, order in enumerate(orders):
            for product in dict.fromkeys(order):
                groups.setdefault((user, product), []).append(len(orders) - number)
    return dict(sorted(groups.items()))


@pytest.mark.parametrize("seed", range(5))
def test_each_product_of_a_user_is_one_candidate_with_its_orders_oldest_first(build, seed):
    users = [[], *build.users(20, 15, seed), []]
    histories = build.histories(*users)
    found = Candidates.of(histories, 15)
    expected = grouped(users)
    assert list(zip(found.query.tolist(), found.product.tolist(), strict=True)) == list(expected)
    ago = histories.orders_ago[found.line]
    assert [ago[a:b].tolist() for a, b in zip(found.start[:-1], found.start[1:], strict=True)] == list(
        expected.values()
    )
    assert found.counts.tolist() == [len(orders) for orders in expected.values()]


def test_users_without_purchases_have_no_candidates(build):
    assert len(Candidates.of(build.histories([], []), 5)) == 0


def test_places_in_the_cart_are_relative_to_the_basket(build):
    histories = build.histories([[3, 1], [2, 0, 1, 4]], [[2]])
    expected = [0.25, 0.75, 0.125, 0.375, 0.625, 0.875, 0.5]
    np.testing.assert_allclose(relative_cart_positions(histories), expected)
