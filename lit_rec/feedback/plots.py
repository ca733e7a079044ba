"""Plots of a feedback report, as SVG to be put into a page."""

import io
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from lit_rec.feedback.report import RATES, Report

RATE_LABELS = {"ctr": "Click rate", "add_to_cart_rate": "Add to cart rate", "purchase_rate": "Purchase rate"}

# Okabe and Ito, Color Universal Design (2008).
_COLOURS = dict(zip(RATES, ("#0072B2", "#D55E00", "#009E73"), strict=True))
_INK = "#333333"
_WIDTH = 3.5  # inches of a panel: as wide as a phone, and three of them as the page
_MOST_TICKS = 10
_LONGEST_LINE = 20  # characters of a name


def rates_over(rows: Sequence[Report], name: str, label: str) -> list[str]:
    """Each rate with its interval over positions or days: a panel a rate, since their sizes differ.

    Args:
        rows: ``by_position`` or ``by_day`` of a report.
        name: the column to go over.
        label: of the axis.
    """
    panels = []
    places = list(range(len(rows)))
    every = -(-len(rows) // _MOST_TICKS)
    names = [row[name][5:] if name == "day" else str(row[name]) for row in rows]
    for rate, colour in _COLOURS.items():
        value, low, high = ([row["rates"][rate][end] for row in rows] for end in ("value", "low", "high"))
        figure, axes = _panel(RATE_LABELS[rate], 2.9)
        axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(places, value, color=colour, marker="o", markersize=4, linewidth=1.6)
        axes.vlines(places, low, high, color=colour, linewidth=0.9)
        axes.set_xlabel(label, fontsize=9)
        axes.set_ylim(0, None)
        axes.set_xticks(places[::every], names[::every], rotation=45 if name == "day" else 0)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        panels.append(_svg(figure))
    return panels


def rates_of_groups(rows: Sequence[Report], name: str) -> list[str]:
    """Each rate with its interval, one line a group, as dots: a panel a rate.

    Args:
        rows: ``by_arm`` or ``by_model_version`` of a report.
        name: the column that names the groups.
    """
    return _dots([str(row[name]) for row in rows], {rate: [row["rates"][rate] for row in rows] for rate in RATES})


def arm_differences(rows: Sequence[Report]) -> list[str]:
    """Each arm's difference from the baseline, and the line of no difference.

    Args:
        rows: ``arm_differences`` of a report.
    """
    names = [f"{arm} - {rows[0]['baseline']}" for arm in dict.fromkeys(row["arm"] for row in rows)]
    return _dots(names, {rate: [row for row in rows if row["rate"] == rate] for rate in RATES}, zero_line=True)


def _dots(names: Sequence[str], estimates: Mapping[str, Sequence[Report]], *, zero_line: bool = False) -> list[str]:
    panels = []
    for rate, rows in estimates.items():
        (figure, axes), colour = _panel(RATE_LABELS[rate], 1.3 + 0.34 * len(names)), _COLOURS[rate]
        for place, row in enumerate(rows):
            if row["value"] is not None:
                axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
                axes.plot(row["value"], place, color=colour, marker="o", markersize=6)
        if zero_line:
            axes.axvline(0, color=_INK, linewidth=1, linestyle="--")
        lines = [textwrap.fill(name, _LONGEST_LINE) for name in names]
        axes.set_yticks(range(len(names)), lines, parse_math=False)  # a name may hold dollars
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        panels.append(_svg(figure))
    return panels


def _panel(title: str, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _svg(figure: Figure) -> str:
    """The ``<svg>`` element of a plot alone; its text stays text."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    written = buffer.getvalue()
    return written[written.index("<svg") :]
