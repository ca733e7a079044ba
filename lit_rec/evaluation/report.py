"""What an evaluation found: means, intervals, paired differences, slices; as JSON, as markdown and in the terminal."""

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from lit_rec import __version__
from lit_rec.core.errors import SettingError
from lit_rec.data.contexts import wrapped
from lit_rec.evaluation.measure import PerQuery
from lit_rec.evaluation.slices import TITLES, sliced
from lit_rec.metrics.intervals import LEVEL, N_RESAMPLES, percentile_estimates, resampled_means

HEADLINE_METRICS = (
    "ndcg@10",
    "recall@10",
    "accuracy@10",
    "mrr@10",
    "map@100",
    "repeat_recall@10",
    "repeat_ndcg@10",
    "explore_recall@10",
    "explore_recall@100",
    "explore_part_recall@10",
    "explore_part_recall@100",
    "explore_part_ndcg@10",
)
"""Those that get an interval."""

SLICED_METRIC = "ndcg@10"

_CHOOSES = "ndcg@10"  # the baseline to be compared with
_COLUMNS = (
    "recall@10",
    "accuracy@10",
    "repeat_recall@10",
    "explore_recall@100",
    "explore_part_recall@100",
    "coverage@10",
)
_NAME_WIDTH = 19  # that of the longest baseline; the widest table leaves little more in a terminal of 80 columns
_EXPLORE_METRIC = "explore_part_recall@100"
_COSTS = {"ms_per_query": "{:,.2f}", "fit_seconds": "{:,.1f}", "peak_gb": "{:,.2f}"}
_PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "sentence-transformers")

Report = dict[str, Any]


def make_report(
    results: Sequence[PerQuery],
    *,
    baselines: Sequence[str] = (),
    against: str | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
) -> Report:
    """Everything that is reported of some methods on the same queries.

    Args:
        results: one a method, at least one.
        baselines: names of those that are baselines; the best of them by NDCG@10 is what others are compared with.
        against: compare with this method instead.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.
        about: further entries, such as the folder and the command.

    Returns:
        ``methods``: name to metric to value, flat (None where nothing applies); ``intervals``: name to metric to
        ``[low, high]``; ``differences`` from ``against``: name to metric to ``difference``, ``low``, ``high``;
        ``slices``, ``settings``, ``versions``, and what ``about`` holds.

    Raises:
        SettingError: no result, results on different queries, or ``against`` is none of the methods.
    """
    _check(results)
    means = {result.method: result.summary() for result in results}
    compared_with = chosen_comparison(means, baselines, against)
    metrics = [name for name in HEADLINE_METRICS if all(name in result.values for result in results)]
    intervals, differences = _uncertainty(results, metrics, compared_with, n_resamples, seed)
    return {
        **(about or {}),
        "n_queries": len(results[0]),
        "against": compared_with,
        "methods": {method: {name: _plain(value) for name, value in of.items()} for method, of in means.items()},
        "intervals": intervals,
        "differences": differences,
        "slices": sliced(results, SLICED_METRIC),
        "settings": {
            result.method: result.settings[0] if len(result.settings) == 1 else list(result.settings)
            for result in results
            if result.settings
        },
        "bootstrap": {"n_resamples": n_resamples, "seed": seed, "level": LEVEL, "method": "percentile, paired"},
        "versions": versions(),
    }


def chosen_comparison(
    means: Mapping[str, Mapping[str, float]], baselines: Sequence[str] = (), against: str | None = None
) -> str:
    """The method that the others are compared with: as asked, else the best baseline, else the first method."""
    if against is not None:
        if against not in means:
            raise SettingError(f"Cannot compare with {against!r}", f"measured were {', '.join(means)}")
        return against
    candidates = [name for name in means if name in baselines]
    return max(candidates, key=lambda name: means[name][_CHOOSES]) if candidates else next(iter(means))


def versions() -> dict[str, str]:
    """Of lit_rec, Python and what numbers depend on."""
    found = {"lit_rec": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def markdown(report: Report) -> str:
    """The report as tables to be read."""
    parts = [
        f"# {_title(report)}\n",
        f"Differences from **{report['against']}**; in brackets 95 % intervals, percentile bootstrap over queries "
        f"({report['bootstrap']['n_resamples']:,} resamples), paired. `{report.get('command', '')}`\n",
        _markdown_table(*_headline(report)),
        "## New products: the ranking without the user's own history\n",
        _markdown_table(*_explore(report)),
    ]
    for variable in report["slices"]:
        parts += [f"## {TITLES[variable]}: {SLICED_METRIC}\n", _markdown_table(*_slice_table(report, variable))]
    parts += ["## Cost\n", _markdown_table(*_cost(report))]
    if report["settings"]:
        parts += ["## Hyper-parameters\n", *(f"- {name}: `{of}`" for name, of in report["settings"].items()), ""]
    if report.get("failed"):
        parts += ["## Not measured\n", *(f"- {name}: {why}" for name, why in report["failed"].items()), ""]
    return "\n".join(parts)


def terminal_tables(report: Report) -> Group:
    """The report as tables for a terminal of 80 columns; those with intervals first."""
    return Group(
        *(
            _rich_table(f"{_spaced(metric)}, {which}", *_with_interval(report, metric))
            for metric, which in (
                (SLICED_METRIC, _title(report)),
                (_EXPLORE_METRIC, "history taken out of the ranking"),
            )
        ),
        f"In brackets 95 % intervals; differences from {report['against']}, paired; * where 0 is outside.\n",
        _rich_table("Further means", *_means(report)),
        *(
            _rich_table(f"{SLICED_METRIC}: {TITLES[name].lower()}", *_slice_table(report, name))
            for name in report["slices"]
        ),
        _rich_table("Cost", *_cost(report)),
    )


def _check(results: Sequence[PerQuery]) -> None:
    if not results:
        raise SettingError("A report is of at least one method", "got none")
    if not len(results[0]):
        raise SettingError("A report is of at least one query", "got none")
    for result in results[1:]:
        if result.query_ids != results[0].query_ids:
            raise SettingError(
                "Methods are compared on the same queries",
                f"{result.method} has others than {results[0].method}",
                "Evaluate them together",
            )


def _uncertainty(
    results: Sequence[PerQuery], metrics: Sequence[str], against: str, n_resamples: int, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Intervals of every method's means, and of the differences from one; from the same resamples."""
    columns = [result.values[metric].astype(np.float64) for result in results for metric in metrics]
    resampled = resampled_means(np.stack(columns, axis=1), n_resamples, seed)
    of_method = {
        result.method: resampled[:, start : start + len(metrics)]
        for result, start in zip(results, range(0, len(columns), len(metrics)), strict=True)
    }
    means = {result.method: result.summary() for result in results}
    intervals = {
        method: {
            name: [_plain(one.low), _plain(one.high)]
            for name, one in zip(
                metrics, percentile_estimates([means[method][m] for m in metrics], values), strict=True
            )
        }
        for method, values in of_method.items()
    }
    differences = {
        method: {
            name: one.as_json("difference")
            for name, one in zip(
                metrics,
                percentile_estimates(
                    [means[method][m] - means[against][m] for m in metrics], values - of_method[against]
                ),
                strict=True,
            )
        }
        for method, values in of_method.items()
        if method != against
    }
    return intervals, differences


def _title(report: Report) -> str:
    where = f" of {report['processed_dir']}" if "processed_dir" in report else ""
    split = {"all": "all"}.get(report.get("split", ""), report.get("split", ""))
    return f"{report['n_queries']:,} {split + ' ' if split else ''}queries{where}, whole catalogue"


_Rows = list[list[str]]


def _by_ndcg(report: Report) -> list[str]:
    """Methods, best first."""
    methods: dict[str, dict[str, float | None]] = report["methods"]
    return sorted(methods, key=lambda name: -_number(methods[name].get(_CHOOSES)))


def _with_interval(report: Report, metric: str) -> tuple[list[str], _Rows]:
    rows = []
    for name in _by_ndcg(report):
        interval = _interval(*report["intervals"][name].get(metric, (None, None)))
        mean = f"{_cell(report['methods'][name].get(metric))} {interval}"
        rows.append([name, mean, _difference(report, name, metric, mark=True)])
    return ["", _spaced(metric), "difference"], rows


def _means(report: Report) -> tuple[list[str], _Rows]:
    methods = report["methods"]
    header = ["", *(_spaced(metric).replace(" ", "\n") for metric in _COLUMNS)]  # as narrow as it can be
    return header, [[name, *(_cell(methods[name].get(metric)) for metric in _COLUMNS)] for name in _by_ndcg(report)]


def _spaced(metric: str) -> str:
    """So that a header can be broken."""
    return metric.replace("_", " ").replace("@", " @")


def _headline(report: Report) -> tuple[list[str], _Rows]:
    header = ["", "ndcg@10", "difference", *_COLUMNS]
    rows = []
    for name in _by_ndcg(report):
        of = report["methods"][name]
        first = f"{_cell(of['ndcg@10'])} {_interval(*report['intervals'][name]['ndcg@10'])}"
        rows.append([name, first, _difference(report, name, "ndcg@10"), *(_cell(of.get(m)) for m in _COLUMNS)])
    return header, rows


def _explore(report: Report) -> tuple[list[str], _Rows]:
    metrics = [name for name in report["intervals"][report["against"]] if name.startswith("explore_part")]
    header = ["", *(column for name in metrics for column in (name, "difference"))]
    rows = [
        [
            method,
            *(
                column
                for name in metrics
                for column in (
                    f"{_cell(report['methods'][method][name])} {_interval(*report['intervals'][method][name])}",
                    _difference(report, method, name),
                )
            ),
        ]
        for method in _by_ndcg(report)
    ]
    return header, rows


def _slice_table(report: Report, variable: str) -> tuple[list[str], _Rows]:
    slices = report["slices"][variable]
    header = ["", *(f"{label} (n {of['n_queries']:,})" for label, of in slices.items())]
    rows = [[m, *(_cell(of[SLICED_METRIC].get(m)) for of in slices.values())] for m in _by_ndcg(report)]
    return header, rows


def _cost(report: Report) -> tuple[list[str], _Rows]:
    header = ["", "ms a query", "seconds to fit", "peak GB"]
    methods = report["methods"]
    return header, [
        [name, *(_cell(methods[name][cost], form) for cost, form in _COSTS.items())] for name in _by_ndcg(report)
    ]


def _difference(report: Report, method: str, metric: str, *, mark: bool = False) -> str:
    found = report["differences"].get(method, {}).get(metric)
    if found is None or found["difference"] is None:
        return ""
    shown = f"{found['difference']:+.4f} {_interval(found['low'], found['high'], '+.4f')}"
    is_clear = found["low"] is not None and (found["low"] > 0 or found["high"] < 0)
    return f"{shown}{'*' if is_clear else ' '}" if mark else shown


def _interval(low: float | None, high: float | None, form: str = ".4f") -> str:
    return "" if low is None or high is None else f"[{low:{form}}, {high:{form}}]"


def _cell(value: float | None, form: str = "{:.4f}") -> str:
    return "" if value is None else form.format(value)


def _markdown_table(header: Sequence[str], rows: _Rows) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _rich_table(title: str, header: Sequence[str], rows: _Rows) -> Table:
    table = Table(title=escape(title), title_justify="left", padding=(0, 0, 0, 1))
    for column, name in enumerate(header):
        is_whole = column == 0 or any("[" in row[column] for row in rows[:2])  # the other headers give way
        justify: Literal["right", "left"] = "right" if column else "left"
        table.add_column(escape(name), justify=justify, overflow="fold", no_wrap=is_whole)
    for row in rows:
        table.add_row(escape(wrapped(row[0], _NAME_WIDTH)), *map(escape, row[1:]))
    return table


def _number(value: float | None) -> float:
    return -math.inf if value is None else value


def _plain(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else float(value)
