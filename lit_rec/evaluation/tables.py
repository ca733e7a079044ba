"""What a command prints at its end: a table, and what to run next."""

from collections.abc import Collection, Mapping, Sequence
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lit_rec.core.files import read_json
from lit_rec.core.next_steps import command
from lit_rec.core.schema import Split
from lit_rec.data.contexts import product_name, wrapped
from lit_rec.data.processed import ProcessedFolder

if TYPE_CHECKING:
    from lit_rec.inference.recommender import Recommendation  # seconds to import

VALIDATION_TITLE = "Validation queries, whole catalogue"
TEST_TITLE = "Test queries, whole catalogue"

_MAX_COLUMNS = 6
_COLUMNS_WIDTH = 57  # of a terminal of 80, beside the names of metrics
HEADLINE_METRICS = (
    "ndcg@10",
    "recall@10",
    "accuracy@10",
    "mrr@10",
    "map@100",
    "repeat_recall@10",
    "explore_recall@100",
    "mean_cosine",
)
_SHOWN = (*HEADLINE_METRICS, "n_queries")


def metrics_table(results: Mapping[str, Mapping[str, float]], title: str) -> Table:
    """One row a metric, one column a result; the best of each row is bold.

    Args:
        results: what was measured, to metric name, to value. Of many, the first and the last are shown;
            a metric that is not there, or NaN because it does not apply, leaves its cell empty.
        title: stands above.
    """
    labels = list(results)
    labels = labels if len(labels) <= _MAX_COLUMNS else [labels[0], *labels[1 - _MAX_COLUMNS :]]
    table = Table(title=escape(title), title_justify="left")
    table.add_column("")
    for label in labels:
        label = wrapped(label, max(_COLUMNS_WIDTH // len(labels) - 3, 8))
        table.add_column(escape(label), justify="right", overflow="fold")
    for name in _SHOWN:
        values = [results[label].get(name, nan) for label in labels]
        known = [value for value in values if not isnan(value)]
        if known:
            table.add_row(name, *(_cell(name, value, max(known)) for value in values))
    return table


def print_table(table: Table) -> None:
    """Print a table to the terminal."""
    Console().print(table)


def print_metrics_file(file: str) -> None:
    """Print what ``test`` wrote into a run's folder."""
    Console().print(metrics_table(read_json(Path(file)), TEST_TITLE))


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


def _cell(name: str, value: float, best: float) -> str:
    if isnan(value):
        return ""
    if name == "n_queries":
        return f"{value:,.0f}"
    shown = f"{value:.4f}"
    return f"[bold]{shown}[/bold]" if value == best and name != "mean_cosine" else shown
