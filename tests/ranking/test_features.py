"""What the ranker is told of its candidates: names and scales, what was not bought before, affinity, users; by hand."""

import numpy as np
import pytest

from lit_rec.ranking.affinity import Affinity, affinity_features
from lit_rec.ranking.candidates import Candidates
from lit_rec.ranking.features import (
    EXPLORE_FEATURES,
    REPEAT_FEATURES,
    explore_candidates,
    ranker_features,
    user_features,
)
from lit_rec.ranking.history_features import history_features
from lit_rec.ranking.item_item import ItemItemModel
from lit_rec.ranking.product_statistics import STATISTICS, ProductStatistics

N = 30
AISLE = (np.arange(N) % 4).astype(np.int32)
STATISTICS_OF_NOTHING = ProductStatistics(np.zeros((N, len(STATISTICS)), np.float32))
EXPLORE_NAMES = [feature.name for feature in EXPLORE_FEATURES]


def test_a_trained_ranker_finds_its_features_in_their_places_and_on_their_scales():
    """Rankers read columns by place: whoever changes this list makes those that are trained of no use."""
    repeat = {feature.name: feature.is_log_scaled for feature in REPEAT_FEATURES}
    explore = {feature.name: feature.is_log_scaled for feature in EXPLORE_FEATURES}
    assert (len(REPEAT_FEATURES), len(EXPLORE_FEATURES)) == (len(repeat), len(explore)) == (53, 19)
    linear = (
        "order_share cart_position last_cart_position same_dow_share hour_distance user_reorder_share dow hour "
        "log_popularity reorder_share reorder_rate product_cart_position global_log_popularity global_reorder_share "
        "global_cart_position aisle_reorder_share item_item_confidence item_item_cosine item_item_confidence_newest"
    )
    assert " ".join(name for name, is_log_scaled in repeat.items() if not is_log_scaled) == linear
    assert [name for name, is_log_scaled in explore.items() if is_log_scaled] == ["user_basket_size", "repurchase_rate"]


def test_bought_products_are_told_by_their_purchases_and_their_affinity(build):
    training, histories = build.histories(*build.users(30, N, seed=1)), build.histories([], *build.users(5, N, seed=2))
    statistics, item_item = ProductStatistics.fit(training, AISLE), ItemItemModel.fit(training, AISLE)
    found = ranker_features(histories, statistics, item_item).repeat
    candidates, affinity = Candidates.of(histories, N), Affinity.of(histories, item_item)
    parts = history_features(histories, candidates, statistics), affinity_features(candidates, affinity)
    np.testing.assert_array_equal(found.features, np.concatenate(parts, axis=1))
    np.testing.assert_array_equal(found.query, candidates.query)
    np.testing.assert_array_equal(found.product, candidates.product)


def candidates_of(histories, item_item):
    return explore_candidates(
        histories, Affinity.of(histories, item_item), STATISTICS_OF_NOTHING, user_features(histories)
    )


@pytest.fixture
def item_item(build):
    return ItemItemModel.fit(build.histories(*build.users(60, N, seed=1)), AISLE)


def test_nothing_that_was_bought_is_a_candidate_and_all_features_are_numbers(build, item_item):
    users = [[], *build.users(40, N, seed=2)]
    found = candidates_of(build.histories(*users), item_item)
    bought = [{product for order in orders for product in order} for orders in users]
    assert len(found.query) > 100
    assert all(
        product not in bought[q] for q, product in zip(found.query.tolist(), found.product.tolist(), strict=True)
    )
    assert found.features.shape == (len(found.query), len(EXPLORE_FEATURES))
    assert np.isfinite(found.features).all()
    assert (np.diff(found.query) >= 0).all()


def test_what_goes_with_the_basket_is_the_share_of_orders_that_hold_both(build):
    training = build.histories([[0, 1], [0, 1], [0, 2]], [[3]])
    item_item = ItemItemModel.fit(training, AISLE)
    assert item_item.candidate_products.tolist() == [0, 1, 2, 3]
    found = candidates_of(build.histories([[0]]), item_item)
    of = {name: found.features[:, column] for column, name in enumerate(EXPLORE_NAMES)}
    assert found.product.tolist() == [1, 2, 3]
    assert of["item_item_confidence"] == pytest.approx([2 / 3, 1 / 3, 0])
    assert of["item_item_confidence_newest"] == pytest.approx([2 / 3, 1 / 3, 0])
    assert of["item_item_cosine"] == pytest.approx([2 / 6**0.5, 1 / 3**0.5, 0])


def test_a_bought_product_is_supported_by_the_others_and_never_by_itself(build):
    item_item = ItemItemModel.fit(build.histories([[0, 1], [0, 1], [0, 2]], [[3]]), AISLE, n_candidate_products=3)
    assert item_item.candidate_products.tolist() == [0, 1, 2]
    histories = build.histories([[0, 1, 3], [1]], [[2]])
    candidates = Candidates.of(histories, N)
    found = affinity_features(candidates, Affinity.of(histories, item_item))
    total = 3 * 0.9 + 1  # an order ago three products, and one now
    of = dict(zip(zip(candidates.query, candidates.product, strict=True), found, strict=True))
    # Of the orders with 0, two of three hold 1; all orders with 1 hold 0. The newest order holds 1 alone.
    assert of[0, 0] == pytest.approx([1.9 / total, 1.9 / total * 2 / 6**0.5, 1], rel=1e-5)
    assert of[0, 1] == pytest.approx([0.9 / total * 2 / 3, 0.9 / total * 2 / 6**0.5, 0], rel=1e-5, abs=1e-6)
    assert np.isnan(of[0, 3]).all()
    assert of[1, 2] == pytest.approx([0, 0, 0], abs=1e-6)


def test_aisles_count_as_the_user_fills_them(build):
    training = build.histories([[0, 4, 8, 1, 5]])
    item_item = ItemItemModel.fit(training, AISLE)
    found = candidates_of(build.histories([[0, 1], [1]]), item_item)
    of = {name: found.features[:, column] for column, name in enumerate(EXPLORE_NAMES)}
    older, newer = 0.9, 1.0
    of_aisle_0 = older / (2 * older + newer - 0)  # of lines 0 and 1 an order ago, and 1 again
    assert found.product.tolist() == [4, 5, 8]
    assert of["user_aisle_share"] == pytest.approx([of_aisle_0, 1 - of_aisle_0, of_aisle_0], rel=1e-5)
    assert of["product_share_in_aisle"] == pytest.approx([1 / 3, 1 / 2, 1 / 3])


def test_user_features_by_hand(build):
    values = user_features(build.histories([[0, 1], [0]], []))
    assert values[0] == pytest.approx([np.log1p(2), np.log1p(1.5), np.log1p(2), 1 / 3])
    assert values[1] == pytest.approx([0, 0, 0, 0])
