"""A feedback report and a simulation in the terminal."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lit_rec.feedback.impressions import said
from lit_rec.feedback.report import RATES, Report
from lit_rec.feedback.simulate import Simulation

_COUNTS = {"impression": "impressions", "click": "clicks", "add_to_cart": "carts", "purchase": "purchases"}
_RATES = dict(zip(RATES, ("CTR", "cart rate", "purchase rate"), strict=True))
_GROUPS = {
    "by_position": "position",
    "by_model_version": "model_version",
    "by_day": "day",
    "by_arm": "arm",
}
_MOST_ROWS = 31


def print_report(report: Report) -> None:
    """Print a report's tables."""
    console = Console(emoji=False)
    if report["n_requests"] == 0:
        span = "".join(f" {name} {report[name]}" for name in ("since", "until") if report[name])
        console.print(f"No feedback events found in {report['database']}{span}", markup=False, highlight=False)
        _say_left_out(console, report)
        return
    console.print(_aggregates(report), "")
    for group, name in _GROUPS.items():
        rows = report[group]
        if len(rows) >= (1 if group == "by_position" else 2):
            end, some = ("last", rows[-_MOST_ROWS:]) if group == "by_day" else ("first", rows[:_MOST_ROWS])
            left_out = f", the {end} {_MOST_ROWS} of {len(rows)}" if len(rows) > _MOST_ROWS else ""
            console.print(_by(f"By {name.replace('_', ' ')}{left_out}", name, some), "")
    if report["arm_differences"]:
        console.print(_differences(report["arm_differences"]), "")
    if unseen := sum(report["without_impression"].values()):
        console.print(f"{unseen:,} actions on products without a reported impression are in no rate.", highlight=False)
    _say_left_out(console, report)
    if report["funnels"]:
        title = f"Deepest funnels, {len(report['funnels'])} of {report['n_requests']:,} requests"
        console.print(_funnels(title, report["funnels"]))


def _say_left_out(console: Console, report: Report) -> None:
    for what in said(report["left_out"]):
        console.print(f"Left out: {what}.", markup=False, highlight=False)


def print_simulation(simulation: Simulation) -> None:
    """Print what simulated users did."""
    console = Console(highlight=False)
    failed = sum(simulation.failures.values())
    console.print(f"\nGenerated: {simulation.n_answered:,} success, {failed:,} failed")
    for failure, count in simulation.failures.items():
        console.print(f"  {count:,} times {failure}", markup=False)
    counts = ", ".join(f"{simulation.events.get(name, 0):,} {label}" for name, label in _COUNTS.items())
    console.print(f"{counts}; {simulation.bought_shown:,} products shown were really bought")


def _aggregates(report: Report) -> Table:
    table = _table("All", "")
    table.add_column("", justify="right")
    overall = report["overall"]
    table.add_row("Requests", f"{report['n_requests']:,}")
    table.add_row("Users", f"{report['n_users']:,}")
    for name, label in _COUNTS.items():
        unique = " (unique request and product)" if name == "impression" else ""
        table.add_row(f"{label.capitalize()}{unique}", f"{overall[name]:,}")
    for rate, label in _RATES.items():
        table.add_row(label, _rate(overall["rates"][rate], ".4f"))
    return table


def _by(title: str, name: str, rows: list[Report]) -> Table:
    table = _table(title, name.replace("_", " "))
    for label in ("shown", *(f"{rate}, %" for rate in _RATES.values())):
        table.add_column(label, justify="right", no_wrap=True)
    for row in rows:
        rates = (_rate(row["rates"][each], ".2f", 100) for each in _RATES)
        table.add_row(escape(str(row[name])), f"{row['impression']:,}", *rates)
    return table


def _table(title: str, first_column: str) -> Table:
    table = Table(
        title=escape(title),
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        collapse_padding=True,
        pad_edge=False,
        show_edge=False,
    )
    table.add_column(first_column, overflow="fold")
    return table


def _differences(rows: list[Report]) -> Table:
    table = _table("Differences between arms, whole users resampled", "arm")
    for label in ("against", "rate"):
        table.add_column(label)
    for label in ("difference", "users"):
        table.add_column(label, justify="right")
    for row in rows:
        users = " / ".join(f"{n:,}" for n in reversed(row["n_users"]))
        clear = row["low"] is not None and (row["low"] > 0 or row["high"] < 0)
        shown = _rate(row, "+.4f")
        table.add_row(
            escape(row["arm"]),
            escape(row["baseline"]),
            _RATES[row["rate"]],
            f"[bold]{shown}[/bold]" if clear else shown,
            users,
        )
    return table


def _funnels(title: str, rows: list[Report]) -> Table:
    table = _table(title, "request")
    for label in _COUNTS.values():
        table.add_column(label, justify="right")
    for row in rows:
        table.add_row(escape(row["request_id"]), *(f"{row[each]:,}" for each in _COUNTS))
    return table


def _rate(estimate: dict[str, Any], form: str, times: int = 1) -> str:
    if estimate["value"] is None:
        return ""
    value, low, high = (format(times * estimate[each], form) for each in ("value", "low", "high"))
    return f"{value} \\[{low}, {high}]"
