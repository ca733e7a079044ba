"""Statistics of products, by hand."""

import numpy as np
import pytest

from lit_rec.ranking.auxiliary_orders import AuxiliaryOrders
from lit_rec.ranking.product_statistics import STATISTICS, ProductStatistics

AISLE = np.array([0, 0, 1, 1], dtype=np.int32)


def columns_of(histories, auxiliary_orders=None, smoothing=0.0):
    values = ProductStatistics.fit(histories, AISLE, auxiliary_orders, smoothing).columns
    assert values.shape == (len(AISLE), len(STATISTICS))
    assert values.dtype == np.float32
    return {feature.name: values[:, column] for column, feature in enumerate(STATISTICS)}


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")  # products without a purchase, unsmoothed
def test_counts_and_rates_by_hand(build):
    of = columns_of(build.histories([[0, 1], [0], [1], [0]], [[0], [2]]))
    assert of["log_popularity"] == pytest.approx(np.log1p([4, 2, 1, 0]))
    assert of["reorder_share"][:3] == pytest.approx([2 / 4, 1 / 2, 0])
    assert of["reorder_rate"][:2] == pytest.approx(
        [2 / 4, 1 / 3]
    )  # chances: 3 orders of the first user, 1 of the other
    assert of["repurchase_rate"][:2] == pytest.approx([1 / 3, 0])  # bought 3 times before a last order, once in a row
    assert of["product_cart_position"][:3] == pytest.approx([(0.25 + 3 * 0.5) / 4, (0.75 + 0.5) / 2, 0.5])


def test_without_further_baskets_the_market_is_the_histories(build):
    of = columns_of(build.histories([[0, 1], [0], [1], [0]], [[0], [2]]), smoothing=1e-6)
    assert of["global_log_popularity"] == pytest.approx(of["log_popularity"])
    assert of["global_reorder_share"][:3] == pytest.approx(of["reorder_share"][:3], abs=1e-5)
    assert of["aisle_reorder_share"] == pytest.approx([3 / 6, 3 / 6, 0, 0], abs=1e-5)


def test_further_baskets_are_the_market(build):
    auxiliary_orders = AuxiliaryOrders(
        np.array([0, 0, 1]),
        np.array([2, 3, 2], np.int32),
        np.array([0.25, 0.75, 0.5], np.float32),
        np.array([1, 0, 1]) > 0,
    )
    of = columns_of(build.histories([[0], [0]]), auxiliary_orders, smoothing=1e-6)
    assert of["global_log_popularity"] == pytest.approx(np.log1p([0, 0, 2, 1]))
    assert of["global_reorder_share"][2:] == pytest.approx([1, 0], abs=1e-5)
    assert of["global_cart_position"][2:] == pytest.approx([0.375, 0.75], abs=1e-5)
    assert of["aisle_reorder_share"][2:] == pytest.approx([2 / 3] * 2, abs=1e-5)


def test_smoothing_draws_what_is_rare_to_the_average(build):
    histories = build.histories(*[[[0], [0], [0]]] * 30, [[1], [2]])
    of = columns_of(histories, smoothing=20.0)
    average = 60 / 92
    assert of["reorder_share"][3] == pytest.approx(average, abs=1e-3)  # never bought
    assert average > of["reorder_share"][1] > 0.5 * average  # bought once
    assert of["reorder_share"][0] == pytest.approx((60 + 20 * average) / 110, abs=1e-4)


def test_of_nobody_all_is_finite(build):
    assert np.isfinite(ProductStatistics.fit(build.histories(), AISLE).columns).all()
