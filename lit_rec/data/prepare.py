"""Raw orders to a processed folder; nothing is done where it is there already."""

import logging
from dataclasses import asdict, replace
from pathlib import Path

from rich.progress import Progress

from lit_rec.core import schema
from lit_rec.core.errors import ProcessedFolderError, SettingError
from lit_rec.core.files import check_replaceable, sha256_of_file
from lit_rec.core.next_steps import command, flags
from lit_rec.data.processed import ProcessedFolder, missing_files
from lit_rec.data.processed_writer import write_processed
from lit_rec.data.settings import PrepareSettings, RawData
from lit_rec.data.sources import complete_journey, instacart, synthetic

logger = logging.getLogger(__name__)


def prepare(raw: RawData, settings: PrepareSettings, *, overwrite: bool = False) -> Path:
    """Raw files to a processed folder; one that already holds what is asked is left as it is.

    Args:
        raw: where the raw files are, and inside which folder the processed one is made. Synthetic data are generated
            first.
        settings: how pairs and queries are made.
        overwrite: replace a folder of the same name that was made from other input.

    Returns:
        The processed folder.

    Raises:
        InputError: the raw files cannot be used; every problem is reported.
        ProcessedFolderError: a folder of that name was made from other input.
        SettingError: the synthetic data in ``data_dir`` are of another size or seed, or datasets would take
            ``output_dir`` for a chain of paths.
        FileError: the folder cannot be written, or holds something that is not ours.
    """
    folder = raw.output_dir / settings.folder_name(raw.source)
    if "::" in str(folder):
        raise SettingError("A processed folder needs a path without ::", f"got {folder}", "Pass another --output_dir")
    is_there = not overwrite and (folder / schema.PARAMS).is_file()
    if is_there:
        _ = ProcessedFolder(folder).params  # says so where it is damaged
    else:
        check_replaceable(folder, schema.PARAMS)
    if raw.source == "instacart" and raw.data_dir is None:
        raw = replace(raw, data_dir=Path("data"))
    if raw.source == "synthetic":
        raw = replace(raw, data_dir=_generated(raw, settings.seed))
    reader = complete_journey if raw.source == "complete_journey" else instacart
    fingerprint = {file.name: sha256_of_file(file) for file in reader.input_files(raw.data_dir)}
    if is_there and _holds(folder, settings, raw, fingerprint):
        logger.info("%s already holds this; nothing to do (prepare --overwrite true makes it anew)", folder)
        return folder
    check_replaceable(folder, schema.PARAMS)
    provenance = {
        "source": raw.source,
        "data_dir": str(raw.data_dir) if raw.data_dir else None,
        "output_dir": str(folder),
        "input_sha256": fingerprint,
    }
    write_processed(reader.load(raw.data_dir, logger.info), settings, folder, provenance)
    return folder


def _generated(raw: RawData, seed: int) -> Path:
    """The folder of the synthetic data that are asked for; they are generated where they are not there yet."""
    n_users, n_products = raw.n_users, raw.n_products
    data_dir = raw.data_dir or Path(f"data/synthetic_u{n_users}_p{n_products}_s{seed}")
    if synthetic.holds(data_dir, n_users=n_users, n_products=n_products, seed=seed):
        logger.info("Using the users in %s", data_dir)
        return data_dir
    logger.info("Generating %s users in %s", f"{n_users:,}", data_dir)
    with Progress() as bar:
        task = bar.add_task("Generating")
        synthetic.generate(
            data_dir,
            n_users=n_users,
            n_products=n_products,
            seed=seed,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    return data_dir


def _holds(folder: Path, settings: PrepareSettings, raw: RawData, fingerprint: dict[str, str]) -> bool:
    """Whether a finished folder holds all that was asked.

    Raises:
        ProcessedFolderError: it was made from other input or settings.
    """
    record = asdict(PrepareSettings()) | ProcessedFolder(folder).params  # an older version had fewer settings
    asked = {**asdict(settings), "source": raw.source, "input_sha256": fingerprint}
    if differing := [key for key, value in asked.items() if record.get(key) != value]:
        again = command("prepare", "--source", raw.source, *flags(replace(raw, source="instacart")), *flags(settings))
        raise ProcessedFolderError(
            f"{folder} was prepared from other input or settings",
            f"{', '.join(differing)} differ",
            f"Name another output_dir to keep both, or replace it: {again} --overwrite true",
        )
    if "n_train_users" not in record:
        logger.info("%s is of an older version, without %s: making it anew", folder, schema.TRAIN_HISTORY)
        return False
    if missing := missing_files(folder, record):
        logger.info("%s lacks %s: making it anew", folder, ", ".join(missing[:5]))
        return False
    return True
