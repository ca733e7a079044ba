"""What a model folder records of itself in ``lit_rec.json`` and ``ranker.json``: metrics, and hashes of its files."""

from math import isfinite
from pathlib import Path
from typing import Any

from lit_rec.core import schema
from lit_rec.core.errors import ModelFolderError, NotMeasuredError
from lit_rec.core.files import changed_files, read_json, sha256_of_file
from lit_rec.core.former_names import present_record

ENCODER, RANKER = "text encoder", "ranker"


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


def record_if_any(model_dir: Path) -> dict[str, Any]:
    """The content of ``lit_rec.json``; empty for a base model, which has none."""
    return model_record(model_dir) if (model_dir / schema.MODEL_RECORD).is_file() else {}


def check_files(model_dir: Path, pattern: str = "*") -> None:
    """Make sure that the files of a model folder are those that export wrote; older folders do not say.

    Args:
        model_dir: a model folder; a base model passes.
        pattern: check files of such names only. Hashing 90 MB of weights takes 0.2 s.

    Raises:
        ModelFolderError: one is missing or changed.
    """
    written: dict[str, str] = record_if_any(model_dir).get("sha256", {})
    checked = {name: sha256 for name, sha256 in written.items() if Path(name).match(pattern)}
    if changed := changed_files(model_dir, checked):
        raise ModelFolderError(
            f"The model folder {model_dir} is damaged",
            f"missing or changed since export: {', '.join(changed[:5])}",
            f"Export the checkpoint again, or take sha256 out of {schema.MODEL_RECORD} where the change was meant",
        )


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
    evaluations: dict[str, dict[str, float]] = record.get("metrics", {})
    # There is one an epoch; the weights are those of the step that the checkpoint was written at.
    of_weights = [values for values in evaluations.values() if values.get("step") == record.get("global_step")]
    found = {ENCODER: of_weights[-1] if of_weights else {}}
    if (model_dir / schema.RANKER).is_file():
        found[RANKER] = ranker_record(model_dir).get("metrics", {})
    finite = {
        part: {name: value for name, value in values.items() if isfinite(value) and name != "step"}
        for part, values in found.items()
    }
    return {part: values for part, values in finite.items() if values}


def metrics_to_publish(model_dir: Path, *, allow_unmeasured: bool) -> dict[str, dict[str, float]]:
    """The metrics that a model is packaged or pushed with; see :func:`recorded_metrics`.

    Args:
        model_dir: a model folder.
        allow_unmeasured: take a model without any, too.

    Raises:
        ModelFolderError: its record cannot be read, or its ranker is damaged.
        NotMeasuredError: it records none.
    """
    has_record = (model_dir / schema.MODEL_RECORD).is_file()
    metrics = recorded_metrics(model_dir) if has_record else {}
    if not metrics and not allow_unmeasured:
        none = f"{schema.MODEL_RECORD} holds none of an evaluation at the step of its weights"
        raise NotMeasuredError(
            f"{model_dir} records no metrics",
            none if has_record else f"it holds no {schema.MODEL_RECORD}",
            "Export a checkpoint that fit evaluated, or pass --allow_unmeasured true",
        )
    return metrics


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
    """The error for a ranker that cannot be loaded."""
    why = f"{type(error).__name__}: {error}".splitlines()[0]
    return ModelFolderError(f"The ranker of {model_dir} cannot be loaded", why, "Run fit_ranker again")
