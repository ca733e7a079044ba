"""``python -m lit_rec feedback COMMAND``: what users did with the recommendations, and what is learned from it.

Heavy imports wait until a command runs, so that help comes at once.
"""

import os
import shlex
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from lit_rec.artifacts.model_folder import newest_model, processed_folder_of
from lit_rec.core.next_steps import command, config_for, print_next_steps
from lit_rec.core.schema import Split
from lit_rec.data.processed import ProcessedFolder
from lit_rec.feedback.settings import DEFAULT_DB, PairSettings, ReportSettings, SimulateSettings

SUMMARY = "What users did with the recommendations: report it, simulate it, make training pairs of it."


def report(
    settings: ReportSettings, db_path: str | None = None, json: Path | None = None, html: Path | None = None
) -> dict[str, object]:
    """Rates by unique impression with intervals, by position, model, day and arm, and the deepest funnels.

    Args:
        settings: which feedback, and how much of it is shown.
        db_path: the feedback database, a file or a URL; by default LIT_REC_FEEDBACK_DB_PATH, or data/feedback.db.
        json: write the whole report here.
        html: write a page with plots here; it needs nothing beside itself.

    Returns:
        The report.
    """
    from lit_rec.core.files import check_writable, write_json
    from lit_rec.feedback.impressions import open_for_reading
    from lit_rec.feedback.report import make_report
    from lit_rec.feedback.terminal import print_report

    check_writable(json, html)
    with closing(open_for_reading(_database(db_path))) as store:
        made = make_report(store, settings)
    print_report(made)
    next_steps = []
    if json is not None:
        write_json(json, made, indent=2)
        next_steps.append(f"less {shlex.quote(str(json))}")
    if html is not None:
        from lit_rec.feedback.html import write_page

        write_page(html, made)
        next_steps.append(f"The page: {html}")
    named = ["--db_path", db_path] if db_path else []  # not that of the environment, with its password
    print_next_steps(*(next_steps or [command("feedback", "report", *named, "--html", "report.html")]))
    return made


def simulate(
    settings: SimulateSettings,
    url: str = "http://localhost:3000",
    processed_dir: Path | None = None,
    model_dir: str | None = None,
    api_key: str | None = None,
) -> dict[str, object]:
    """Let users of a processed folder ask the running service, and act on its answers.

    Args:
        settings: who asks, and what they do.
        url: of the service.
        processed_dir: whose held-out users; by default of the folder that the model was trained on.
        model_dir: the model that is served; by default the newest models/*/final. Without one, the newest folder in
            processed is taken.
        api_key: sent as X-API-Key; by default LIT_REC_API_KEY, the first of it where it has several.

    Returns:
        What they did.
    """
    from lit_rec.feedback.simulate import simulate as run_simulation
    from lit_rec.feedback.terminal import print_simulation
    from lit_rec.feedback.users import users_of

    folder = _processed_folder(processed_dir, model_dir)
    users = users_of(folder, None if settings.split == "all" else Split(settings.split), settings.request_mode)
    key = api_key or os.environ.get("LIT_REC_API_KEY", "").partition(",")[0].strip() or None
    simulation = run_simulation(url, users, settings, key)
    print_simulation(simulation)
    database = _database(None)
    is_there = "://" in database or Path(database).is_file()
    print_next_steps(
        *([] if is_there else ["With --db_path, where the service keeps its feedback:"]),
        command("feedback", "report"),
        command("feedback", "to-pairs", "--processed_dir", folder.path),
    )
    return asdict(simulation)


def to_pairs(
    settings: PairSettings,
    db_path: str | None = None,
    processed_dir: Path | None = None,
    model_dir: str | None = None,
    output_dir: Path = Path("feedback_pairs"),
) -> Path:
    """Turn feedback into training pairs: bought or put into a cart are positives, shown and left alone hard negatives.

    Args:
        settings: which feedback, and how it is weighted.
        db_path: the feedback database, a file or a URL; by default LIT_REC_FEEDBACK_DB_PATH, or data/feedback.db.
        processed_dir: the processed folder that the pairs are trained beside, with the catalogue that was served; by
            default the one that the model was trained on.
        model_dir: the model that was served; by default the newest models/*/final. Without one, the newest folder in
            processed is taken.
        output_dir: where the pairs go. Older pairs there are replaced; a folder that holds anything else is left alone.

    Returns:
        The folder of pairs.
    """
    from lit_rec.feedback.impressions import open_for_reading
    from lit_rec.feedback.to_pairs import to_pairs as write_pairs

    folder = _processed_folder(processed_dir, model_dir)
    with closing(open_for_reading(_database(db_path))) as store:
        write_pairs(store, folder, output_dir, settings)
    data = ["--data.processed_dir", folder.path, "--data.feedback_dir", output_dir]
    print_next_steps(command("fit", *config_for(folder.params.get("source")), *data))
    return output_dir


COMMANDS: dict[str, Callable[..., object] | str] = {"report": report, "simulate": simulate, "to-pairs": to_pairs}


def _processed_folder(processed_dir: Path | None, model_dir: str | None) -> ProcessedFolder:
    model = model_dir or newest_model()
    return processed_folder_of([model] if model else [], processed_dir)


def _database(db_path: str | None) -> str:
    names = ("LIT_REC_FEEDBACK_DB_PATH", "FEEDBACK_DB_PATH")
    return db_path or next(filter(None, map(os.environ.get, names)), DEFAULT_DB)
