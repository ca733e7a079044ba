"""Pictures of a run and of an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from lit_rec.core.files import replaced_file

_METRICS = ("ndcg@10", "recall@10", "repeat_recall@10", "explore_recall@100")

# Okabe and Ito, Color Universal Design (2008): told apart by colour-blind readers too; yellow is too faint for lines.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_BAR, _COMPARED_BAR, _INK = "#56B4E9", "#E69F00", "#333333"
_MARKERS, _LINES = "osD^vPX", ("-", "--", ":")
_PANELS_A_ROW = 3
_LONGEST_NAME = 40


@dataclass(frozen=True)
class Bar:
    """A mean with its interval.

    Args:
        value: the mean.
        low: the interval's end below; None for no interval.
        high: the interval's end above.
    """

    value: float
    low: float | None = None
    high: float | None = None


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
    for name in _METRICS:
        right.plot([e["step"] for e in evaluations], [e[name] for e in evaluations], marker="o", label=name)
    right.set(title="Validation, whole catalogue", xlabel="step", ylim=(0, None))
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    _save(figure, file)


def metric_bars(file: Path, panels: Mapping[str, Mapping[str, Bar]], title: str, compared_with: str = "") -> None:
    """A panel of horizontal bars for each metric, one bar a method, the same method at the same height everywhere.

    Args:
        file: the PNG to write.
        panels: panel title, to method, to bar; methods from the top down in the order of the first panel.
        title: stands above all.
        compared_with: the method whose bars have another colour and whose value is drawn through the others.
    """
    methods = list(dict.fromkeys(name for bars in panels.values() for name in bars))
    n_columns = min(_PANELS_A_ROW, max(len(panels), 1))
    n_rows = -(-len(panels) // n_columns) or 1
    size = (3.4 + 3.2 * n_columns, 0.9 + n_rows * (0.9 + 0.3 * max(len(methods), 2)))
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=12)
    if compared_with:
        figure.supxlabel(f"Orange and dashed: {_short(compared_with)}, which the others are compared with", fontsize=9)
    every = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True)
    for axes in every.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (panel, bars) in zip(every.flat, panels.items(), strict=False):
        _panel(axes, panel, bars, methods, compared_with)
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
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    if curves:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    _save(figure, file)


def _panel(axes: Axes, title: str, bars: Mapping[str, Bar], methods: Sequence[str], compared_with: str) -> None:
    right = max((bar.value if bar.high is None else bar.high for bar in bars.values()), default=0.0) or 1.0
    for name, bar in bars.items():
        height = methods.index(name)
        axes.barh(height, bar.value, height=0.72, color=_COMPARED_BAR if name == compared_with else _BAR)
        if bar.low is not None and bar.high is not None:
            axes.plot([bar.low, bar.high], [height, height], color=_INK, linewidth=1.4, marker="|", markersize=6)
        end = bar.value if bar.high is None else bar.high
        number = axes.text(end + 0.03 * right, height, f"{bar.value:.3f}", va="center", fontsize=8.5, color=_INK)
        number.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # above the line drawn through
    if compared_with in bars:
        axes.axvline(bars[compared_with].value, color=_COMPARED_BAR, linewidth=1, linestyle="--", zorder=0)
    axes.set_title(title, fontsize=10)
    axes.set_yticks(range(len(methods)), [_short(name) for name in methods], fontsize=9)
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.set_xlim(0, 1.25 * right)  # room for the numbers
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


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
