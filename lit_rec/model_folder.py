"""What a model folder says of itself: the metrics that its training recorded."""

from math import isfinite
from pathlib import Path
from typing import Any

from lit_rec import schema
from lit_rec.errors import ModelFolderError
from lit_rec.files import read_json

ENCODER, RANKER = "text encoder", "ranker"


def recorded_metrics(model_dir: Path) -> dict[str, dict[str, float]]:
    """Metrics of the validation queries that export and fit_ranker wrote into a model folder.

    Args:
        model_dir: a model folder.

    Returns:
        ``text encoder`` and ``ranker``, to metric name, to value; whichever of the two has any. Values that do not
        apply (NaN) are left out.

    Raises:
        ModelFolderError: there is no such folder, or export did not write it.
    """
    record = model_record(model_dir)
    results: dict[str, dict[str, float]] = record.get("metrics", {})
    # An evaluation an epoch; the weights are those of the step that the checkpoint was written at.
    of_weights = [values for values in results.values() if values.get("step") == record.get("global_step")]
    found = {ENCODER: of_weights[-1] if of_weights else {}}
    if (model_dir / schema.RANKER).is_file():
        found[RANKER] = read_json(model_dir / schema.RANKER).get("metrics", {})
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
            f"No model folder at {model_dir}", f"it holds no {schema.MODEL_RECORD}", "Make one with the verb export"
        )
    record: dict[str, Any] = read_json(file)
    return record
