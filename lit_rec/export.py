"""A checkpoint to a model folder that plain SentenceTransformer loads; safetensors only."""

import logging
import pickle
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lit_rec import __version__, schema
from lit_rec.errors import ModelFolderError, NotPreparedError
from lit_rec.files import replaced_when_complete, write_json
from lit_rec.model_folder import digests, recorded_processed_folder
from lit_rec.models.two_tower import TwoTower
from lit_rec.processed import ProcessedFolder
from lit_rec.text import ContextForm

logger = logging.getLogger(__name__)

_RECORDED_PACKAGES = ("torch", "lightning", "sentence-transformers", "transformers", "tokenizers")


def export_model(ckpt_path: Path, output_dir: Path) -> Path:
    """Write the encoder of a checkpoint with a record of how it came about.

    Args:
        ckpt_path: a checkpoint that ``fit`` wrote.
        output_dir: the model folder; replaced if it exists.

    Returns:
        The model folder.

    Raises:
        ModelFolderError: there is no such checkpoint, or it is none of this project's.
    """
    if not ckpt_path.is_file():
        raise ModelFolderError(
            f"No checkpoint at {ckpt_path}", "there is no such file", "fit writes checkpoints/best.ckpt and last.ckpt"
        )
    try:
        content: dict[str, Any] = torch.load(ckpt_path, map_location="cpu", weights_only=True)
        model = TwoTower.load_from_checkpoint(ckpt_path, map_location="cpu", weights_only=True)
    except (KeyError, RuntimeError, TypeError, EOFError, pickle.UnpicklingError) as error:
        found = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ModelFolderError(
            f"{ckpt_path} is no checkpoint of this project", found, "Name one that fit wrote"
        ) from error
    data: dict[str, Any] = content.get("NextOrderDataModule", {})
    trained_on = _still_there(ckpt_path, data)
    record = {
        "lit_rec_version": __version__,
        "packages": {name: version(name) for name in _RECORDED_PACKAGES},
        "checkpoint": str(ckpt_path),
        "epoch": content["epoch"],
        "global_step": content["global_step"],
        "model": {name: value for name, value in content["hyper_parameters"].items() if not name.startswith("_")},
        "data": {name: data.get(name) for name in ("processed_dir", "sha256")},
        "context": data.get("context") or (asdict(ContextForm.of_queries(trained_on.params)) if trained_on else None),
        "metrics": content.get("callbacks", {}).get("RetrievalEvaluation", {}).get("results", {}),
    }
    with replaced_when_complete(output_dir) as unfinished:
        model.encoder.save(unfinished)
        if trained_on is not None:
            write_json(unfinished / schema.MODEL_CATALOGUE, digests(trained_on.corpus))
        write_json(unfinished / schema.MODEL_RECORD, record, indent=2)
    return output_dir


def _still_there(ckpt_path: Path, data: dict[str, Any]) -> ProcessedFolder | None:
    """The processed folder of a checkpoint; a model can be exported without it, but then it knows no catalogue."""
    try:
        return recorded_processed_folder(str(ckpt_path), data)
    except NotPreparedError as error:
        logger.warning("The model folder will not know what catalogue it is of: %s", error)
        return None
