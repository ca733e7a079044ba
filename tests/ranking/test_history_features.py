"""History features by hand, and every column against a slow reading of the orders, on random users with random days."""

import math
from fractions import Fraction
from itertools import pairwise
from statistics import fmean, pstdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_rec.data.histories import histories_of
from lit_rec.data.orders import Order, UserHistory
from lit_rec.ranking.candidates import Candidates
from lit_rec.ranking.history_features import HISTORY_FEATURES, history_features
from lit_rec.ranking.product_statistics import STATISTICS, ProductStatistics

N = 6
NAN = math.nan
NAMES = [feature.name for feature in HISTORY_FEATURES]
OWN = NAMES[: -len(STATISTICS)]
KNOWN = ProductStatistics(np.arange(N * len(STATISTICS), dtype=np.float32).reshape(N, -1))


def features_of(histories):
    statistics = ProductStatistics(np.zeros((15, len(STATISTICS)), np.float32))
    candidates = Candidates.of(histories, 15)
    values = history_features(histories, candidates, statistics)
    assert values.shape == (len(candidates), len(HISTORY_FEATURES))
    return candidates, {name: values[:, column] for column, name in enumerate(NAMES)}


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


def test_only_what_may_be_unknown_is_nan(build):
    _, of = features_of(build.histories(*build.users(30, 15, seed=9)))
    unknown = {name for name, values in of.items() if np.isnan(values).any()}
    may_be = {name for name in NAMES if "gap" in name or "ratio" in name}
    assert unknown <= may_be | {"dow", "hour", "same_dow_share", "hour_distance", "user_reorder_share"}


def test_no_history_has_no_rows(build):
    candidates, of = features_of(build.histories([], []))
    assert len(candidates) == len(of["n_bought"]) == 0


gaps, weekdays, hours = st.integers(0, 30), st.none() | st.integers(0, 6), st.none() | st.integers(0, 23)
orders = st.builds(
    Order,
    st.lists(st.sampled_from("012345"), min_size=1, max_size=5),  # at times a product twice
    days_since_prior_order=gaps,
    order_dow=weekdays,
    order_hour_of_day=hours,
)
requests = st.lists(st.builds(UserHistory, st.lists(orders, max_size=9), gaps, weekdays, hours), max_size=4)


def ratio(count, of):
    return count / of if of else NAN


def expected(request, product):
    """Name to value, order by order."""
    past, asked = request.orders, request
    ago_of, days_of = {}, {}
    age = request.days_since_prior_order
    for ago, order in enumerate(reversed(past), 1):
        ago_of[ago], days_of[ago] = order, age
        age += order.days_since_prior_order
    with_it = [ago for ago in sorted(ago_of, reverse=True) if product in ago_of[ago].product_ids]  # oldest first
    days = [days_of[ago] for ago in with_it]
    steps = [older - newer for older, newer in pairwise(with_it)]
    day_steps = [older - newer for older, newer in pairwise(days)]
    places = [(ago_of[a].product_ids.index(product) + 0.5) / len(ago_of[a].product_ids) for a in with_it]
    weekdays = [ago_of[a].order_dow for a in with_it if ago_of[a].order_dow is not None]
    hours = [ago_of[a].order_hour_of_day for a in with_it if ago_of[a].order_hour_of_day is not None]
    turns = [abs(hour - (asked.order_hour_of_day or 0)) for hour in hours]
    lines = [one for order in past for one in order.product_ids]
    distinct, n_orders = sorted(set(lines)), len(past)
    streak = 0
    while streak + 1 in with_it:
        streak += 1

    def decayed(one):
        return sum(Fraction(4, 5) ** (ago - 1) for ago, order in ago_of.items() if one in order.product_ids)

    ranked = sorted(distinct, key=lambda one: (-decayed(one), one))
    return {
        "n_bought": len(with_it),
        "orders_since_first": with_it[0],
        "orders_since_last": with_it[-1],
        "days_since_first": days[0],
        "days_since_last": days[-1],
        **{f"in_last_{window}": sum(ago <= window for ago in with_it) for window in (1, 2, 3, 5, 10)},
        **{f"decayed_{decay}": sum(decay ** (ago - 1) for ago in with_it) for decay in (0.6, 0.8, 0.9, 0.95)},
        **{f"decayed_{scale}_days": sum(math.exp(-day / scale) for day in days) for scale in (14, 45, 150)},
        "order_share": len(with_it) / n_orders,
        "share_since_first": len(with_it) / with_it[0],
        "streak": streak,
        "mean_order_gap": fmean(steps) if steps else NAN,
        "order_gap_std": pstdev(steps) if steps else NAN,
        "order_gap_ratio": with_it[-1] / fmean(steps) if steps else NAN,
        "mean_day_gap": fmean(day_steps) if steps else NAN,
        "day_gap_std": pstdev(day_steps) if steps else NAN,
        "day_gap_ratio": days[-1] / max(fmean(day_steps), 0.5) if steps else NAN,
        "last_order_gap": steps[-1] if steps else NAN,
        "cart_position": fmean(places),
        "last_cart_position": places[-1],
        "same_dow_share": NAN if asked.order_dow is None else ratio(weekdays.count(asked.order_dow), len(weekdays)),
        "hour_distance": NAN
        if asked.order_hour_of_day is None
        else ratio(sum(min(t, 24 - t) for t in turns), len(turns)),
        "n_orders": n_orders,
        "basket_size": len(lines) / n_orders,
        "last_basket_size": len(past[-1].product_ids),
        "n_distinct": len(distinct),
        "user_reorder_share": ratio(len(lines) - len(distinct), len(lines) - len(past[0].product_ids)),
        "days_since_prior": asked.days_since_prior_order,
        "user_day_gap": ratio(days_of[n_orders] - days_of[1], n_orders - 1),
        "dow": NAN if asked.order_dow is None else asked.order_dow,
        "hour": NAN if asked.order_hour_of_day is None else asked.order_hour_of_day,
        "rank_by_decayed": ranked.index(product),
    }


@settings(deadline=None, max_examples=150)  # a busy machine is no failure
@given(requests)
def test_every_column_is_what_a_slow_reading_of_the_orders_gives(some):
    histories = histories_of(some, {str(row): row for row in range(N)})
    candidates = Candidates.of(histories, N)
    found = history_features(histories, candidates, KNOWN)
    assert found.dtype == np.float32
    asked = [
        (row, product)
        for row, request in enumerate(some)
        for product in sorted({one for order in request.orders for one in order.product_ids})
    ]
    assert list(zip(candidates.query.tolist(), map(str, candidates.product.tolist()), strict=True)) == asked
    for values, (row, product) in zip(found, asked, strict=True):
        own = expected(some[row], product)
        assert list(own) == OWN
        tolerances = {"order_gap_std": 1e-2, "day_gap_std": 0.1}  # float32 mean of squares less square of mean
        for name, value in zip(OWN, values.tolist(), strict=False):
            assert value == pytest.approx(own[name], rel=1e-4, abs=tolerances.get(name, 1e-5), nan_ok=True), name
        np.testing.assert_array_equal(values[len(OWN) :], KNOWN.columns[int(product)])


@settings(deadline=None, max_examples=50)
@given(requests)
def test_a_user_among_others_has_the_features_of_a_user_alone(some):
    histories = histories_of(some, {str(row): row for row in range(N)})
    together = history_features(histories, Candidates.of(histories, N), KNOWN)
    alone = [histories.select(slice(row, row + 1)) for row in range(len(histories))]
    parts = [history_features(one, Candidates.of(one, N), KNOWN) for one in alone]
    np.testing.assert_array_equal(together, np.concatenate([*parts, together[:0]]))
