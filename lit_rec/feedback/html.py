"""A feedback report as one page that needs nothing beside itself."""

from pathlib import Path

from jinja2 import Environment, PackageLoader

from lit_rec.core.files import replaced_file
from lit_rec.feedback.impressions import left_out_in_words
from lit_rec.feedback.plots import RATE_LABELS, arm_differences, rates_of_groups, rates_over
from lit_rec.feedback.report import STEPS, Report


def write_page(file: Path, report: Report) -> None:
    """Write the page.

    Args:
        file: HTML to write; its folder is made.
        report: of :func:`~lit_rec.feedback.report.make_report`.
    """
    groups = []
    for name, fewest in (("position", 1), ("model_version", 2), ("day", 2)):
        rows = report[f"by_{name}"]
        if len(rows) >= fewest:  # a single model or day is the whole, which stands above
            label = name.replace("_", " ").capitalize()
            panels = rates_of_groups(rows, name) if name == "model_version" else rates_over(rows, name, label)
            groups.append({"name": name, "label": label, "rows": rows, "panels": panels})
    differences = report["arm_differences"]
    environment = Environment(loader=PackageLoader("lit_rec.feedback"), autoescape=True, trim_blocks=True)
    page = environment.get_template("report.html").render(
        report=report,
        differences=arm_differences(differences) if differences else [],
        groups=groups,
        rate_labels=RATE_LABELS,
        step_labels=STEPS,
        left_out=left_out_in_words(report["left_out"]),
    )
    with replaced_file(file) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
