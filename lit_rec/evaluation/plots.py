"""Plots of a training run, of an evaluation, and of a model before and after training."""

from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from lit_rec.core.files import replaced_file
from lit_rec.evaluation.embedding_report import random_pair_cosines, singular_value_shares
from lit_rec.evaluation.report import Report, queries_of
from lit_rec.metrics.headline import CHOOSING_METRIC, CURVE_METRICS, HEADLINE_METRICS, RECALL_RANKS
from lit_rec.metrics.intervals import Estimate

METRICS_FILE, RECALL_FILE, REPEAT_FILE = "metrics.png", "recall_at_k.png", "repeat_explore.png"
COSINES_FILE, SPECTRA_FILE = "pair_cosines.png", "singular_values.png"

_METRICS = {
    "ndcg@10": "NDCG@10",
    "recall@10": "Recall@10",
    "explore_filtered_recall@100": "Recall@100 of new products,\nbought ones filtered out",
    "accuracy@10": "Accuracy@10",
    "mrr@10": "MRR@10",
    "map@100": "MAP@100",
}
_REPEAT = {
    "repeat_recall@10": "Repeat: Recall@10 of what\nhad been bought before",
    "explore_recall@10": "Explore: Recall@10 of new\nproducts, whole ranking",
    "explore_filtered_recall@10": "Explore: Recall@10 of new\nproducts, bought ones filtered out",
}

# Okabe and Ito, Color Universal Design (2008): told apart by colour-blind readers too; yellow is too faint for lines.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_BAR, _BASELINE_BAR, _INK = "#56B4E9", "#E69F00", "#333333"
_MODEL_COLOURS = {"untrained": "#999999", "trained": "#0072B2"}
_MARKERS, _LINES = "osD^vPX", ("-", "--", ":")
_PANELS_A_ROW = 3
_LONGEST_NAME = 40


def learning_curve(file: Path, losses: Sequence[tuple[int, float]], evaluations: Sequence[dict[str, float]]) -> None:
    """Training loss and validation metrics over steps, side by side.

    Args:
        file: the PNG to write.
        losses: step and training loss.
        evaluations: validation metrics, each with its ``step``.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    if losses:
        steps, values = zip(*losses, strict=True)
        left.plot(steps, values, color="0.75", linewidth=1, label="batch")
        left.plot(steps, _smoothed(values), color="C0", linewidth=2, label="smoothed")
        left.legend(frameon=False)
    left.set(title="Training loss", xlabel="step")
    for name in CURVE_METRICS:
        right.plot([e["step"] for e in evaluations], [e[name] for e in evaluations], marker="o", label=name)
    right.set(title="Validation, whole catalogue", xlabel="step", ylim=(0, None))
    right.legend(frameon=False)
    for axes in (left, right):
        _tidy(axes)
    _save(figure, file)


def metric_bars(file: Path, panels: Mapping[str, Mapping[str, Estimate]], title: str, baseline: str = "") -> None:
    """A panel of horizontal bars for each metric, one bar a method, the same method at the same height everywhere.

    Args:
        file: the PNG to write.
        panels: panel title, to method, to mean with interval; from the top down in the order of the first panel.
        title: stands above all.
        baseline: the method whose bars have another colour and whose value is drawn through the others.
    """
    methods = list(dict.fromkeys(name for bars in panels.values() for name in bars))
    n_columns = min(_PANELS_A_ROW, max(len(panels), 1))
    n_rows = -(-len(panels) // n_columns) or 1
    size = (3.4 + 3.2 * n_columns, 0.9 + n_rows * (0.9 + 0.3 * max(len(methods), 2)))
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=12)
    if baseline:
        figure.supxlabel(f"Orange and dashed: {_short(baseline)}, which the others are compared with", fontsize=9)
    every = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True)
    for axes in every.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (panel, bars) in zip(every.flat, panels.items(), strict=False):
        _panel(axes, panel, bars, methods, baseline)
    _save(figure, file)


def recall_curves(file: Path, curves: Mapping[str, Mapping[int, float]], title: str) -> None:
    """Recall over the number of products shown, one line a method.

    Args:
        file: the PNG to write.
        curves: method, to k, to mean recall; the legend keeps their order.
        title: stands above.
    """
    figure = Figure(figsize=(10, max(4.8, 1.2 + 0.26 * len(curves))), layout="constrained")
    axes = figure.subplots()
    for number, (name, curve) in enumerate(curves.items()):
        axes.plot(
            list(curve),
            list(curve.values()),
            label=_short(name),
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            linestyle=_LINES[number // len(_COLOURS) % len(_LINES)],
            markersize=5,
        )
    axes.set(title=title, xlabel="k, products shown (log scale)", ylabel="recall@k", ylim=(0, None), xscale="log")
    ranks = sorted({k for curve in curves.values() for k in curve})
    axes.set_xticks(ranks, [str(k) for k in ranks])
    axes.xaxis.set_minor_locator(NullLocator())
    _tidy(axes)
    if curves:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    _save(figure, file)


def plot_report(report: Report, folder: Path) -> None:
    """Bars of the headline metrics with 95 % intervals, recall over k, and repeat and explore apart.

    Args:
        report: of :func:`~lit_rec.evaluation.report.make_report`.
        folder: made if it is not there.
    """
    means = {name: values[CHOOSING_METRIC] or 0.0 for name, values in report["methods"].items()}
    best_first = sorted(means, key=lambda name: -means[name])
    queries = queries_of(report)

    def panels(titles: Mapping[str, str]) -> dict[str, dict[str, Estimate]]:
        """Panel title, to method, to estimate; panels of metrics that apply to no query are left out."""
        found = {
            title: {
                method: Estimate(value, *report["intervals"][method].get(metric, ()))
                for method in best_first
                if (value := report["methods"][method].get(metric)) is not None
            }
            for metric, title in titles.items()
        }
        return {title: bars for title, bars in found.items() if bars}

    title = f"{queries}, whole catalogue; 95 % intervals"
    metric_bars(folder / METRICS_FILE, panels(_METRICS), title, report["baseline"])
    curves = {
        name: {k: value for k in RECALL_RANKS if (value := report["methods"][name].get(f"recall@{k}")) is not None}
        for name in best_first
    }
    recall_curves(folder / RECALL_FILE, curves, f"Recall@k of {queries}, whole catalogue")
    title = f"Repeat and explore apart, {queries}; 95 % intervals"
    metric_bars(folder / REPEAT_FILE, panels(_REPEAT), title, report["baseline"])


def plot_comparison(
    report: Report, embeddings: Mapping[str, Mapping[str, NDArray[np.float32]]], folder: Path, seed: int = 0
) -> None:
    """An untrained and a trained model: bars of the metrics, cosines of random pairs, and singular values.

    Args:
        report: of :func:`~lit_rec.evaluation.compare.compare`.
        embeddings: what ('products', 'queries'), to model, to unit vectors ``(N, D)``.
        folder: made if it is not there.
        seed: of the pairs.
    """
    means = report["metrics"]
    panels = {name: {model: Estimate(of[name]) for model, of in means.items() if of[name]} for name in HEADLINE_METRICS}
    metric_bars(folder / METRICS_FILE, panels, f"Before and after training, {queries_of(report)}", "untrained")
    cosines = Figure(figsize=(11, 4), layout="constrained")
    cosines.suptitle("Cosine of two random texts: near 1 for all pairs is collapse")
    spectra = Figure(figsize=(11, 4), layout="constrained")
    spectra.suptitle("Singular values: a curve that falls at once uses few directions")
    for left, right, (what, of) in zip(cosines.subplots(1, 2), spectra.subplots(1, 2), embeddings.items(), strict=True):
        _cosine_histograms(left, {model: random_pair_cosines(vectors, seed=seed) for model, vectors in of.items()})
        for model, vectors in of.items():
            label = f"{model}, effective rank {report['embedding_report'][model][what]['effective_rank']:.0f}"
            shares = 100 * singular_value_shares(vectors)
            right.plot(np.arange(1, len(shares) + 1), shares, label=label, color=_MODEL_COLOURS[model], linewidth=2)
        right.set(xlabel="direction", ylabel="% of the sum", yscale="log")
        top = max(float(line.get_ydata()[0]) for line in right.lines) or 100.0
        right.set_ylim(top / 1e3, 1.5 * top)
        right.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        for axes in (left, right):
            axes.set_title(what)
            axes.legend(frameon=False)
            _tidy(axes)
    _save(cosines, folder / COSINES_FILE)
    _save(spectra, folder / SPECTRA_FILE)


def _cosine_histograms(axes: Axes, cosines: Mapping[str, NDArray[np.float32]]) -> None:
    """How often random pairs have which cosine, one histogram a model."""
    lowest = min(0.0, *(float(values.min()) for values in cosines.values()))
    bins = np.linspace(lowest, 1.0, 81).tolist()
    for model, values in cosines.items():
        colour, mean, label = _MODEL_COLOURS[model], float(values.mean()), f"{model}, mean {values.mean():.2f}"
        shares = np.full(len(values), 100 / len(values))
        axes.hist(values.clip(max=1.0), bins, weights=shares, alpha=0.6, label=label, color=colour)
        axes.axvline(mean, 0, 0.8, color=colour, linewidth=1.5, linestyle="--")
    axes.set(xlabel="cosine", ylabel="% of pairs", xlim=(lowest, 1.0))
    axes.set_ylim(top=1.25 * axes.get_ylim()[1])  # room for the legend


def _panel(axes: Axes, title: str, bars: Mapping[str, Estimate], methods: Sequence[str], baseline: str) -> None:
    right = max((_end(bar) for bar in bars.values()), default=0.0) or 1.0
    for name, bar in bars.items():
        height = methods.index(name)
        axes.barh(height, bar.value, height=0.72, color=_BASELINE_BAR if name == baseline else _BAR)
        axes.plot([bar.low, bar.high], [height, height], color=_INK, linewidth=1.4, marker="|", markersize=6)
        number = axes.text(_end(bar) + 0.03 * right, height, f"{bar.value:.3f}", va="center", fontsize=8.5, color=_INK)
        number.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # above the line drawn through
    if baseline in bars:
        axes.axvline(bars[baseline].value, color=_BASELINE_BAR, linewidth=1, linestyle="--", zorder=0)
    axes.set_title(title, fontsize=10)
    axes.set_yticks(range(len(methods)), [_short(name) for name in methods], fontsize=9)
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.set_xlim(0, 1.25 * right)  # room for the numbers
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _end(bar: Estimate) -> float:
    return bar.value if isnan(bar.high) else bar.high


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def _short(name: str) -> str:
    """A folder's path keeps its end, which is what tells it from others."""
    return name if len(name) <= _LONGEST_NAME else "…" + name[1 - _LONGEST_NAME :]


def _save(figure: Figure, file: Path) -> None:
    with replaced_file(file) as unfinished:
        figure.savefig(unfinished, dpi=120, format="png")


def _smoothed(values: Sequence[float], weight: float = 0.9) -> list[float]:
    """Exponential moving average, corrected for its start."""
    smoothed, average, norm = [], 0.0, 0.0
    for value in values:
        average, norm = weight * average + (1 - weight) * value, weight * norm + 1 - weight
        smoothed.append(average / norm)
    return smoothed
