"""A feedback report as one page that needs nothing beside itself."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from lit_rec.core.files import replaced_file
from lit_rec.feedback import pictures
from lit_rec.feedback.impressions import said
from lit_rec.feedback.report import Report


def write_page(file: Path, report: Report) -> None:
    """Write the page.

    Args:
        file: HTML to write; its folder is made.
        report: of :func:`~lit_rec.feedback.report.make_report`.
    """
    environment = Environment(loader=PackageLoader("lit_rec.feedback"), autoescape=True, trim_blocks=True)
    differences = pictures.arm_differences(report["arm_differences"]) if report["arm_differences"] else []
    page = environment.get_template("report.html").render(
        report=report,
        differences=differences,
        groups=_groups(report),
        rate_labels=pictures.RATE_LABELS,
        left_out=said(report["left_out"]),
    )
    with replaced_file(file) as unfinished:
        unfinished.write_text(page, encoding="utf-8")


def _groups(report: Report) -> list[dict[str, Any]]:
    """What the page shows one after another; a single model or day is the whole, which stands above."""
    groups = [("by_position", "position", 1), ("by_model_version", "model_version", 2), ("by_day", "day", 2)]
    shown = []
    for key, name, fewest in groups:
        rows = report[key]
        if len(rows) < fewest:
            continue
        label = name.replace("_", " ").capitalize()
        is_ordered = name != "model_version"
        panels = pictures.rates_over(rows, name, label) if is_ordered else pictures.rates_of_groups(rows, name)
        shown.append({"title": f"By {label.lower()}", "name": name, "label": label, "rows": rows, "panels": panels})
    return shown
