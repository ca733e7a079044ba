"""What a model folder belongs to: the processed folder that it was trained on, its catalogue, its form of contexts."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lit_rec.artifacts.model_record import record_if_any
from lit_rec.artifacts.pretrained import local_model
from lit_rec.core import schema
from lit_rec.core.errors import CatalogueError, ModelFolderError, NotPreparedError, SettingError
from lit_rec.core.files import read_json
from lit_rec.data.contexts import ContextForm
from lit_rec.data.processed import ProcessedFolder, find_processed_folder

logger = logging.getLogger(__name__)

_DIGEST = 12  # hexadecimal digits
_SHARED = 0.5  # of the smaller of two catalogues: so much makes them one catalogue at two times


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
    return recorded_processed_folder(str(model), record_if_any(local_model(model)).get("data", {}))


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

    An older model folder does not record it: its processed folder says it, else the defaults are taken.

    Args:
        model_dir: a model folder.
    """
    record = record_if_any(model_dir)
    if record.get("context"):
        return ContextForm.from_record(record["context"])
    try:
        folder = own_processed_folder(model_dir)
    except NotPreparedError as error:
        logger.warning("The model does not record how its contexts are written, so the defaults are taken: %s", error)
        return ContextForm()
    return ContextForm() if folder is None else ContextForm.from_record(folder.params)


def product_digests(corpus: Mapping[str, str]) -> dict[str, str]:
    """Each product's id, and a hash of its text, by which :func:`check_catalogue` knows it."""
    return {product_id: hashlib.sha256(text.encode()).hexdigest()[:_DIGEST] for product_id, text in corpus.items()}


def check_catalogue(model_dir: Path, corpus: Mapping[str, str], name: str) -> None:
    """Refuse a catalogue that is not the model's; log what has changed in one that is.

    Products are the same by id and text. A model that records no catalogue, such as a base model, takes any.

    Args:
        model_dir: a model folder.
        corpus: product id to text.
        name: of the catalogue, for messages.

    Raises:
        CatalogueError: fewer than half of the products are shared.
    """
    trained_on = _catalogue_of(model_dir)
    if trained_on is None:
        return
    here = product_digests(corpus)
    known = here.keys() & trained_on.keys()
    changed = sum(trained_on[product_id] not in (None, here[product_id]) for product_id in known)
    if len(known) - changed < _SHARED * min(len(here), len(trained_on)):
        folder = record_if_any(model_dir).get("data", {}).get("processed_dir")
        raise CatalogueError(
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
    """Product id to digest; an older model folder may know the ids alone, or nothing."""
    file, ranker = model_dir / schema.MODEL_CATALOGUE, model_dir / schema.RANKER
    try:
        if file.is_file():
            return dict(read_json(file))
        try:
            folder = own_processed_folder(model_dir)
        except NotPreparedError:
            folder = None
        if folder is not None:
            return dict(product_digests(folder.corpus))
        return dict.fromkeys(read_json(ranker)["product_ids"]) if ranker.is_file() else None
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFolderError(
            f"The catalogue of {model_dir} cannot be read", f"{type(error).__name__}: {error}", "Export it again"
        ) from error
