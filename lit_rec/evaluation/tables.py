"""Tables of results, for a terminal of 80 columns and as markdown; and what to run next."""

import re
from collections.abc import Collection, Mapping, Sequence
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lit_rec.core.files import read_json
from lit_rec.core.next_steps import command
from lit_rec.core.schema import Split
from lit_rec.data.contexts import product_name
from lit_rec.data.processed import ProcessedFolder
from lit_rec.evaluation.report import Report, queries_of
from lit_rec.evaluation.slices import SLICES
from lit_rec.metrics.headline import CHOOSING_METRIC, HEADLINE_METRICS, TABLE_METRICS

if TYPE_CHECKING:
    from lit_rec.inference.recommender import Recommendation  # seconds to import

VALIDATION_TITLE = "Validation queries, whole catalogue"
TEST_TITLE = "Test queries, whole catalogue"

_FILTERED_METRIC = "explore_filtered_recall@100"
_FILTERED = "already bought products filtered out"
_COSTS = {
    "ms_per_query": ("ms a query", ",.2f"),
    "fit_seconds": ("seconds to fit", ",.1f"),
    "peak_gb": ("peak GB", ",.2f"),
}
_FIGURES = {"mean_cosine": ".4f", "std_cosine": ".4f", "mean_std": ".4f", "effective_rank": ".1f"}
_MAX_COLUMNS = 6
_COLUMNS_WIDTH = 57  # of a terminal of 80, beside the names of metrics
_NAME_WIDTH = 19  # that of the longest baseline; the widest table leaves little more in a terminal of 80 columns

_Rows = list[list[str]]


def metrics_table(results: Mapping[str, Mapping[str, float]], title: str) -> Group:
    """A title, and a table of one row a metric and one column a result; the best of each row is bold.

    Args:
        results: what was measured, to metric name, to value. Of many, the first and the last are shown;
            a metric that is not there, or NaN because it does not apply, leaves its cell empty.
        title: stands above.
    """
    labels = list(results)
    labels = labels if len(labels) <= _MAX_COLUMNS else [labels[0], *labels[1 - _MAX_COLUMNS :]]
    width = max(_COLUMNS_WIDTH // max(len(labels), 1) - 3, 8)
    rows = []
    for name in (*HEADLINE_METRICS, "mean_cosine", "n_queries"):
        values = [results[label].get(name, nan) for label in labels]
        known = [value for value in values if not isnan(value)]
        best = max(known, default=nan) if name in HEADLINE_METRICS else nan
        cells = [_number(value, ",.0f" if name == "n_queries" else ".4f") for value in values]
        if known:
            bold = [f"[bold]{cell}[/bold]" if v == best else cell for cell, v in zip(cells, values, strict=True)]
            rows.append([name, *bold])
    return _titled(title, _table(["", *(escape(_wrapped(label, width)) for label in labels)], rows))


def print_metrics_file(file: str) -> None:
    """Print what ``test`` wrote into a run's folder."""
    Console().print(metrics_table(read_json(Path(file)), TEST_TITLE))


def report_tables(report: Report) -> Group:
    """The report of ``evaluate`` as tables for a terminal of 80 columns; those with intervals first."""
    first = [(CHOOSING_METRIC, _about(report)), (_FILTERED_METRIC, _FILTERED)]
    return Group(
        *(
            _report_table(f"{metric}: {what}", ["", "mean", "difference"], _with_interval(report, metric))
            for metric, what in first
        ),
        f"In brackets 95 % intervals; differences from {escape(report['baseline'])}, paired; * where 0 is outside.\n",
        _report_table("Further means", *_means(report, spaced=True)),
        *(
            _report_table(f"{CHOOSING_METRIC}: {SLICES[name][0].lower()}", *_slices(report, name))
            for name in report["slices"]
        ),
        _report_table("Cost", *_cost(report)),
    )


def markdown(report: Report) -> str:
    """The report of ``evaluate`` as markdown."""
    parts = [
        f"# {_about(report)}\n",
        f"Differences from **{report['baseline']}**, * where 0 is outside; in brackets 95 % intervals, "
        f"percentile bootstrap over queries ({report['bootstrap']['n_resamples']:,} resamples), paired. "
        f"`{report.get('command', '')}`\n",
    ]
    further, means = _means(report)
    rows = [[*row, *of[1:]] for row, of in zip(_with_interval(report, CHOOSING_METRIC), means, strict=True)]
    parts += [_markdown(["", CHOOSING_METRIC, "difference", *further[1:]], rows)]
    parts += [f"## New products: {_FILTERED}\n"]
    for metric in (name for name in report["intervals"][report["baseline"]] if name.startswith("explore_filtered")):
        parts += [_markdown(["", metric, "difference"], _with_interval(report, metric))]
    for variable in report["slices"]:
        parts += [f"## {SLICES[variable][0]}: {CHOOSING_METRIC}\n", _markdown(*_slices(report, variable))]
    parts += ["## Cost\n", _markdown(*_cost(report))]
    if report["settings"]:
        parts += ["## Hyper-parameters\n", *(f"- {name}: `{of}`" for name, of in report["settings"].items()), ""]
    if report.get("failed"):
        parts += ["## Not measured\n", *(f"- {name}: {why}" for name, why in report["failed"].items()), ""]
    return "\n".join(parts)


def comparison_tables(report: Report) -> Group:
    """The report of ``compare``: metrics, the embedding report and the diagnosis, for a terminal of 80 columns."""
    models = list(report["metrics"])
    rows = [
        [name, *(_number(report["metrics"][model][name]) for model in models), _difference(found)]
        for name, found in report["differences"].items()
    ]
    embeddings = [
        [f"{what}: {figure}", *(_number(report["embedding_report"][model][what][figure], form) for model in models)]
        for what in ("products", "queries")
        for figure, form in _FIGURES.items()
    ]
    return Group(
        *(f"{model}: {escape(report[name])}" for model, name in zip(models, ("base_model", "model_dir"), strict=True)),
        "",
        _titled(
            f"{queries_of(report)}, {report['n_products']:,} products; * where 0 is outside the interval",
            _table(["", *models, "difference [95 %]"], rows),
        ),
        _titled("Embedding report", _table(["", *models], embeddings)),
        f"\n{escape(report['diagnosis'])}",
    )


def print_recommendations(
    title: str,
    context: str,
    recommendations: "Sequence[Recommendation]",
    corpus: Mapping[str, str],
    bought: Collection[str] = (),
) -> None:
    """Print a context, its recommendations, and beside them what was really bought.

    Args:
        title: stands above.
        context: the query.
        recommendations: best first.
        corpus: product id to text.
        bought: ids of the products of the held-out order; hits are marked.
    """
    console = Console(emoji=False)  # names are printed as they are
    console.rule(escape(title), align="left")
    console.print(context, markup=False, highlight=False)
    table = Table(box=None, padding=(0, 1))
    for name in ("", "product_id", "score", "recommended"):
        table.add_column(name, justify="right" if name in {"", "score"} else "left")
    for rank, item in enumerate(recommendations, 1):
        mark = " [green]✓ bought[/green]" if item.product_id in bought else ""
        reason = f" [dim]({escape(item.reason)})[/dim]" if item.reason else ""
        text = escape(item.product_text) + reason + mark
        table.add_row(str(rank), escape(item.product_id), f"{item.score:.4f}", text)
    console.print(table)
    if bought:
        recommended = {item.product_id for item in recommendations}
        names = [f"{'✓ ' if i in recommended else ''}{product_name(corpus[i])}" for i in bought if i in corpus]
        console.print(f"Really bought ({len(bought)}): {', '.join(names)}", markup=False, highlight=False)
    console.print()


def evaluate_command(folder: ProcessedFolder, *words: object) -> str:
    """Counting methods, and what is named, on the test queries; on the others where a folder has no test part."""
    queries = {split: folder.params.get(f"n_{split}_queries", 1) for split in (Split.TEST, Split.VAL)}
    split = ["--split", Split.VAL] if queries[Split.VAL] and not queries[Split.TEST] else []
    counting = ["--baselines", "popularity", "recency_frequency", "tifu_knn"]
    return command("evaluate", "--processed_dir", folder.path, *split, *words, *counting)


def ranker_commands(folder: ProcessedFolder, model_dir: Path) -> list[str]:
    """What to do with a model folder that has a ranker."""
    evaluated = [evaluate_command(folder, "--model_dir", model_dir)] if folder.queries else []
    shown = command("recommend", "--model_dir", model_dir, "--processed_dir", folder.path, "--n_samples", 3)
    return [*evaluated, shown]


def _about(report: Report) -> str:
    where = f" of {report['processed_dir']}" if "processed_dir" in report else ""
    return f"{queries_of(report)}{where}, whole catalogue"


def _best_first(report: Report) -> list[str]:
    """Methods by the choosing metric; those that it does not apply to at the end."""
    means = {name: values.get(CHOOSING_METRIC) for name, values in report["methods"].items()}
    return sorted(means, key=lambda name: float("inf") if means[name] is None else -means[name])


def _with_interval(report: Report, metric: str) -> _Rows:
    """Name, mean with its interval, and difference from the baseline."""
    rows = []
    for name in _best_first(report):
        interval = _interval(*report["intervals"][name].get(metric, (None, None)))
        mean = f"{_number(report['methods'][name].get(metric))} {interval}"
        rows.append([name, mean, _difference(report["differences"].get(name, {}).get(metric))])
    return rows


def _means(report: Report, *, spaced: bool = False) -> tuple[list[str], _Rows]:
    names = [name.replace("_", "\n").replace("@", "\n@") if spaced else name for name in TABLE_METRICS]
    rows = [[name, *(_number(report["methods"][name].get(m)) for m in TABLE_METRICS)] for name in _best_first(report)]
    return ["", *names], rows


def _slices(report: Report, variable: str) -> tuple[list[str], _Rows]:
    slices = report["slices"][variable]
    header = ["", *(f"{label}\n(n {of['n_queries']:,})" for label, of in slices.items())]
    return header, [
        [name, *(_number(of[CHOOSING_METRIC].get(name)) for of in slices.values())] for name in _best_first(report)
    ]


def _cost(report: Report) -> tuple[list[str], _Rows]:
    methods = report["methods"]
    rows = [[n, *(_number(methods[n][cost], form) for cost, (_, form) in _COSTS.items())] for n in _best_first(report)]
    return ["", *(title for title, _ in _COSTS.values())], rows


def _difference(found: Mapping[str, float | None] | None) -> str:
    """Such as ``+0.0123 [+0.0045, +0.0199]*``, with a star where 0 is outside the interval."""
    if found is None or found["difference"] is None:
        return ""
    low, high = found["low"], found["high"]
    is_clear = low is not None and high is not None and (low > 0 or high < 0)
    return f"{found['difference']:+.4f} {_interval(low, high, '+.4f')}{'*' if is_clear else ' '}"


def _interval(low: float | None, high: float | None, form: str = ".4f") -> str:
    return "" if low is None or high is None else f"[{low:{form}}, {high:{form}}]"


def _number(value: float | None, form: str = ".4f") -> str:
    return "" if value is None or isnan(value) else format(value, form)


def _markdown(header: Sequence[str], rows: _Rows) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    cells = [[cell.strip().replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n"


def _report_table(title: str, header: Sequence[str], rows: _Rows) -> Group:
    """A table whose names of methods are broken where they may be, and whose figures are whole."""
    escaped = [[escape(_wrapped(name, _NAME_WIDTH)), *map(escape, cells)] for name, *cells in rows]
    return _titled(title, _table([escape(name) for name in header], escaped))


def _titled(title: str, table: Table) -> Group:
    """A title above a table; rich's own would be broken where the table ends."""
    return Group(Text(title, style="table.title"), table)


def _table(header: Sequence[str], rows: _Rows) -> Table:
    """Names to the left and figures to the right; headers give way, except above intervals."""
    table = Table(padding=(0, 0, 0, 1))
    for column, name in enumerate(header):
        is_whole = column == 0 or any(" [" in row[column] for row in rows[:2])
        justify: Literal["right", "left"] = "right" if column else "left"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=is_whole)
    for row in rows:
        table.add_row(*row)
    return table


def _wrapped(name: str, width: int) -> str:
    r"""A name or a path as a cell of a table, broken after a word where it is longer than ``width``.

    >>> _wrapped("models/recency_frequency", 16)
    'models/recency_\nfrequency'
    """
    lines = [""]
    for word in re.findall(r"[^\\/_ -]*[\\/_ -]*", name):
        if lines[-1] and len(lines[-1]) + len(word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)
