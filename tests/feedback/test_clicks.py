"""Rates as asked; under position bias, falling with the position and higher for what was really bought."""

from collections import Counter

import numpy as np
import pytest

from lit_rec.feedback.clicks import act
from lit_rec.feedback.settings import SimulateSettings
from lit_rec.store.events import EventType

PRODUCTS = [str(number) for number in range(10)]


def shares(relevant, n=4_000, **settings):
    """Of each (position, step): how many of n lists have it."""
    rng = np.random.default_rng(0)
    chosen = SimulateSettings(**settings)
    counts = Counter((position, step) for _ in range(n) for _, position, step in act(PRODUCTS, relevant, chosen, rng))
    return {key: count / n for key, count in counts.items()}


def test_every_product_is_seen_once_and_steps_follow_each_other():
    for _, actions in zip(range(200), iter(lambda: act(PRODUCTS, {"3"}, SimulateSettings(), rng), None), strict=False):
        of_product = {}
        for product, position, step in actions:
            assert PRODUCTS[position - 1] == product
            of_product.setdefault(product, []).append(step)
        assert list(of_product) == PRODUCTS
        assert all(steps == list(EventType)[: len(steps)] for steps in of_product.values())


rng = np.random.default_rng(1)


def test_rates_do_not_look_at_the_products():
    found = shares({"0", "9"}, click_rate=0.15, atc_rate=0.4, purchase_rate=0.6)
    for position in (1, 5, 10):
        assert found[position, EventType.CLICK] == pytest.approx(0.15, abs=0.02)
        assert found[position, EventType.ADD_TO_CART] == pytest.approx(0.06, abs=0.015)
        assert found[position, EventType.PURCHASE] == pytest.approx(0.036, abs=0.012)


def test_position_bias_is_examination_times_attractiveness():
    found = shares(
        {"0", "3"}, click_model="position_based", click_rate=0.2, relevant_click_rate=0.8, position_decay=0.5
    )
    clicks = [found[position, EventType.CLICK] for position in range(1, 11)]
    attractiveness = [0.8 if position in {1, 4} else 0.2 for position in range(1, 11)]
    expected = [each * position**-0.5 for position, each in enumerate(attractiveness, 1)]
    assert clicks == pytest.approx(expected, abs=0.025)


def test_what_was_not_bought_is_purchased_less_once_clicked():
    found = shares({"0"}, click_model="position_based", position_decay=0.0, click_rate=1.0, relevant_click_rate=1.0)
    assert found[1, EventType.PURCHASE] == pytest.approx(0.24, abs=0.03)
    assert found[2, EventType.PURCHASE] == pytest.approx(0.24 / 16, abs=0.01)


def test_the_same_seed_acts_the_same():
    one, same, other = (
        act(PRODUCTS, {"1"}, SimulateSettings(click_rate=0.5), np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    assert one == same != other


def test_a_product_draws_the_same_whatever_stands_above_it():
    """Two models are compared by the same chances."""
    settings = SimulateSettings(click_model="position_based")
    ones = [act(PRODUCTS, set(), settings, np.random.default_rng(seed))[-3:] for seed in range(50)]
    others = [act(PRODUCTS, {"0", "1"}, settings, np.random.default_rng(seed))[-3:] for seed in range(50)]
    last = lambda lists: [[a for a in actions if a[1] == 10] for actions in lists]  # noqa: E731
    assert last(ones) == last(others)
