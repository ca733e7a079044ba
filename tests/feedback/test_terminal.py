"""What a person reads: the figures of the report, and nothing where there is nothing."""

from datetime import UTC, datetime

import pytest

from lit_rec.feedback.report import make_report
from lit_rec.feedback.settings import ReportSettings
from lit_rec.feedback.simulate import Simulation
from lit_rec.feedback.terminal import print_report, print_simulation
from lit_rec.store.database import Exposure
from lit_rec.store.events import PAGE, FeedbackEvent


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")


def test_a_report(sqlite_store, capsys):
    served = [Exposure(f"r{n}", ["1"], [0.5], f"m-{n % 2}", arm="ab"[n % 2], user_id=f"[u{n}]") for n in range(1_200)]
    sqlite_store.record_exposures(served)
    events = [FeedbackEvent(event_type="impression", request_id=each.request_id, product_id="1") for each in served]
    clicks = [FeedbackEvent(event_type="click", request_id=f"r{n}", product_id="1") for n in range(300)]
    sqlite_store.record([*events, *clicks, FeedbackEvent(event_type="click", request_id="[b]x", product_id="2")])
    print_report(make_report(sqlite_store, ReportSettings()))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "Impressions (unique request and product) 1,200" in lines
    assert "CTR 0.2500 [0.2263, 0.2753]" in lines
    assert "1 1,200 25.00 [22.63, 27.53] 0.00 [0.00, 0.32] 0.00 [0.00, 0.32]" in lines
    assert any(line.startswith("m-1 600 25.00") for line in lines)
    assert any(line.startswith("b CTR +0.0000 [-0.0") and line.endswith("600 / 600") for line in lines)
    assert "1 actions on products without a reported impression are in no rate." in lines
    assert "Deepest funnels, 3 of 1,201 requests" in lines
    assert "[b]x 0 1 0 0" in lines


def test_days_beyond_a_month_are_left_out(sqlite_store, capsys):
    days = [datetime(2026, 1 + n // 28, 1 + n % 28, tzinfo=UTC) for n in range(40)]
    sqlite_store.record(
        [FeedbackEvent(event_type="impression", request_id=f"{day}", product_id="1", created_at=day) for day in days]
    )
    print_report(make_report(sqlite_store, ReportSettings()))
    printed = capsys.readouterr().out
    assert "By day, the last 31 of 40" in printed
    assert "2026-02-12" in printed
    assert "2026-01-09" not in printed


def test_of_many_positions_the_first_are_shown(sqlite_store, capsys):
    sqlite_store.record_exposures([Exposure("r", [str(n) for n in range(1, 41)], [0.5] * 40, "m")])
    sqlite_store.record(
        [FeedbackEvent(event_type="impression", request_id="r", product_id=f"{n}") for n in range(1, 41)]
    )
    print_report(make_report(sqlite_store, ReportSettings()))
    lines = [line.split()[0] for line in capsys.readouterr().out.partition("first 31 of 40")[2].splitlines()[3:34]]
    assert lines == [str(n) for n in range(1, 32)]


def test_what_is_left_out_is_said_and_counted(sqlite_store, capsys):
    of_page = {"metadata": {"source": PAGE}}
    for number in range(2):
        event = FeedbackEvent(event_type="impression", request_id=f"r{number}", product_id="1", **of_page)
        sqlite_store.record([event])
    said = "Left out: 2 events of the service's own page (--include_page true counts them)."
    print_report(make_report(sqlite_store, ReportSettings()))
    assert said in " ".join(capsys.readouterr().out.split())
    sqlite_store.record([FeedbackEvent(event_type="impression", request_id="r", product_id="1")])
    print_report(make_report(sqlite_store, ReportSettings()))
    printed = " ".join(capsys.readouterr().out.split())
    assert said in printed
    assert "Requests 1 " in printed
    print_report(make_report(sqlite_store, ReportSettings(include_page=True)))
    printed = " ".join(capsys.readouterr().out.split())
    assert "Left out" not in printed
    assert "Requests 3 " in printed


def test_no_events(sqlite_store, capsys):
    print_report(make_report(sqlite_store, ReportSettings(since="2026-01-01")))
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.startswith("No feedback events found in sqlite:///")
    assert printed.endswith("since 2026-01-01T00:00:00+00:00")


def test_a_simulation(capsys):
    print_simulation(Simulation(1_000, {"/recommend answered 500: [x]": 2}, {"impression": 10_000, "click": 3}, 7))
    printed = " ".join(capsys.readouterr().out.split())
    assert "Generated: 1,000 success, 2 failed 2 times /recommend answered 500: [x]" in printed
    assert "10,000 impressions, 3 clicks, 0 carts, 0 purchases; 7 products shown were really bought" in printed
