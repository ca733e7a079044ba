"""Counts by hand, on both databases; the interval of an experiment; what the terminal says."""

from datetime import UTC, datetime, timedelta

import pytest

from lit_rec.feedback.report import make_report
from lit_rec.feedback.settings import ReportSettings
from lit_rec.metrics.intervals import wilson
from lit_rec.store.database import Exposure
from lit_rec.store.events import FeedbackEvent

FIRST_DAY = datetime(2026, 5, 1, 23, 30, tzinfo=UTC)


def sent(request, product, *kinds, hours=0):
    when = FIRST_DAY + timedelta(hours=hours)
    return [FeedbackEvent(event_type=kind, request_id=request, product_id=product, created_at=when) for kind in kinds]


@pytest.fixture
def filled(store):
    """Two requests of two products, on two days and by two models, and a purchase of something that was not shown."""
    store.record_exposures(
        [
            Exposure("r1", ["1", "2"], [0.9, 0.8], "m-1"),
            Exposure("r2", ["2", "1"], [0.9, 0.8], "m-2"),
        ]
    )
    store.record(
        [
            *sent("r1", "1", "impression", "click", "add_to_cart", "purchase"),
            *sent("r1", "2", "impression"),
            *sent("r2", "2", "impression", "click", hours=1),
            *sent("r2", "1", "impression", hours=1),
            *sent("r2", "9", "purchase", hours=1),
        ]
    )
    return store


def counts(row):
    return [row[name] for name in ("impression", "click", "add_to_cart", "purchase")]


def test_rates_are_of_unique_impressions_with_wilsons_interval(filled):
    filled.record(sent("r1", "1", "impression", hours=5))
    report = make_report(filled, ReportSettings())
    assert counts(report["overall"]) == [4, 2, 1, 1]
    for rate, successes in (("ctr", 2), ("add_to_cart_rate", 1), ("purchase_rate", 1)):
        expected = wilson(successes, 4)
        assert report["overall"]["rates"][rate] == {"value": successes / 4, "low": expected.low, "high": expected.high}


def test_what_was_not_shown_is_in_no_rate(filled):
    report = make_report(filled, ReportSettings())
    assert report["without_impression"] == {"click": 0, "add_to_cart": 0, "purchase": 1}
    assert report["n_requests"] == 2


def test_by_position_model_and_day(filled):
    report = make_report(filled, ReportSettings())
    assert [(row["position"], counts(row)) for row in report["by_position"]] == [(1, [2, 2, 1, 1]), (2, [2, 0, 0, 0])]
    models = [(row["model_version"], counts(row)) for row in report["by_model_version"]]
    assert models == [("m-1", [2, 1, 1, 1]), ("m-2", [2, 1, 0, 0])]
    assert [row["day"] for row in report["by_day"]] == ["2026-05-01", "2026-05-02"]
    assert report["by_arm"] == report["arm_differences"] == []


def test_spans(filled):
    later = FIRST_DAY + timedelta(hours=1)
    assert counts(make_report(filled, ReportSettings(since=later.isoformat()))["overall"]) == [2, 1, 0, 0]
    report = make_report(filled, ReportSettings(until=later.isoformat()))
    assert counts(report["overall"]) == [2, 1, 1, 1]
    assert (report["since"], report["until"]) == (None, "2026-05-02T00:30:00+00:00")
    nothing = make_report(filled, ReportSettings(since=(later + timedelta(days=1)).isoformat()))
    assert nothing["n_requests"] == 0
    assert nothing["overall"]["rates"]["ctr"] == {"value": None, "low": None, "high": None}


def test_the_deepest_funnels_come_first(sqlite_store):
    sqlite_store.record(
        [
            *sent("a", "1", "impression"),
            *sent("d", "1", "impression", "click"),
            *sent("c", "1", "impression", "click"),
            *sent("b", "1", "impression", "click", "add_to_cart"),
            *sent("e", "1", "click", "add_to_cart", "purchase"),
            *sent("d", "2", "impression", "click"),
        ]
    )
    funnels = make_report(sqlite_store, ReportSettings(show_funnel_sample=5))["funnels"]
    assert [funnel["request_id"] for funnel in funnels] == ["e", "b", "d", "c", "a"]
    assert counts(funnels[0]) == [0, 1, 1, 1]
    assert counts(funnels[2]) == [2, 2, 0, 0]
    assert len(make_report(sqlite_store, ReportSettings(show_funnel_sample=0))["funnels"]) == 0


@pytest.fixture
def experiment(sqlite_store):
    """Arm b is clicked by half of its 40 users, arm a by a tenth; a user is shown two products and clicks on both."""
    served, events = [], []
    for number in range(80):
        arm, clicks = ("a", number % 20 == 0) if number < 40 else ("b", number % 2 == 0)
        served.append(Exposure(f"r{number}", ["1", "2"], [0.5, 0.4], "m", arm=arm, user_id=f"u{number}"))
        for product in ("1", "2"):
            events += sent(f"r{number}", product, "impression", *(["click"] if clicks else []))
    sqlite_store.record_exposures(served)
    sqlite_store.record(events)
    return sqlite_store


def test_arms_are_compared_by_users(experiment):
    report = make_report(experiment, ReportSettings())
    assert [(row["arm"], row["impression"], row["click"]) for row in report["by_arm"]] == [("a", 80, 4), ("b", 80, 40)]
    ctr, cart, purchase = report["arm_differences"]
    assert (ctr["arm"], ctr["baseline"], ctr["rate"], ctr["n_users"]) == ("b", "a", "ctr", [40, 40])
    assert ctr["value"] == pytest.approx(0.45)
    assert 0.2 < ctr["low"] < 0.35
    assert 0.55 < ctr["high"] < 0.7
    assert cart["value"] == cart["low"] == purchase["high"] == 0


def test_control_is_what_the_others_are_compared_with(experiment):
    served = [Exposure("x", ["1"], [0.5], "m", arm="control", user_id="x")]
    experiment.record_exposures(served)
    experiment.record(sent("x", "1", "impression"))
    differences = make_report(experiment, ReportSettings())["arm_differences"]
    assert {(row["arm"], row["baseline"]) for row in differences} == {("a", "control"), ("b", "control")}


def test_the_same_seed_gives_the_same_report(experiment):
    assert make_report(experiment, ReportSettings(seed=1)) == make_report(experiment, ReportSettings(seed=1))
    assert make_report(experiment, ReportSettings(seed=1)) != make_report(experiment, ReportSettings(seed=2))
