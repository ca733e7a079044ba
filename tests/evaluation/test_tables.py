"""What is printed at the end of a command: figures where they belong, names as they are."""

import io
import math
from dataclasses import replace

import pytest
from rich.console import Console

from lit_rec.evaluation.report import make_report
from lit_rec.evaluation.tables import markdown, metrics_table, print_recommendations, report_tables
from lit_rec.inference.recommender import Recommendation

VALUES = {
    "untrained": {"ndcg@10": 0.1, "recall@10": 0.3, "mean_cosine": 0.9, "n_queries": 12345.0, "loss": 7.0},
    "epoch 0": {"ndcg@10": 0.25, "recall@10": 0.2, "mean_cosine": 0.1, "n_queries": 12345.0},
}


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")


def cells(table):
    """Row name to its cells, with their markup."""
    (_, table) = table.renderables
    names, *columns = (list(column.cells) for column in table.columns)
    return {name: list(row) for name, *row in zip(names, *columns, strict=True)}


def labels(table):
    return [column.header for column in table.renderables[1].columns][1:]


def drawn(table):
    console = Console(width=300)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_one_row_a_metric_one_column_a_result():
    table = metrics_table(VALUES, "Test queries")
    assert labels(table) == ["untrained", "epoch 0"]
    assert cells(table) == {
        "ndcg@10": ["0.1000", "[bold]0.2500[/bold]"],
        "recall@10": ["[bold]0.3000[/bold]", "0.2000"],
        "mean_cosine": ["0.9000", "0.1000"],  # more is not better
        "n_queries": ["12,345", "12,345"],
    }
    assert "Test queries" in drawn(table)
    assert "[bold]" not in drawn(table)


def test_equal_best_values_are_both_bold():
    table = metrics_table({"a": {"mrr@10": 0.5}, "b": {"mrr@10": 0.5}, "c": {"mrr@10": 0.4}}, "")
    assert cells(table)["mrr@10"] == ["[bold]0.5000[/bold]", "[bold]0.5000[/bold]", "0.4000"]


def test_a_value_that_is_missing_or_does_not_apply_leaves_its_cell_empty():
    results = {"a": {"ndcg@10": 0.5}, "b": {"ndcg@10": math.nan, "explore_recall@100": math.nan}, "c": {"ndcg@10": 0.1}}
    for order in (results, dict(reversed(results.items()))):
        expected = {"a": "[bold]0.5000[/bold]", "b": "", "c": "0.1000"}
        assert cells(metrics_table(order, "")) == {"ndcg@10": [expected[name] for name in order]}


@pytest.mark.parametrize("n_results", [1, 6, 7, 30])
def test_of_many_results_the_first_and_the_last_are_shown(n_results):
    results = {f"epoch {i}": {"ndcg@10": i / 100} for i in range(n_results)}
    shown = range(n_results) if n_results <= 6 else [0, *range(n_results - 5, n_results)]
    table = metrics_table(results, "")
    assert labels(table) == [f"epoch {i}" for i in shown]
    assert cells(table)["ndcg@10"][-1] == f"[bold]{(n_results - 1) / 100:.4f}[/bold]"


def test_the_best_is_the_best_of_those_shown():
    results = {f"epoch {i}": {"ndcg@10": 0.9 if i == 1 else i / 100} for i in range(8)}
    assert cells(metrics_table(results, ""))["ndcg@10"].count("[bold]0.0700[/bold]") == 1


def test_nothing_measured():
    assert cells(metrics_table({}, "none")) == {}


def test_80_columns_break_no_label_within_a_word():
    labels = ["untrained sentence-transformers/all-MiniLM-L6-v2", "models/quickstart/checkpoints/best.ckpt"]
    console = Console(width=80)
    with console.capture() as capture:
        console.print(metrics_table({label: {"explore_recall@100": 0.1} for label in labels}, ""))
    words = capture.get().replace("│", " ").replace("┃", " ").split()
    whole = {"sentence-", "transformers/all-MiniLM-", "L6-v2", "models/quickstart/", "checkpoints/best.ckpt"}
    assert whole <= set(words)


def test_labels_and_titles_are_no_markup():
    printed = drawn(metrics_table({"models/[red]/best.ckpt": {"ndcg@10": 0.1}}, "of [bold]these[/bold]"))
    assert "models/[red]/best.ckpt" in printed
    assert "of [bold]these[/bold]" in printed


def test_the_best_are_printed_in_order(capsys):
    corpus = {
        "7": "Product: Milk. Aisle: milk. Department: dairy.",
        "8": "Product: Soap. Aisle: bath. Department: home.",
    }
    best = [Recommendation("8", 0.98765, corpus["8"]), Recommendation("7", -0.5, corpus["7"])]
    print_recommendations("A title", "[+7d w4h14] Milk.", best, corpus, ["7", "no longer sold"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:2] == ["A", "title"]
    assert lines[1] == ["[+7d", "w4h14]", "Milk."]
    assert lines[3] == ["1", "8", "0.9877", *corpus["8"].split()]
    assert lines[4] == ["2", "7", "-0.5000", *corpus["7"].split(), "✓", "bought"]
    assert lines[5] == ["Really", "bought", "(2):", "✓", "Milk"]


def test_nothing_bought_nothing_said(capsys):
    print_recommendations("A title", "milk", [Recommendation("7", 0.5, "Product: Milk.")], {"7": "Product: Milk."})
    printed = capsys.readouterr().out
    assert "Product: Milk." in printed
    assert "ought" not in printed


@pytest.mark.parametrize(
    "text", ["[bold]Milk[/bold]", "[/]", "[/bold] Milk", r"Milk \[red] ", "1 :banana: Milk", "Milk \\"]
)
def test_names_are_printed_as_they_are(capsys, text):
    item = Recommendation(f"[{text}]", 0.5, f"Product: {text}. Aisle: milk. Department: dairy.")
    corpus = {item.product_id: item.product_text}
    print_recommendations(f"Title {text}", f"Context {text}", [item], corpus, [item.product_id])
    printed = capsys.readouterr().out
    for expected in (f"Title {text}", f"Context {text}", item.product_id, item.product_text, f": ✓ {text}"):
        assert expected in printed


def test_tables_name_everything_best_first(report):
    text = markdown(report | {"failed": {"broken": "SettingError: why"}})
    assert text.startswith("# 60 test queries")
    assert [text.index(f"\n| {name} |") for name in ("model", "strong", "weak")] == sorted(
        text.index(f"\n| {name} |") for name in ("model", "strong", "weak")
    )
    for part in ("Past orders", "20+ (n ", "Hyper-parameters", "SettingError: why", "**strong**"):
        assert part in text


@pytest.mark.parametrize("width", [80, 200])
def test_the_terminal_shows_whole_numbers_whatever_the_name(results, width):
    results[1] = replace(results[1], method="models/a_run_with_a_long_name/final")
    report = make_report(results, baselines=["strong"], n_resamples=300)
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(report_tables(report))
    printed = console.export_text()
    found = report["differences"]["model"]["ndcg@10"]
    assert f"{found['difference']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]*" in printed
    assert max(map(len, printed.splitlines())) <= width


def test_80_columns_show_every_metric_and_break_no_name_within_a_word(results):
    names = ["item_item_seed", "models/instacart_sample/final, encoder only", "personal_frequency"]
    results = [replace(result, method=name) for result, name in zip(results, names, strict=True)]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(report_tables(make_report(results, n_resamples=50)))
    printed = console.export_text()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line.startswith("│")]
    assert {row[0] for row in rows} == {*names[::2], "models/instacart_", "sample/final,", "encoder only"}
    further = printed.partition("Further means")[2].partition("┡")[0]
    columns = zip(*(line.split("┃")[1:-1] for line in further.splitlines() if line.startswith("┃")), strict=True)
    header = [" ".join(" ".join(column).split()) for column in columns]
    assert {"repeat recall @10", "explore recall @100", "explore filtered recall @100", "coverage @10"} <= set(header)
