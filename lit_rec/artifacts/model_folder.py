"""What a model folder says of itself: metrics, and the processed folder and catalogue that it belongs to."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from lit_rec.artifacts.pretrained import local_model
from lit_rec.core import schema
from lit_rec.core.errors import ModelFolderError, NotPreparedError, SettingError
from lit_rec.core.files import is_as_written, read_json, sha256_of_file
from lit_rec.core.former_names import present_record
from lit_rec.data.contexts import ContextForm
from lit_rec.data.processed import ProcessedFolder, find_processed_folder

logger = logging.getLogger(__name__)

ENCODER, RANKER = "text encoder", "ranker"

_DIGEST = 12  # hexadecimal digits
_SHARED = 0.5  # of the smaller of two catalogues, for them to be one at two times


def recorded_metrics(model_dir: Path) -> dict[str, dict[str, float]]:
    """Metrics of the validation queries that export and fit_ranker wrote into a model folder.

    Args:
        model_dir: a model folder.

    Returns:
        ``text encoder`` and ``ranker``, to metric name, to value; whichever of the two has any. Values that do not
        apply (NaN) are left out.

    Raises:
        ModelFolderError: there is no such folder, export did not write it, or its ranker is damaged.
    """
    record = model_record(model_dir)
    results: dict[str, dict[str, float]] = record.get("metrics", {})
    # An evaluation an epoch; the weights are those of the step that the checkpoint was written at.
    of_weights = [values for values in results.values() if values.get("step") == record.get("global_step")]
    found = {ENCODER: of_weights[-1] if of_weights else {}}
    if (model_dir / schema.RANKER).is_file():
        found[RANKER] = ranker_record(model_dir).get("metrics", {})
    finite = {
        part: {name: value for name, value in values.items() if isfinite(value) and name != "step"}
        for part, values in found.items()
    }
    return {part: values for part, values in finite.items() if values}


def model_record(model_dir: Path) -> dict[str, Any]:
    """The content of ``lit_rec.json``.

    Raises:
        ModelFolderError: there is no such folder, or export did not write it.
    """
    file = model_dir / schema.MODEL_RECORD
    if not file.is_file():
        raise ModelFolderError(
            f"No model folder at {model_dir}", f"it holds no {schema.MODEL_RECORD}", "Make one with the command export"
        )
    try:
        return present_record(read_json(file))
    except (ValueError, AttributeError) as error:
        raise ModelFolderError(f"{file} cannot be read", str(error), "Export the model again") from error


def newest_model() -> str | None:
    """The model folder ``models/*/final`` that was exported last; None where there is none."""
    found = sorted(Path("models").glob(f"*/final/{schema.MODEL_RECORD}"), key=lambda file: file.stat().st_mtime_ns)
    return str(found[-1].parent) if found else None


def processed_folder_of(models: Sequence[str], processed_dir: Path | None = None) -> ProcessedFolder:
    """The processed folder that is named, else the one that the models were trained on.

    Args:
        models: model folders or hub ids. Where none of them records a folder, as base models do, it is the newest
            one in ``processed``.
        processed_dir: a processed folder, or one that holds some (the newest is taken); None for the models' own.

    Raises:
        ModelFolderError: a model cannot be loaded.
        NotPreparedError: there is no such folder, or a model's own was prepared anew.
        SettingError: the models were trained on several.
    """
    if processed_dir is not None:
        return ProcessedFolder(find_processed_folder(processed_dir))
    own = {}
    for model in models:
        if (folder := own_processed_folder(model)) is not None:
            own[tuple(sorted(folder.sha256.items()))] = model, folder
    if len(own) > 1:
        found = ", ".join(f"{model} on {folder.path}" for model, folder in own.values())
        raise SettingError("The models were trained on different processed folders", found, "Name a --processed_dir")
    for model, folder in own.values():
        logger.info("Using %s, which %s was trained on", folder.path, model)
        return folder
    return ProcessedFolder(find_processed_folder(Path("processed")))


def own_processed_folder(model: str | Path) -> ProcessedFolder | None:
    """The processed folder that a model was trained on; None where it records none.

    Args:
        model: a model folder or a hub id.

    Raises:
        ModelFolderError: the model cannot be loaded.
        NotPreparedError: the folder is gone, or was prepared anew.
    """
    return recorded_processed_folder(str(model), _record_of_training(local_model(model)).get("data", {}))


def recorded_processed_folder(model: str, data: Mapping[str, Any]) -> ProcessedFolder | None:
    """The processed folder of a record's ``data``; see :func:`own_processed_folder`."""
    if not data.get("processed_dir"):
        return None
    folder = ProcessedFolder(Path(data["processed_dir"]))
    asked = f"{model} was trained on {folder.path}"
    if not (folder.path / schema.PARAMS).is_file():
        found = "there is no such processed folder" + ("" if folder.path.is_absolute() else f" in {Path.cwd()}")
        raise NotPreparedError(asked, found, "Run prepare as then, or name another --processed_dir of the same shop")
    if data.get("sha256") not in (None, folder.sha256):
        found = "that was prepared anew since, with other content"
        raise NotPreparedError(asked, found, "Train again, or name it as --processed_dir to take it all the same")
    return folder


def context_form(model_dir: Path) -> ContextForm:
    """How the contexts of a model are written.

    A model folder of an earlier version does not record it: it is then that of its processed folder, if that is there.

    Args:
        model_dir: a model folder.
    """
    record = _record_of_training(model_dir)
    if record.get("context"):
        return ContextForm.from_record(record["context"])
    try:
        folder = own_processed_folder(model_dir)
    except NotPreparedError as error:
        logger.warning("The model does not record how its contexts are written, so the defaults are taken: %s", error)
        return ContextForm()
    return ContextForm() if folder is None else ContextForm.from_record(folder.params)


def digests(corpus: Mapping[str, str]) -> dict[str, str]:
    """What :func:`check_catalogue` knows a product by: its id and a hash of its text."""
    return {product_id: hashlib.sha256(text.encode()).hexdigest()[:_DIGEST] for product_id, text in corpus.items()}


def check_catalogue(model_dir: Path, corpus: Mapping[str, str], name: str) -> None:
    """Refuse a catalogue that is not the model's; say what has changed in one that is.

    Products are the same by id and text. A model that records no catalogue, such as a base model, takes any.

    Args:
        model_dir: a model folder.
        corpus: product id to text.
        name: of the catalogue.

    Raises:
        ModelFolderError: too few products are shared.
    """
    trained_on = _catalogue_of(model_dir)
    if trained_on is None:
        return
    here = digests(corpus)
    known = here.keys() & trained_on.keys()
    changed = sum(trained_on[product_id] not in (None, here[product_id]) for product_id in known)
    if len(known) - changed < _SHARED * min(len(here), len(trained_on)):
        folder = _record_of_training(model_dir).get("data", {}).get("processed_dir")
        raise ModelFolderError(
            f"{name} is not the catalogue of this model",
            f"of its {len(here):,} products {len(known) - changed:,} are among the model's {len(trained_on):,}, "
            f"{changed:,} more have the id of one and another text",
            f"Name the catalogue that it was trained on{f' ({folder})' if folder else ''}, or train on this one",
        )
    differences = {
        "are new to the model": len(here) - len(known),
        "have another text than in training": changed,
        "of training are missing": len(trained_on) - len(known),
    }
    if said := [f"{number:,} {what}" for what, number in differences.items() if number]:
        logger.warning("Products of %s: %s", name, ", ".join(said))


def _catalogue_of(model_dir: Path) -> dict[str, str | None] | None:
    """Product id to digest; a model folder of an earlier version may know the ids alone, or nothing."""
    file, ranker = model_dir / schema.MODEL_CATALOGUE, model_dir / schema.RANKER
    try:
        if file.is_file():
            return dict(read_json(file))
        try:
            folder = own_processed_folder(model_dir)
        except NotPreparedError:
            folder = None
        if folder is not None:
            return dict(digests(folder.corpus))
        return dict.fromkeys(read_json(ranker)["product_ids"]) if ranker.is_file() else None
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFolderError(
            f"The catalogue of {model_dir} cannot be read", f"{type(error).__name__}: {error}", "Export it again"
        ) from error


def _record_of_training(model_dir: Path) -> dict[str, Any]:
    """``lit_rec.json``; empty of a base model."""
    return model_record(model_dir) if (model_dir / schema.MODEL_RECORD).is_file() else {}


def check_files(model_dir: Path) -> None:
    """Make sure that the files of a model folder are those that export wrote; older folders do not say.

    Raises:
        ModelFolderError: one is missing or changed.
    """
    file = model_dir / schema.MODEL_RECORD
    written: dict[str, str] = read_json(file).get("sha256", {}) if file.is_file() else {}
    if changed := [name for name, sha256 in written.items() if not is_as_written(model_dir / name, sha256)]:
        raise ModelFolderError(
            f"The model folder {model_dir} is damaged",
            f"missing or changed since export: {', '.join(changed[:5])}",
            "Export the checkpoint again",
        )


def ranker_record(model_dir: Path) -> dict[str, Any]:
    """The content of ``ranker.json``, whose weights are those that it was written with.

    Raises:
        ModelFolderError: one of the two files is missing or damaged, or they are of two trainings.
    """
    try:
        record: dict[str, Any] = read_json(model_dir / schema.RANKER)
        written = record.get("weights_sha256")  # an older version wrote none
        if written is not None and sha256_of_file(model_dir / schema.RANKER_WEIGHTS) != written:
            raise ValueError(f"{schema.RANKER_WEIGHTS} is not what {schema.RANKER} was written with")
    except (OSError, ValueError, AttributeError) as error:
        raise damaged_ranker(model_dir, error) from error
    return record


def damaged_ranker(model_dir: Path, error: Exception) -> ModelFolderError:
    """What is raised for a ranker that cannot be loaded."""
    why = f"{type(error).__name__}: {error}".splitlines()[0]
    return ModelFolderError(f"The ranker of {model_dir} cannot be loaded", why, "Run fit_ranker again")
