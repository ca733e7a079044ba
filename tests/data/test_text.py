"""The one text template: the seed's forms, whole names, and where a budget of names is spent."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_rec.data.contexts import (
    ContextForm,
    context_string,
    parse_context,
    product_aisle,
    product_name,
    product_text,
    without_next,
)
from lit_rec.data.orders import Order, UserHistory
from lit_rec.ranking.product_statistics import aisles_of

MOMENT = ("days_since_prior_order", "order_dow", "order_hour_of_day")
names = st.text(min_size=1, max_size=12)
gaps = st.none() | st.integers(0, 30).map(float)
any_order = st.builds(Order, st.lists(names, max_size=8), gaps, st.integers(0, 6), st.integers(0, 23))
histories = st.lists(any_order, max_size=8)


def written(orders, next_order=None, **form):
    """A context string of orders whose product ids are names."""
    user = UserHistory(orders, *(vars(next_order)[name] for name in MOMENT)) if next_order else UserHistory(orders)
    names = {name: name for order in orders for name in order.product_ids}
    return context_string(user, names, ContextForm(next_order_in_context="always" if next_order else "never", **form))


def numbered_orders(sizes):
    """Orders whose names say which they are: ``o3p1`` is the first product of the third order."""
    return [
        Order([f"o{order}p{place}" for place in range(1, size + 1)], 7.0 if order > 1 else None, 1, 2)
        for order, size in enumerate(sizes, 1)
    ]


def seed_context(orders, max_prior_orders, max_product_names, next_order):
    """The Instacart seed's walk: oldest order first, one counter of names over all of them."""

    def tag(order):
        moment = f"w{order.order_dow}h{order.order_hour_of_day}"
        return moment if order.days_since_prior_order is None else f"+{int(order.days_since_prior_order)}d {moment}"

    total, segments = 0, []
    for order in orders[-max_prior_orders:]:
        if total >= max_product_names:
            break
        shown = []
        for name in order.product_ids:
            if total >= max_product_names:
                break
            shown.append(name)
            total += 1
        if shown:
            segments.append(f"[{tag(order)}] " + ", ".join(shown))
    products = "; ".join(segments) if segments else "(no prior orders)"
    return f"{products}. Next: {tag(next_order)}" if next_order else f"{products}."


def test_a_training_context_has_the_form_of_the_seed():
    orders = [Order(["A", "B"], 7.0, 3, 22), Order(["C"], 17.0, 3, 20)]
    context = written(orders, next_order=Order([], 23.0, 6, 6))
    assert context == "[+7d w3h22] A, B; [+17d w3h20] C. Next: +23d w6h6"


def test_a_query_has_the_form_of_the_seed():
    orders = [Order(["Organic Milk", "Whole Wheat Bread"], 7.0, 4, 14)]
    assert written(orders) == "[+7d w4h14] Organic Milk, Whole Wheat Bread."


@pytest.mark.parametrize("orders", [[], [Order([], 3.0, 1, 2)]])
def test_no_names_is_no_prior_orders(orders):
    assert written(orders) == "(no prior orders)."
    assert written(orders, next_order=Order([], 4.0, 0, 9)) == "(no prior orders). Next: +4d w0h9"


def test_a_first_order_has_no_gap_and_hours_are_not_padded():
    assert written([Order(["A"], None, 0, 8)], next_order=Order([], None, 2, 0)) == "[w0h8] A. Next: w2h0"


def test_a_gap_of_zero_days_is_written():
    assert written([Order(["A"], 0.0, 0, 8)]) == "[+0d w0h8] A."


def test_names_are_whole_where_the_seed_cuts_at_the_full_stop():
    orders = [Order(["2.5% Lowfat Milk", "Dr. Pepper", '.5" Waterproof Tape'], None, 1, 2)]
    assert written(orders) == '[w1h2] 2.5% Lowfat Milk, Dr. Pepper, .5" Waterproof Tape.'


@given(histories, st.integers(1, 6), st.integers(1, 20), st.none() | any_order)
def test_the_oldest_budget_walks_as_the_seed_does(orders, max_orders, max_names, next_order):
    ours = written(
        orders,
        max_prior_orders=max_orders,
        max_product_names=max_names,
        truncate="keep_oldest",
        next_order=next_order,
    )
    assert ours == seed_context(orders, max_orders, max_names, next_order)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=8), st.integers(1, 6), st.integers(1, 20))
def test_the_newest_budget_gives_each_order_what_newer_ones_leave(sizes, max_orders, max_names):
    context = written(numbered_orders(sizes), max_prior_orders=max_orders, max_product_names=max_names)
    expected, left = [], max_names
    for order in range(len(sizes), max(len(sizes) - max_orders, 0), -1):
        share = min(sizes[order - 1], left)
        expected[:0] = [f"o{order}p{place}" for place in range(1, share + 1)]
        left -= share
    assert re.findall(r"o\d+p\d+", context) == expected


def test_the_newest_order_is_always_present_with_the_newest_budget_and_missing_with_the_oldest():
    orders = numbered_orders([10, 10, 10])
    assert "o3p10" in written(orders)
    assert "o3" not in written(orders, truncate="keep_oldest")


def test_only_the_newest_orders_may_appear():
    assert re.findall(r"o\d", written(numbered_orders([1] * 7))) == ["o3", "o4", "o5", "o6", "o7"]


def test_the_products_of_the_order_to_be_predicted_are_never_written():
    context = written([], next_order=Order(["Secret"], 3.0, 1, 2))
    assert "Secret" not in context


@given(histories, any_order)
def test_without_next_is_the_context_without_its_closing_segment(orders, next_order):
    with_segment = written(orders, next_order=next_order)
    assert without_next(with_segment) == written(orders) == without_next(written(orders))


def test_without_next_leaves_a_product_of_that_name_alone():
    orders = [Order(["What's Next: Bar", "Milk"], None, 1, 2)]
    assert without_next(written(orders)) == "[w1h2] What's Next: Bar, Milk."
    assert without_next(written(orders, next_order=orders[0])) == "[w1h2] What's Next: Bar, Milk."


def test_a_product_text_has_the_form_of_the_seed():
    assert (
        product_text("2.5% Lowfat Milk", "milk", "dairy")
        == "Product: 2.5% Lowfat Milk. Aisle: milk. Department: dairy."
    )


@given(names, *(2 * [st.text(max_size=12).filter(lambda text: ". Aisle: " not in text)]))
def test_the_name_comes_back_out_of_a_product_text(name, aisle, department):
    assert product_name(product_text(name, aisle, department)) == name


def test_a_name_that_quotes_the_template_comes_back_whole():
    assert product_name(product_text("Product: X. Aisle: Y", "a", "d")) == "Product: X. Aisle: Y"


def test_a_text_of_another_form_is_its_own_name():
    assert product_name("Organic Milk") == "Organic Milk"


# --- and back

plain_names = st.text(
    st.characters(exclude_characters="[]", exclude_categories=("C",)), min_size=1, max_size=12
).filter(lambda name: name == name.strip())
plain_histories = st.lists(
    st.builds(Order, st.lists(plain_names, min_size=1, max_size=4), gaps, st.integers(0, 6), st.integers(0, 23)),
    max_size=6,
)


@given(plain_histories, st.none() | any_order)
def test_a_context_string_taken_apart_gives_its_orders_back(orders, next_order):
    """Names may hold commas, semicolons and full stops."""
    context = written(orders, max_prior_orders=6, max_product_names=100, next_order=next_order)
    found = parse_context(context, {", ".join(order.product_ids): number for number, order in enumerate(orders)})
    assert [vars(order) | {"product_ids": ""} for order in found.orders] == [
        vars(order) | {"product_ids": ""} for order in orders
    ]
    moment = [vars(found)[name] for name in MOMENT]
    assert moment == ([None] * 3 if next_order is None else [vars(next_order)[name] for name in MOMENT])


@given(st.lists(plain_names, min_size=1, max_size=6, unique=True).filter(lambda some: "," not in "".join(some)))
def test_names_come_back_one_by_one(some):
    (order,) = parse_context(written([Order(some, None, 1, 2)]), {name: f"id of {name}" for name in some}).orders
    assert order.product_ids == [f"id of {name}" for name in some]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "milk",
        "(no prior orders).",
        "[organic] milk, [w9] bread.",
        "[w3h] milk.",
        "Milk. Next: w12h3",
        "Milk. Next: +3d w1h345",
        "[+d w1h2] milk",
        "say [w1h2] milk.",
    ],
)
def test_any_other_text_has_no_orders_and_is_no_error(text):
    assert parse_context(text, {"milk": "1", "bread": "2"}) == UserHistory([])


def test_the_moment_of_the_order_to_come_is_found_without_a_history():
    assert parse_context("(no prior orders). Next: +4d w0h9", {}) == UserHistory([], 4.0, 0, 9)


def test_a_context_that_someone_typed_needs_no_full_stop():
    found = parse_context("[w1h2] Milk; [+3d w4h5] Bread ", {"Milk": "1", "Bread": "2"})
    assert [order.product_ids for order in found.orders] == [["1"], ["2"]]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("Rye, Bread", ["Rye", "Bread"]),
        ("Bread, Rye, Rye", ["Bread, Rye", "Rye"]),
        ("Moon Dust, Bread, Rye", ["Bread, Rye"]),
        ("Bread,Rye", []),
        ("", []),
        ("1, 2, 3, 4, 5, 6, 7, 8, 9, Bread", ["1, 2, 3, 4, 5, 6, 7, 8, 9", "Bread"]),
    ],
    ids=[
        "short ones",
        "the longest first",
        "unknown ones are skipped",
        "no space",
        "nothing",
        "8 commas, as Instacart",
    ],
)
def test_names_that_the_catalogue_knows(names, expected):
    catalogue = {name: name for name in ("Bread", "Rye", "Bread, Rye", "1, 2, 3, 4, 5, 6, 7, 8, 9")}
    (order,) = parse_context(f"[w1h2] {names}.", catalogue).orders
    assert order.product_ids == expected


@given(names, *(2 * [st.text(max_size=12).filter(lambda text: ". Aisle: " not in text)]))
def test_aisle_and_department_come_back_out_of_a_product_text(name, aisle, department):
    assert product_aisle(product_text(name, aisle, department)) == f"{aisle}. Department: {department}."


def test_products_of_one_aisle_and_department_have_one_number():
    texts = [
        product_text("A", "milk", "dairy"),
        "Soap",
        product_text("B", "milk", "dairy"),
        product_text("C", "milk", "vegan"),
    ]
    found = aisles_of(texts)
    assert found.dtype == "int32"
    assert found[0] == found[2]
    assert sorted(set(found.tolist())) == [0, 1, 2]
    assert aisles_of([]).tolist() == []
