"""The figures are in the plots: as text and as marks at the right places."""

import re
from xml.etree import ElementTree

from lit_rec.feedback import plots
from lit_rec.metrics.intervals import wilson


def row_of(impressions, clicks, **more):
    estimates = [wilson(successes, impressions) for successes in (clicks, clicks // 2, 0)]
    rates = dict(zip(("ctr", "add_to_cart_rate", "purchase_rate"), map(vars, estimates), strict=True))
    return {
        "impression": impressions,
        "click": clicks,
        "add_to_cart": clicks // 2,
        "purchase": 0,
        "rates": rates,
        **more,
    }


def texts_of(panels):
    every = [element for svg in panels for element in ElementTree.fromstring(svg).iter()]
    return [element.text for element in every if element.tag.endswith("text")]


def test_rates_over_positions():
    texts = texts_of(
        plots.rates_over([row_of(100, 40, position=1), row_of(100, 10, position=2)], "position", "Position")
    )
    assert texts.count("Position") == 3
    assert {"Click rate", "Add to cart rate", "Purchase rate", "1", "2"} <= set(texts)


def test_many_days_are_named_now_and_then():
    rows = [row_of(100, 40, day=f"2026-01-{day:02d}") for day in range(1, 31)]
    texts = texts_of(plots.rates_over(rows, "day", "Day"))
    assert "01-01" in texts
    assert len([text for text in texts if text.startswith("01-")]) <= 3 * 10


def test_one_position_is_a_plot_too():
    panels = plots.rates_over([row_of(3, 3, position=1)], "position", "Position")
    assert [panel[:4] for panel in panels] == ["<svg"] * 3


def test_groups_are_named_whatever_their_names_are():
    long = "a-name-that-is-longer-than-a-phone-is-wide"
    panels = plots.rates_of_groups([row_of(50, 5, arm="<a> & $b$"), row_of(50, 9, arm=long)], "arm")
    texts = texts_of(panels)
    assert texts.count("<a> & $b$") == 3
    assert not any(text and long in text for text in texts)
    assert long in "".join(text or "" for text in texts), "in several lines"


def test_differences_stand_beside_the_line_of_no_difference():
    rows = [
        {"arm": arm, "baseline": "control", "rate": rate, "value": value, "low": value - 0.01, "high": value + 0.01}
        for arm, value in (("b", 0.02), ("c", -0.03))
        for rate in ("ctr", "add_to_cart_rate", "purchase_rate")
    ]
    rows[-1] |= {"value": None, "low": None, "high": None}
    texts = texts_of(plots.arm_differences(rows))
    assert {"b - control", "c - control"} <= set(texts)


def test_the_same_figures_are_the_same_plot():
    one, other = ("".join(plots.rates_over([row_of(10, 4, position=1)], "position", "")) for _ in range(2))
    ids = re.compile(r'(id|href)="[^"]*"|url\([^)]*\)')
    assert ids.sub("", one) == ids.sub("", other)
