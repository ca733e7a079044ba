"""A feedback report and a simulation in the terminal."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lit_rec.feedback.impressions import left_out_in_words
from lit_rec.feedback.report import RATES, STEPS, Report
from lit_rec.feedback.simulate import Simulation

_RATES = dict(zip(RATES, ("CTR", "cart rate", "purchase rate"), strict=True))
_MOST_ROWS = 31


def print_report(report: Report) -> None:
    """Print a report's tables."""
    console = Console(emoji=False, highlight=False)
    if report["n_requests"] == 0:
        span = "".join(f" {name} {report[name]}" for name in ("since", "until") if report[name])
        console.print(f"No feedback events found in {report['database']}{span}", markup=False)
    else:
        for table in _tables(report):
            console.print(table, "")
    if without_impression := sum(report["without_impression"].values()):
        console.print(f"{without_impression:,} actions on products without a reported impression are in no rate.")
    for what in left_out_in_words(report["left_out"]):
        console.print(f"Left out: {what}.", markup=False)


def print_simulation(simulation: Simulation) -> None:
    """Print what simulated users did."""
    console = Console(highlight=False)
    failed = sum(simulation.failures.values())
    console.print(f"\nGenerated: {simulation.n_answered:,} success, {failed:,} failed")
    for failure, count in simulation.failures.items():
        console.print(f"  {count:,} times {failure}", markup=False)
    counts = ", ".join(f"{simulation.events.get(name, 0):,} {label.lower()}" for name, label in STEPS.items())
    console.print(f"{counts}; {simulation.bought_shown:,} products shown were really bought")


def _tables(report: Report) -> Iterator[Table]:
    overall = report["overall"]
    rows: list[tuple[str, ...]] = [("Requests", f"{report['n_requests']:,}"), ("Users", f"{report['n_users']:,}")]
    for name, label in STEPS.items():
        unique = " (unique request and product)" if name == "impression" else ""
        rows.append((f"{label}{unique}", f"{overall[name]:,}"))
    rows += [(label, _estimate(overall["rates"][rate], ".4f")) for rate, label in _RATES.items()]
    yield _table("All", ("", ""), rows)

    for name, fewest in (("position", 1), ("model_version", 2), ("day", 2), ("arm", 2)):
        groups = report[f"by_{name}"]
        if len(groups) < fewest:  # a single model or day is the whole, which stands above
            continue
        end, some = ("last", groups[-_MOST_ROWS:]) if name == "day" else ("first", groups[:_MOST_ROWS])
        not_shown = f", the {end} {_MOST_ROWS} of {len(groups)}" if len(groups) > _MOST_ROWS else ""
        label = name.replace("_", " ")
        columns = (label, "shown", *(f"{rate}, %" for rate in _RATES.values()))
        rows = []
        for row in some:
            rates = (_estimate(row["rates"][rate], ".2f", 100) for rate in _RATES)
            rows.append((str(row[name]), f"{row['impression']:,}", *rates))
        yield _table(f"By {label}{not_shown}", columns, rows)

    if differences := report["arm_differences"]:
        rows = []
        for row in differences:
            of_baseline, of_arm = row["n_users"]
            rows.append((row["arm"], _RATES[row["rate"]], _difference(row), f"{of_arm:,} / {of_baseline:,}"))
        title = f"Differences from {differences[0]['baseline']}, whole users resampled"
        yield _table(title, ("arm", "rate", "difference", "users"), rows)

    if funnels := report["funnels"]:
        title = f"Deepest funnels, {len(funnels)} of {report['n_requests']:,} requests"
        columns = ("request", *map(str.lower, STEPS.values()))
        yield _table(title, columns, [(row["request_id"], *(f"{row[name]:,}" for name in STEPS)) for row in funnels])


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose first column holds names, which may be long and may hold brackets."""
    table = Table(
        title=escape(title),
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        collapse_padding=True,
        pad_edge=False,
        show_edge=False,
    )
    table.add_column(columns[0], overflow="fold")
    for column in columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    for name, *figures in rows:
        table.add_row(escape(name), *figures)
    return table


def _difference(row: dict[str, Any]) -> str:
    excludes_zero = row["low"] is not None and (row["low"] > 0 or row["high"] < 0)
    shown = _estimate(row, "+.4f")
    return f"[bold]{shown}[/bold]" if excludes_zero else shown


def _estimate(estimate: dict[str, Any], form: str, times: int = 1) -> str:
    if estimate["value"] is None:
        return ""
    value, low, high = (format(times * estimate[each], form) for each in ("value", "low", "high"))
    return f"{value} \\[{low}, {high}]"
