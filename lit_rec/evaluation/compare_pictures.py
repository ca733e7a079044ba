"""Pictures of an untrained and a trained model side by side."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter
from numpy.typing import NDArray

from lit_rec.core.files import replaced_file

Floats = NDArray[np.float32]

# Okabe and Ito, Color Universal Design (2008): told apart by colour-blind readers too.
_COLOURS = {"untrained": "#999999", "trained": "#0072B2"}


def metric_bars(file: Path, metrics: Mapping[str, Mapping[str, float]], title: str) -> None:
    """A pair of bars for each metric.

    Args:
        file: the PNG to write.
        metrics: model, to metric, to value; the metrics of the first are drawn, in their order.
        title: stands above.
    """
    names = list(next(iter(metrics.values())))
    figure = Figure(figsize=(max(6.0, 1.35 * len(names)), 4.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(metrics)
    for number, (model, values) in enumerate(metrics.items()):
        places = np.arange(len(names)) + (number - (len(metrics) - 1) / 2) * width
        bars = axes.bar(places, [values[name] for name in names], width * 0.94, label=model, color=_COLOURS[model])
        axes.bar_label(bars, fmt="%.3f", fontsize=8, padding=2)
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names], fontsize=9)
    axes.set(title=title, ylim=(0, 1.15 * max(max(values.values()) for values in metrics.values()) or 1))
    axes.tick_params(axis="x", length=0)
    axes.legend(frameon=False, loc="upper left")
    _tidy(axes)
    _save(figure, file)


def pair_cosine_histograms(file: Path, cosines: Mapping[str, Mapping[str, Floats]]) -> None:
    """A panel for products and one for queries; in each the cosines of random pairs, untrained and trained.

    Args:
        file: the PNG to write.
        cosines: what ('products', 'queries'), to model, to cosines.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    figure.suptitle("Cosine of two random texts: near 1 for all pairs is collapse")
    for axes, (what, models) in zip(figure.subplots(1, len(cosines), squeeze=False).flat, cosines.items(), strict=True):
        lowest = min(0.0, *(float(values.min()) for values in models.values()))
        bins = np.linspace(lowest, 1.0, 81)
        for model, values in models.items():
            shares = np.full(len(values), 100 / len(values))
            label = f"{model}, mean {values.mean():.2f}"
            axes.hist(values.clip(max=1.0), bins, weights=shares, alpha=0.6, label=label, color=_COLOURS[model])
            axes.axvline(float(values.mean()), 0, 0.8, color=_COLOURS[model], linewidth=1.5, linestyle="--")
        axes.set(title=what, xlabel="cosine", ylabel="% of pairs", xlim=(lowest, 1.0))
        axes.set_ylim(top=1.25 * axes.get_ylim()[1])  # room for the legend
        axes.legend(frameon=False)
        _tidy(axes)
    _save(figure, file)


def spectra(file: Path, shares: Mapping[str, Mapping[str, Floats]], ranks: Mapping[str, Mapping[str, float]]) -> None:
    """A panel for products and one for queries; in each the singular values, untrained and trained.

    Args:
        file: the PNG to write.
        shares: what, to model, to singular values as shares of their sum, largest first.
        ranks: what, to model, to effective rank.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    figure.suptitle("Singular values: a curve that falls at once uses few directions")
    for axes, (what, models) in zip(figure.subplots(1, len(shares), squeeze=False).flat, shares.items(), strict=True):
        top = max(float(values.max()) for values in models.values()) or 1.0
        for model, values in models.items():
            label = f"{model}, effective rank {ranks[what][model]:.0f}"
            axes.plot(np.arange(1, len(values) + 1), 100 * values, label=label, color=_COLOURS[model], linewidth=2)
        axes.set(title=what, xlabel="direction", ylabel="% of the sum", yscale="log", ylim=(100 * top / 1e3, 150 * top))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.legend(frameon=False)
        _tidy(axes)
    _save(figure, file)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, axis="y")
    axes.set_axisbelow(True)


def _save(figure: Figure, file: Path) -> None:
    with replaced_file(file) as unfinished:
        figure.savefig(unfinished, dpi=120, format="png")
