"""Purchase histories: choosing users, and past orders as targets, against orders kept as Python lists."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_rec.core.errors import ShapeError
from lit_rec.data import histories as arrays
from lit_rec.data.histories import UNKNOWN, PurchaseHistories, Queries
from lit_rec.data.orders import Order, UserHistory
from lit_rec.data.ragged import concatenated_ranges, starts
from lit_rec.data.rolling_targets import RollingTargets, rolling_targets

OF_LINES = {
    "product": np.int32,
    "orders_ago": np.int32,
    "days_ago": np.float32,
    "cart_position": np.int32,
    "line_dow": np.int8,
    "line_hour": np.int8,
}
OF_QUERIES = {"days_since_prior": np.float32, "dow": np.int8, "hour": np.int8}


class Past(NamedTuple):
    """Days since the order before, weekday, hour, product indices in cart order."""

    gap: float
    dow: int
    hour: int
    products: list[int]


class User(NamedTuple):
    """Past orders, oldest first, and what is known of the one to come."""

    past: list[Past]
    gap: float
    dow: int
    hour: int


def histories_of(users: list[User]) -> PurchaseHistories:
    """The flat form, line by line."""
    lines, n_lines = [], []
    for user in users:
        gaps = [order.gap for order in user.past[1:]] + [user.gap]
        of_user = [
            (product, len(user.past) - number, sum(gaps[number:]), cart, order.dow, order.hour)
            for number, order in enumerate(user.past)
            for cart, product in enumerate(order.products, 1)
        ]
        lines += of_user
        n_lines.append(len(of_user))
    columns = list(zip(*lines, strict=True)) or [()] * len(OF_LINES)
    asked = [[user[place] for user in users] for place in (1, 2, 3)]
    return PurchaseHistories(
        line_start=np.array([0, *np.cumsum(n_lines)], dtype=np.int64),
        **{name: np.array(column, kind) for (name, kind), column in zip(OF_LINES.items(), columns, strict=True)},
        **{name: np.array(column, kind) for (name, kind), column in zip(OF_QUERIES.items(), asked, strict=True)},
    )


def assert_same(found, expected):
    """Equal in every field, types included."""
    for field in dataclasses.fields(expected):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(other, PurchaseHistories):
            assert_same(one, other)
        elif other is None:
            assert one is None, field.name
        else:
            np.testing.assert_array_equal(one, other, field.name)
            assert one.dtype == other.dtype, field.name


def expected_targets(users: list[User], per_user: int, min_orders: int) -> RollingTargets:
    """One order after the other, each asked for with a history made anew of the orders before it."""
    before, whose, bought, gap_is_known = [], [], [], []
    for ago in range(1, max((len(user.past) for user in users), default=0) + 1):
        for row, user in enumerate(users):
            if ago > len(user.past) or (per_user and ago > per_user):
                continue
            *earlier, target = user.past[: len(user.past) - ago + 1]
            first = next((number for number, order in enumerate(earlier) if order.products), len(earlier))
            if not target.products or len(earlier) - first < max(min_orders, 1):
                continue
            before.append(User(earlier, target.gap, target.dow, target.hour))
            whose.append(row)
            bought.append(target.products)
            gap_is_known.append(bool(earlier[-1].products))
    histories = histories_of(before)
    gap = np.where(np.array(gap_is_known, dtype=bool), histories.days_since_prior, np.float32("nan"))
    return RollingTargets(
        dataclasses.replace(histories, days_since_prior=gap),
        np.array(whose, dtype=np.int64),
        np.array([0, *np.cumsum([len(products) for products in bought])], dtype=np.int64),
        np.array([product for products in bought for product in products], dtype=np.int32),
    )


days, weekdays, hours = st.integers(0, 30).map(float), st.integers(0, 6), st.integers(0, 23)
baskets = st.lists(st.integers(0, 9), max_size=3)  # at times none: their products are not known
orders = st.builds(Past, days, weekdays, hours, baskets)
users_drawn = st.lists(st.builds(User, st.lists(orders, max_size=6), days, weekdays, hours), max_size=5)


@pytest.fixture
def two():
    """One user of three orders, one who never bought."""
    first, second, third = Past(0, 1, 8, [4, 2]), Past(7, 2, 9, [2]), Past(3, 6, 23, [5, 4])
    return [User([first, second, third], 10, 3, 12), User([], float("nan"), UNKNOWN, UNKNOWN)]


# --- what a history says ---


def test_lines_orders_and_products_of_each_user(two):
    histories = histories_of(two)
    assert len(histories) == 2
    assert histories.n_lines.tolist() == [5, 0]
    assert histories.query.tolist() == [0] * 5
    assert histories.n_orders.tolist() == [3, 0]
    assert histories.days_ago.tolist() == [20, 20, 13, 10, 10]
    assert histories.distinct_products(0).tolist() == [2, 4, 5]
    assert histories.distinct_products(1).tolist() == []


def test_an_order_without_products_counts_among_the_orders_that_others_are_older_than(two):
    two[0].past[1].products.clear()
    histories = histories_of(two)
    assert histories.orders_ago.tolist() == [3, 3, 1, 1]
    assert histories.n_orders.tolist() == [3, 0]


@settings(deadline=None)  # a busy machine is no failure
@given(users_drawn, st.data())
def test_chosen_users_are_as_if_nobody_else_were_there(users, data):
    rows = data.draw(st.lists(st.sampled_from(range(len(users))), max_size=6)) if users else []
    found = histories_of(users).select(np.array(rows, dtype=np.int64))
    assert_same(found, histories_of([users[row] for row in rows]))


@settings(deadline=None)  # a busy machine is no failure
@given(users_drawn, st.slices(5))
def test_a_slice_of_the_users_is_what_a_list_would_give(users, rows):
    queries = Queries([f"user {row}" for row in range(len(users))], histories_of(users)).select(rows)
    assert_same(queries.histories, histories_of(users[rows]))
    assert queries.contexts == [f"user {row}" for row in range(len(users))][rows]


def test_a_query_keeps_its_context_beside_its_history(two):
    queries = Queries(["bought", "never"], histories_of(two)).select(np.array([1, 0, 1]))
    assert len(queries) == 3
    assert queries.contexts == ["never", "bought", "never"]
    assert queries.histories.n_lines.tolist() == [0, 5, 0]


@pytest.mark.parametrize("name", [*OF_LINES, *OF_QUERIES])
@pytest.mark.parametrize("change", [lambda values: values[:-1], lambda values: values[:, None]])
def test_an_array_of_another_shape_is_refused_by_its_name(two, name, change):
    histories = histories_of(two)
    with pytest.raises(ShapeError, match=rf"^{name} must be \({5 if name in OF_LINES else 2},\): got \("):
        dataclasses.replace(histories, **{name: change(getattr(histories, name))})


@pytest.mark.parametrize("line_start", [np.zeros(0, dtype=np.int64), np.zeros((2, 1), dtype=np.int64)])
def test_starts_of_another_shape_are_refused(two, line_start):
    with pytest.raises(ShapeError, match=r"^line_start must be \(Q \+ 1,\)"):
        dataclasses.replace(histories_of(two), line_start=line_start)


def test_a_query_without_its_history_is_refused(two):
    with pytest.raises(ShapeError, match=r"got 1 and 2$"):
        Queries(["alone"], histories_of(two))


# --- past orders as targets ---


def test_each_past_order_is_a_target_with_the_orders_before_it_newest_first(two):
    targets = rolling_targets(histories_of([two[1], two[0]]))
    assert len(targets) == 2
    assert targets.user.tolist() == [1, 1]
    assert targets.target_start.tolist() == [0, 2, 3]
    assert targets.target_product.tolist() == [5, 4, 2]
    histories = targets.histories
    assert histories.line_start.tolist() == [0, 3, 5]
    assert histories.product.tolist() == [4, 2, 2, 4, 2]
    assert histories.orders_ago.tolist() == [2, 2, 1, 1, 1]
    assert histories.days_ago.tolist() == [10, 10, 3, 7, 7]
    assert histories.cart_position.tolist() == [1, 2, 1, 1, 2]
    assert histories.line_dow.tolist() == [1, 1, 2, 1, 1]
    assert histories.line_hour.tolist() == [8, 8, 9, 8, 8]
    assert histories.days_since_prior.tolist() == [3, 7]
    assert histories.dow.tolist() == [6, 2]
    assert histories.hour.tolist() == [23, 9]


@settings(deadline=None)  # a busy machine is no failure
@given(users_drawn, st.integers(0, 7), st.integers(0, 4))
def test_targets_are_those_that_one_order_after_the_other_gives(users, per_user, min_orders):
    found = rolling_targets(histories_of(users), per_user=per_user, min_orders=min_orders)
    assert_same(found, expected_targets(users, per_user, min_orders))


@settings(deadline=None)  # a busy machine is no failure
@given(users_drawn, st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_other_products_in_a_target_change_nothing_but_what_was_bought(users, other):
    def newest_with(products):
        """The same users, but for the products of their newest orders."""
        newest = [user.past[-1]._replace(products=products) for user in bought]
        changed = [shop._replace(past=[*shop.past[:-1], one]) for shop, one in zip(bought, newest, strict=True)]
        return rolling_targets(histories_of(changed), per_user=1)

    bought = [user for user in users if user.past]
    one, another = newest_with([3]), newest_with(other)
    assert_same(another.histories, one.histories)
    assert another.user.tolist() == one.user.tolist()
    assert another.target_product.tolist() == other * len(another)


def test_the_moment_of_asking_changes_no_target(two):
    later = [two[0]._replace(gap=25, dow=0, hour=0), two[1]]
    assert_same(rolling_targets(histories_of(later)), rolling_targets(histories_of(two)))


def test_a_gap_after_an_order_without_products_is_not_known():
    """Lines alone tell when an order was; the days since an older order are no gap."""
    past = [Past(0, 1, 8, [1]), Past(5, 2, 9, []), Past(4, 3, 10, [2]), Past(6, 4, 11, [3])]
    targets = rolling_targets(histories_of([User(past, 0, 0, 0)]))
    assert targets.target_product.tolist() == [3, 2]
    np.testing.assert_array_equal(targets.histories.days_since_prior, np.array([6, np.nan], dtype=np.float32))
    assert targets.histories.days_ago.tolist() == [15, 6, 9]
    assert targets.histories.orders_ago.tolist() == [3, 1, 2]


def test_weekdays_and_hours_that_are_not_known_stay_so():
    past = [Past(0, UNKNOWN, UNKNOWN, [1]), Past(5, UNKNOWN, UNKNOWN, [2])]
    targets = rolling_targets(histories_of([User(past, 0, 0, 0)]))
    assert (targets.histories.dow.tolist(), targets.histories.hour.tolist()) == ([UNKNOWN], [UNKNOWN])


@pytest.mark.parametrize("users", [[], [User([], 1, 1, 1)], [User([Past(0, 1, 8, [4])], 1, 1, 1)]])
def test_users_of_one_order_or_none_give_no_target(users):
    targets = rolling_targets(histories_of(users))
    assert len(targets) == len(targets.histories) == 0
    assert targets.target_start.tolist() == targets.histories.line_start.tolist() == [0]


@settings(deadline=None)  # a busy machine is no failure
@given(users_drawn, st.data())
def test_chosen_targets_are_those_targets_one_by_one(users, data):
    targets = rolling_targets(histories_of(users))
    rows = data.draw(st.lists(st.integers(0, len(targets) - 1), max_size=6)) if len(targets) else []
    found = targets.select(np.array(rows, dtype=np.int64))
    bought = np.split(targets.target_product, targets.target_start[1:-1])
    assert [some.tolist() for some in np.split(found.target_product, found.target_start[1:-1])] == (
        [bought[row].tolist() for row in rows] or [[]]
    )
    assert found.user.tolist() == targets.user[rows].tolist() if rows else len(found) == 0
    assert_same(found.histories, targets.histories.select(np.array(rows, dtype=np.int64)))


@settings(deadline=None)  # a busy machine is no failure
@given(users_drawn, st.data())
def test_what_a_target_holds_is_what_was_bought_in_it(users, data):
    targets = rolling_targets(histories_of(users))
    some = st.tuples(st.integers(0, len(targets) - 1), st.integers(0, 12))
    asked = data.draw(st.lists(some, max_size=20)) if len(targets) else []
    target, product = np.array(asked, dtype=np.int64).reshape(-1, 2).T
    bought = np.split(targets.target_product, targets.target_start[1:-1])
    expected = [one in bought[row] for row, one in asked]
    assert targets.is_in_target(target, product.astype(np.int32)).tolist() == expected


# --- requests ---

POSITION = {f"p{row}": row for row in range(10)}


@settings(deadline=None)  # a busy machine is no failure
@given(users_drawn)
def test_a_request_of_known_gaps_is_the_history_it_tells_of(users):
    requests = [
        UserHistory(
            [
                Order(
                    [f"p{product}" for product in order.products],
                    days_since_prior_order=order.gap if number else None,
                    order_dow=order.dow,
                    order_hour_of_day=order.hour,
                )
                for number, order in enumerate(user.past)
            ],
            *user[1:],
        )
        for user in users
    ]
    assert_same(arrays.histories_of(requests, POSITION), histories_of(users))


def ages(*past, gap=None):
    """Days ago of each order, and the gap to the order to come."""
    found = arrays.histories_of([UserHistory(past, gap)], POSITION)
    return found.days_ago.tolist(), found.days_since_prior.tolist()


def order(days_ago=None, since=None):
    return Order(["p1"], since, days_ago=days_ago)


def test_days_ago_or_gaps_say_the_same():
    by_gaps = ages(order(), order(since=10), order(since=2), gap=3)
    assert by_gaps == ages(order(15), order(5), order(3)) == ([15, 5, 3], [3])


def test_an_unknown_gap_is_the_users_usual_one_or_a_week():
    assert ages(order(), order(since=4), order(since=8)) == ([18, 14, 6], [6])
    assert ages(order(), order(since=4), order(), gap=1) == ([9, 5, 1], [1])
    assert ages(order(), order()) == ([14, 7], [7])
    assert ages(order(20), order()) == ([20, 7], [7])


def test_a_gap_of_no_days_is_known():
    assert ages(order(), order(since=0), gap=0) == ([0, 0], [0])


def test_what_the_catalogue_does_not_hold_is_left_out_and_the_order_still_counts():
    past = [Order(["nowhere"]), Order(["p3", "nowhere", "p1"]), Order([])]
    found = arrays.histories_of([UserHistory(), UserHistory(past), UserHistory([Order(["nowhere"])])], POSITION)
    assert found.n_lines.tolist() == [0, 2, 0]
    assert found.product.tolist() == [3, 1]
    assert found.orders_ago.tolist() == [2, 2]
    assert found.cart_position.tolist() == [1, 2]
    assert set(found.line_dow.tolist() + found.line_hour.tolist()) == {UNKNOWN}
    assert found.dow.tolist() == found.hour.tolist() == [UNKNOWN] * 3


def test_no_requests_are_no_histories():
    assert_same(arrays.histories_of([], POSITION), histories_of([]))


# --- ranges ---


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=8))
def test_ranges_one_after_the_other(ranges):
    begin, count = (np.array([one[place] for one in ranges], dtype=np.int64) for place in (0, 1))
    expected = [place for first, n in ranges for place in range(first, first + n)]
    assert concatenated_ranges(begin, begin + count).tolist() == expected
    assert starts(count).tolist() == [sum(n for _, n in ranges[:row]) for row in range(len(ranges) + 1)]


def test_days_that_nobody_gave_are_counted_as_assumed():
    past = [order(), order(since=5), order(since=None), order(since=2)]
    requests = [
        UserHistory(past),
        UserHistory(past, 4),
        UserHistory([order(9), order()], 1),
        UserHistory([order(), order(6)]),
    ]
    histories = arrays.histories_of(requests, POSITION)
    usual = (5 + 2) / 2
    first, second = [2 * usual + 7, 2 * usual + 2, usual + 2, usual], [11 + usual, 6 + usual, 6, 4]
    assert histories.days_ago.tolist() == [*first, *second, 9, 1, 13, 6]
    assert histories.days_assumed.tolist() == [2 * usual, 2 * usual, usual, usual, usual, usual, 0, 0, 0, 0, 7, 0]
    assert histories.select(slice(2, 4)).days_assumed.tolist() == [0, 0, 7, 0]
    assert arrays.histories_of(requests[2:3], POSITION).days_assumed is None
