"""The pictures of an evaluation."""

from collections.abc import Sequence
from pathlib import Path

from lit_rec.evaluation.measure import RECALL_RANKS
from lit_rec.evaluation.plots import Bar, metric_bars, recall_curves
from lit_rec.evaluation.report import Report

METRICS_FILE, RECALL_FILE, REPEAT_FILE = "metrics.png", "recall_at_k.png", "repeat_explore.png"

_METRICS = {
    "ndcg@10": "NDCG@10",
    "recall@10": "Recall@10",
    "explore_part_recall@100": "Recall@100 of new products,\nhistory taken out",
    "accuracy@10": "Accuracy@10",
    "mrr@10": "MRR@10",
    "map@100": "MAP@100",
}
_REPEAT = {
    "repeat_recall@10": "Repeat: Recall@10 of what\nhad been bought before",
    "explore_recall@10": "Explore: Recall@10 of new\nproducts, whole ranking",
    "explore_part_recall@10": "Explore: Recall@10 of new\nproducts, history taken out",
}


def draw(report: Report, folder: Path) -> list[Path]:
    """Bars of the headline metrics with 95 % intervals, recall over k, and repeat and explore apart.

    Args:
        report: of :func:`~lit_rec.evaluation.report.make_report`.
        folder: made if it is not there.

    Returns:
        The files written.
    """
    ndcg = {name: values["ndcg@10"] or 0.0 for name, values in report["methods"].items()}
    best_first = sorted(ndcg, key=lambda name: -ndcg[name])
    queries = f"{report['n_queries']:,} {report.get('split', '')} queries".replace(" all ", " ").replace("  ", " ")
    whole = f"{queries}, whole catalogue"
    files = [folder / METRICS_FILE, folder / RECALL_FILE, folder / REPEAT_FILE]
    metric_bars(files[0], _bars(report, best_first, _METRICS), f"{whole}; 95 % intervals", report["against"])
    curves = {
        name: {k: value for k in RECALL_RANKS if (value := report["methods"][name].get(f"recall@{k}")) is not None}
        for name in best_first
    }
    recall_curves(files[1], curves, f"Recall@k of {whole}")
    title = f"Repeat and explore apart, {queries}; 95 % intervals"
    metric_bars(files[2], _bars(report, best_first, _REPEAT), title, report["against"])
    return files


def _bars(report: Report, methods: Sequence[str], titles: dict[str, str]) -> dict[str, dict[str, Bar]]:
    """Panel title, to method, to bar; panels of metrics that apply to no query are left out."""
    panels = {
        title: {
            method: Bar(value, *report["intervals"][method].get(metric, (None, None)))
            for method in methods
            if (value := report["methods"][method].get(metric)) is not None
        }
        for metric, title in titles.items()
    }
    return {title: bars for title, bars in panels.items() if bars}
