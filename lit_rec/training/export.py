"""A checkpoint to a model folder that plain SentenceTransformer loads; safetensors only."""

import logging
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lit_rec import __version__
from lit_rec.artifacts.model_folder import product_digests, recorded_processed_folder
from lit_rec.artifacts.model_record import ranker_record
from lit_rec.core import schema
from lit_rec.core.errors import FileError, NotPreparedError
from lit_rec.core.files import check_replaceable, replaced_when_complete, sha256_of_files, write_json
from lit_rec.data.contexts import ContextForm
from lit_rec.data.processed import ProcessedFolder
from lit_rec.models.bi_encoder import BiEncoder
from lit_rec.training.checkpoint import DATA_STATE, model_settings, no_checkpoint, read_checkpoint

logger = logging.getLogger(__name__)

_RECORDED_PACKAGES = ("torch", "lightning", "sentence-transformers", "transformers", "tokenizers")


def export_model(ckpt_path: Path, output_dir: Path, *, ranker_follows: bool = False) -> Path:
    """Write the encoder of a checkpoint with a record of how it came about.

    Args:
        ckpt_path: a checkpoint that ``fit`` wrote.
        output_dir: the model folder. One that is there is replaced; its ranker is kept where it was trained on the
            checkpoint's data.
        ranker_follows: a new ranker is about to be trained, so that one of other data is no loss.

    Returns:
        The model folder.

    Raises:
        CheckpointError: there is no such checkpoint, it is damaged or none of this project's.
        FileError: the folder cannot be written, holds something that is not ours, or a ranker of other data.
    """
    check_replaceable(output_dir, schema.MODEL_RECORD)
    content = read_checkpoint(ckpt_path)
    has_ranker = (output_dir / schema.RANKER).is_file() and not ranker_follows
    if has_ranker:
        _check_ranker_fits(output_dir, ckpt_path, content)
    try:
        model = BiEncoder(**model_settings(content))
        model.on_load_checkpoint(content)
        model.load_state_dict(content["state_dict"])
    except (KeyError, RuntimeError, TypeError) as error:
        raise no_checkpoint(ckpt_path, error) from error
    data: dict[str, Any] = content[DATA_STATE]
    trained_on = _still_there(ckpt_path, data)
    record = {
        "lit_rec_version": __version__,
        "packages": {name: version(name) for name in _RECORDED_PACKAGES},
        "checkpoint": str(ckpt_path),
        "epoch": content["epoch"],
        "global_step": content["global_step"],
        "model": model_settings(content),
        "data": {name: data.get(name) for name in ("processed_dir", "sha256")},
        "context": data.get("context") or (asdict(ContextForm.from_record(trained_on.params)) if trained_on else None),
        "metrics": content.get("callbacks", {}).get("RetrievalEvaluation", {}).get("results", {}),
    }
    with replaced_when_complete(output_dir, schema.MODEL_RECORD) as unfinished:
        model.encoder.save(unfinished)
        if trained_on is not None:
            write_json(unfinished / schema.MODEL_CATALOGUE, product_digests(trained_on.corpus))
        record["sha256"] = sha256_of_files(unfinished)
        if has_ranker:
            for name in (schema.RANKER, schema.RANKER_WEIGHTS):
                shutil.copyfile(output_dir / name, unfinished / name)
        write_json(unfinished / schema.MODEL_RECORD, record, indent=2)
    if has_ranker:
        logger.info("Kept the ranker of %s: it was trained on the same data", output_dir)
    return output_dir


def _still_there(ckpt_path: Path, data: dict[str, Any]) -> ProcessedFolder | None:
    """The processed folder of a checkpoint; a model can be exported without it, but then it knows no catalogue."""
    try:
        return recorded_processed_folder(str(ckpt_path), data)
    except NotPreparedError as error:
        logger.warning("The model folder will not know what catalogue it is of: %s", error)
        return None


def _check_ranker_fits(model_dir: Path, ckpt_path: Path, content: dict[str, Any]) -> None:
    """A ranker of the checkpoint's own data still fits: it knows nothing of the text encoder."""
    of_ranker, of_checkpoint = ranker_record(model_dir).get("data", {}), content[DATA_STATE]
    if of_ranker.get("sha256") != of_checkpoint.get("sha256"):
        raise FileError(
            f"{model_dir} holds a ranker of other data than {ckpt_path}, which export would delete",
            f"the ranker was trained on {of_ranker.get('processed_dir')}, "
            f"the checkpoint on {of_checkpoint.get('processed_dir')}",
            f"Name another --output_dir, or delete {schema.RANKER} and {schema.RANKER_WEIGHTS} if they are not needed",
        )
