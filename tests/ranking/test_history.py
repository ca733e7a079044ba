"""History features by hand and against plain Python; nothing of the order to come is in them."""

import numpy as np
import pytest

from lit_rec.ranking.candidates import Candidates
from lit_rec.ranking.history_features import HISTORY_FEATURES, history_features
from lit_rec.ranking.statistics import STATISTICS, ProductStatistics

N = 15


def features_of(histories):
    statistics = ProductStatistics(np.zeros((N, len(STATISTICS)), np.float32))
    candidates = Candidates.of(histories, N)
    values = history_features(histories, candidates, statistics)
    assert values.shape == (len(candidates), len(HISTORY_FEATURES))
    return candidates, {name: values[:, column] for column, name in enumerate(HISTORY_FEATURES)}


def test_a_history_computed_by_hand(build):
    _, of = features_of(build.histories([[0, 1], [0], [2], [0, 2]]))
    assert of["n_bought"].tolist() == [3, 1, 2]
    assert of["orders_since_first"].tolist() == [4, 4, 2]
    assert of["orders_since_last"].tolist() == [1, 4, 1]
    assert of["days_since_last"].tolist() == [7, 28, 7]
    assert of["in_last_2"].tolist() == [1, 0, 2]
    assert of["decayed_0.8"] == pytest.approx([1 + 0.8**2 + 0.8**3, 0.8**3, 1 + 0.8])
    assert of["order_share"].tolist() == [0.75, 0.25, 0.5]
    assert of["share_since_first"].tolist() == [0.75, 0.25, 1]
    assert of["streak"].tolist() == [1, 0, 2]
    assert of["mean_order_gap"][[0, 2]].tolist() == [1.5, 1]
    assert np.isnan(of["mean_order_gap"][1])
    assert of["last_order_gap"][[0, 2]].tolist() == [2, 1]
    assert of["rank_by_decayed"].tolist() == [0, 2, 1]
    assert of["n_orders"].tolist() == [4, 4, 4]
    assert of["basket_size"].tolist() == [1.5] * 3
    assert of["last_basket_size"].tolist() == [2] * 3
    assert of["n_distinct"].tolist() == [3] * 3
    assert of["user_reorder_share"].tolist() == [0.75] * 3
    assert of["user_day_gap"].tolist() == [7] * 3
    assert np.isnan(of["dow"]).all()


@pytest.mark.parametrize("seed", range(4))
def test_counts_decays_and_gaps_are_those_of_plain_python(build, seed):
    users = build.users(15, N, seed)
    candidates, of = features_of(build.histories(*users))
    for row, (user, product) in enumerate(zip(candidates.query, candidates.product, strict=True)):
        orders = users[user]
        ago = [len(orders) - number for number, order in enumerate(orders) if product in order]
        assert of["n_bought"][row] == len(ago)
        assert of["decayed_0.9"][row] == pytest.approx(sum(0.9 ** (a - 1) for a in ago), rel=1e-5)
        assert of["in_last_5"][row] == sum(a <= 5 for a in ago)
        assert of["decayed_45_days"][row] == pytest.approx(sum(np.exp(-7 * a / 45) for a in ago), rel=1e-4)
        streak = next((k for k in range(len(orders) + 1) if k == len(orders) or product not in orders[-1 - k]), 0)
        assert of["streak"][row] == streak
        if len(ago) > 1:
            gaps = -np.diff(ago)
            assert of["mean_order_gap"][row] == pytest.approx(gaps.mean(), rel=1e-5)
            assert of["order_gap_std"][row] == pytest.approx(gaps.std(), abs=1e-3)
            assert of["order_gap_ratio"][row] == pytest.approx(ago[-1] / gaps.mean(), rel=1e-5)


def test_only_what_may_be_unknown_is_nan(build):
    _, of = features_of(build.histories(*build.users(30, N, seed=9)))
    unknown = {name for name, values in of.items() if np.isnan(values).any()}
    may_be = {name for name in HISTORY_FEATURES if "gap" in name or "ratio" in name}
    assert unknown <= may_be | {"dow", "hour", "same_dow_share", "hour_distance", "user_reorder_share"}


def test_no_history_has_no_rows(build):
    candidates, of = features_of(build.histories([], []))
    assert len(candidates) == len(of["n_bought"]) == 0
