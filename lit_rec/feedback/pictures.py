"""Plots of a feedback report, as SVG to be put into a page."""

import io
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from lit_rec.feedback.report import RATES, Report

RATE_LABELS = {"ctr": "Click", "add_to_cart_rate": "Add to cart", "purchase_rate": "Purchase"}

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
    places = range(len(rows))
    for rate, colour in _COLOURS.items():
        figure = Figure(figsize=(_WIDTH, 2.9), layout="constrained")
        axes = figure.subplots()
        estimates = [row["rates"][rate] for row in rows]
        values = [each["value"] for each in estimates]
        low, high = ([each[end] for each in estimates] for end in ("low", "high"))
        axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(places, values, color=colour, marker="o", markersize=4, linewidth=1.6)
        axes.errorbar(places, values, yerr=_reach(values, low, high), fmt="none", ecolor=colour, elinewidth=0.9)
        axes.set(title=f"{RATE_LABELS[rate]} rate", xlabel=label, ylim=(0, None))
        step = max(1, -(-len(rows) // _MOST_TICKS))
        shown = [row[name][5:] if name == "day" else str(row[name]) for row in rows]
        axes.set_xticks(list(places)[::step], shown[::step], rotation=45 if name == "day" else 0)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        _plain(axes)
        panels.append(_svg(figure))
    return panels


def rates_of_groups(rows: Sequence[Report], name: str) -> list[str]:
    """Each rate with its interval, one line a group, as dots: a panel a rate.

    Args:
        rows: ``by_arm`` or ``by_model_version`` of a report.
        name: the column that names the groups.
    """
    return _dots(
        [str(row[name]) for row in rows],
        {f"{RATE_LABELS[rate]} rate": [row["rates"][rate] for row in rows] for rate in RATES},
        sign=False,
    )


def arm_differences(rows: Sequence[Report]) -> list[str]:
    """Each arm's difference from the one it is compared with, and the line of no difference.

    Args:
        rows: ``arm_differences`` of a report.
    """
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    panels = {f"{RATE_LABELS[rate]} rate": [row for row in rows if row["rate"] == rate] for rate in RATES}
    return _dots([f"{arm} - {rows[0]['baseline']}" for arm in arms], panels, sign=True)


def _dots(names: Sequence[str], panels: Mapping[str, Sequence[Report]], *, sign: bool) -> list[str]:
    drawn = []
    for (title, rows), colour in zip(panels.items(), _COLOURS.values(), strict=True):
        figure = Figure(figsize=(_WIDTH, 1.3 + 0.34 * len(names)), layout="constrained")
        axes = figure.subplots()
        known = [(place, row) for place, row in enumerate(rows) if row["value"] is not None]
        for place, row in known:
            axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
            axes.plot(row["value"], place, color=colour, marker="o", markersize=6)
        if sign:
            axes.axvline(0, color=_INK, linewidth=1, linestyle="--")
        axes.set_title(title)
        lines = [textwrap.fill(name, _LONGEST_LINE) for name in names]
        axes.set_yticks(range(len(names)), lines, parse_math=False)  # a name may hold dollars
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        _plain(axes)
        drawn.append(_svg(figure))
    return drawn


def _reach(values: Sequence[float], low: Sequence[float], high: Sequence[float]) -> list[list[float]]:
    """How far each interval goes below and above."""
    below = [max(value - end, 0.0) for value, end in zip(values, low, strict=True)]
    return [below, [max(end - value, 0.0) for value, end in zip(values, high, strict=True)]]


def _plain(axes: Axes) -> None:
    axes.title.set_fontsize(10)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def _svg(figure: Figure) -> str:
    """The ``<svg>`` element alone; its text stays text."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    written = buffer.getvalue()
    return written[written.index("<svg") :]
