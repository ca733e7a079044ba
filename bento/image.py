"""Which bundle the service holds, and the image that it runs in."""

import os
from pathlib import Path

import bentoml
import yaml
from bentoml.exceptions import BentoMLConfigException, NotFound
from bentoml.images import Image

from lit_rec.core import schema
from lit_rec.core.errors import LitRecError
from lit_rec.core.files import read_json
from lit_rec.core.schema import Backend

_HERE = Path(__file__).parent
_RECORD = _HERE.parents[1] / "bento.yaml"  # of a built bento, whose src/bento/ this file is then in

_TORCH_ON_CPU = "--extra-index-url https://download.pytorch.org/whl/cpu"


def bundle_tag() -> str | None:
    """Tag of the BentoML model that ``package`` made.

    In a built bento the one that it was built with. In a clone what ``LIT_REC_MODEL`` names, else the newest; None
    where there is none.
    """
    if _RECORD.is_file():
        services = yaml.safe_load(_RECORD.read_text(encoding="utf-8"))["services"]
        return next((str(model["tag"]) for service in services for model in service["models"]), None)
    try:
        return str(bentoml.models.get(os.environ.get(schema.BENTO_MODEL_VARIABLE) or schema.BENTO_NAME).tag)
    except NotFound:
        if schema.BENTO_MODEL_VARIABLE in os.environ:
            raise
        return None


def check_source(tag: str | None) -> None:
    """In a built bento: make sure that its lit_rec is the one that packaged its model.

    Raises:
        BentoMLConfigException: it is not.
    """
    if tag is None or not _RECORD.is_file():
        return
    from lit_rec.packaging.bundle import Bundle  # not needed by a build

    try:
        Bundle.load(bentoml.models.get(tag).path).check_source()
    except LitRecError as error:
        raise BentoMLConfigException(str(error)) from error


def serving_image(tag: str | None) -> Image:
    """Python, and what the bundle's back end needs, pinned.

    Args:
        tag: of the BentoML model; None for torch alone.
    """
    backend = Backend.TORCH if tag is None else Backend(bentoml.models.get(tag).info.labels["backend"])
    requirements = "torch" if backend == Backend.TORCH else "onnx"
    # Pinned already, and a lock would ask an index at every build. Without a distro nothing is installed by apt.
    image = Image(base_image="python:3.11-slim", distro="", python_version="3.11", lock_python_packages=False)
    if backend == Backend.TORCH:  # PyPI's own has CUDA in it, several GB
        image = image.python_packages(os.environ.get("LIT_REC_TORCH_SOURCE") or _TORCH_ON_CPU)
    lines = (_HERE / "requirements" / f"{requirements}.txt").read_text(encoding="utf-8").splitlines()
    image = image.python_packages(*(line for line in lines if not line.startswith("#")))
    command = f"sh ./src/bento/slim.sh {requirements} {_architecture(tag)}"
    return image.build_include("bento", "lit_rec").run(command)


def _architecture(tag: str | None) -> str:
    """Transformers' name of the bundle's architecture, as ``bert``; ``none`` for a static encoder."""
    config = None if tag is None else Path(bentoml.models.get(tag).path_of("model/config.json"))
    if config is None or not config.is_file():
        return "none"
    return str(read_json(config)["model_type"]).replace("-", "_")  # as xlm-roberta
