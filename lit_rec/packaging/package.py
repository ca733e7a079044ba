"""Model folder and catalogue to a BentoML model, and a bento around it."""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lit_rec.artifacts.model_folder import check_files, recorded_metrics
from lit_rec.artifacts.pretrained import local_model
from lit_rec.core import schema
from lit_rec.core.errors import LitRecError, ModelFolderError, NotPreparedError, SettingError
from lit_rec.core.files import check_replaceable
from lit_rec.core.schema import Backend
from lit_rec.data.processed import ProcessedFolder
from lit_rec.packaging.bundle import MANIFEST, Bundle, write_bundle
from lit_rec.packaging.users import held_out_users

logger = logging.getLogger(__name__)

_REPOSITORY = Path(__file__).parents[2]
_TAG_LINE = "__tag__:"


@dataclass(frozen=True)
class Packaged:
    """What was made.

    Args:
        model_version: of the bundle.
        model_tag: of the BentoML model that holds it; None where there is none.
        bento_tag: of the bento; None where none was built.
    """

    model_version: str
    model_tag: str | None = None
    bento_tag: str | None = None


def package(
    model_dir: str | Path,
    corpus: Path,
    *,
    backend: Backend | str = Backend.TORCH,
    name: str | None = None,
    n_users: int = 200,
    build: bool = True,
    output_dir: Path | None = None,
    allow_unmeasured: bool = False,
) -> Packaged:
    """Write a bundle into BentoML's model store and build the bento that serves it.

    A run that fails leaves neither model nor bento.

    Args:
        model_dir: a model folder, or a hub id.
        corpus: JSON file, product id to text.
        backend: what encodes.
        name: first part of the model version; by default the model folder's.
        n_users: held-out users to try the service with, where the corpus lies in a processed folder.
        build: build a bento too.
        output_dir: write the bundle into this folder instead, without BentoML.
        allow_unmeasured: package a model that records no metrics too.

    Raises:
        LitRecError: the bento could not be built.
        FileError: the output folder cannot be written, or holds something that is not ours.
        ModelFolderError: the model cannot be loaded, or records no metrics.
        NotPreparedError: there is no corpus.
        SettingError: a setting is out of its range.
    """
    if n_users < 0:
        raise SettingError("n_users must be at least 0", f"got {n_users}")
    if backend not in list(Backend):
        raise SettingError("Unknown back end", repr(backend), f"Take one of {', '.join(Backend)}")
    if build and output_dir is None and not (_REPOSITORY / schema.BENTO_FILE).is_file():
        found = f"there is no {_REPOSITORY / schema.BENTO_FILE}"
        raise SettingError("A bento is built from a clone of the repository", found, "Run there, or pass --build false")
    if output_dir is not None:
        check_replaceable(output_dir, MANIFEST)
    folder = local_model(model_dir)
    check_files(folder)
    metrics = _metrics(folder, allow_unmeasured)
    called = name or _name_of(Path(model_dir))
    users = _users(corpus, n_users)

    def write(to: Path) -> Bundle:
        return write_bundle(folder, corpus, to, name=called, backend=Backend(backend), metrics=metrics, users=users)

    if output_dir is not None:
        return Packaged(write(output_dir).manifest["model_version"])
    with tempfile.TemporaryDirectory(prefix="lit_rec-") as scratch:
        return _into_store(write(Path(scratch) / "bundle"), build)


def _into_store(bundle: Bundle, build: bool) -> Packaged:
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # no message to its makers
    import bentoml

    version = bundle.manifest["model_version"]
    labels = {"model_version": version, "backend": str(bundle.backend)}
    with bentoml.models.create(
        schema.BENTO_NAME, labels=labels
    ) as stored:  # saved when the block ends without an error
        for item in bundle.folder.iterdir():
            shutil.move(item, stored.path)
    model_tag = str(stored.tag)
    if not build:
        return Packaged(version, model_tag)
    try:
        return Packaged(version, model_tag, _build(model_tag))
    except BaseException:
        bentoml.models.delete(model_tag)
        raise


def _build(model_tag: str) -> str:
    """Build the bento in a process of its own, which imports the service with this model."""
    command = [sys.executable, "-m", "bentoml", "build", "--output", "tag", str(_REPOSITORY)]
    environment = os.environ | {schema.BENTO_MODEL_VARIABLE: model_tag}
    if home := os.environ.get("BENTOML_HOME"):
        environment["BENTOML_HOME"] = str(Path(home).absolute())
    built = subprocess.run(  # BentoML reads nothing outside the folder that it is started in
        command, cwd=_REPOSITORY, env=environment, check=False, capture_output=True, text=True
    )
    tags = [line.removeprefix(_TAG_LINE) for line in built.stdout.splitlines() if line.startswith(_TAG_LINE)]
    if built.returncode != 0 or not tags:
        said = (built.stderr.strip() or built.stdout.strip() or "nothing was said").splitlines()
        raise LitRecError("The bento could not be built", said[-1], "Package with --build false, then: bentoml build")
    return tags[-1]


def _metrics(folder: Path, allow_unmeasured: bool) -> dict[str, dict[str, float]]:
    try:
        metrics = recorded_metrics(folder)
    except ModelFolderError:
        if not allow_unmeasured:
            raise
        metrics = {}
    if not metrics and not allow_unmeasured:
        raise ModelFolderError(
            f"{folder} records no metrics",
            f"{schema.MODEL_RECORD} holds none of an evaluation at the step of its weights",
            "Export a checkpoint that fit evaluated, or pass --allow_unmeasured true",
        )
    return metrics


def _name_of(model_dir: Path) -> str:
    folder = model_dir.resolve() if model_dir.is_dir() else Path(str(model_dir).partition("@")[0])
    return folder.parent.name if folder.name == "final" else folder.name


def _users(corpus: Path, n_users: int) -> dict[str, dict[str, object]]:
    folder = ProcessedFolder(corpus.parent)
    if not n_users or not (folder.path / schema.EVAL_HISTORY).is_dir() or corpus.name != schema.EVAL_CORPUS:
        if n_users:
            logger.info("No users: %s is not the corpus of a processed folder with histories", corpus)
        return {}
    try:
        return held_out_users(folder, n_users)
    except NotPreparedError as error:
        logger.warning("No users: %s", error)
        return {}
