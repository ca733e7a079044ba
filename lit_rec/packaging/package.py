"""Model folder and catalogue to a BentoML model, and a bento around it."""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_rec.artifacts.model_folder import processed_folder_of
from lit_rec.artifacts.model_record import check_files, metrics_to_publish
from lit_rec.artifacts.pretrained import local_model
from lit_rec.core import schema
from lit_rec.core.errors import LitRecError, NotPreparedError, SettingError
from lit_rec.core.files import check_replaceable
from lit_rec.core.schema import Backend
from lit_rec.data.processed import ProcessedFolder
from lit_rec.packaging.bundle import MANIFEST, Bundle, write_bundle
from lit_rec.packaging.settings import PackageSettings
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


def package(settings: PackageSettings) -> Packaged:
    """Write a bundle into BentoML's model store and build the bento that serves it.

    A run that fails leaves neither model nor bento.

    Args:
        settings: what is packaged, and what becomes of it.

    Raises:
        LitRecError: the bento could not be built.
        CatalogueError: the catalogue is not the model's.
        FileError: the output folder cannot be written, or holds something that is not ours.
        ModelFolderError: the model cannot be loaded.
        NotMeasuredError: it records no metrics.
        NotPreparedError: there is no corpus.
        SettingError: a bento is asked for outside the repository, or the back end is not one for this model.
    """
    if settings.output_dir is not None:
        check_replaceable(settings.output_dir, MANIFEST)
    elif settings.build and not (_REPOSITORY / schema.BENTO_FILE).is_file():
        found = f"there is no {_REPOSITORY / schema.BENTO_FILE}"
        raise SettingError("A bento is built from a clone of the repository", found, "Run there, or pass --build false")
    folder = local_model(settings.model_dir)
    check_files(folder)
    metrics = metrics_to_publish(folder, allow_unmeasured=settings.allow_unmeasured)
    corpus = settings.corpus or processed_folder_of([settings.model_dir]).path / schema.EVAL_CORPUS
    with tempfile.TemporaryDirectory(prefix="lit_rec-") as scratch:
        bundle = write_bundle(
            folder,
            corpus,
            settings.output_dir or Path(scratch) / "bundle",
            name=settings.name or _name_of(settings.model_dir),
            backend=Backend(settings.backend),
            metrics=metrics,
            users=_users(corpus, settings.n_users),
        )
        version = bundle.manifest["model_version"]
        return Packaged(version) if settings.output_dir else _into_store(bundle, version, build=settings.build)


def _into_store(bundle: Bundle, version: str, *, build: bool) -> Packaged:
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # no message to its makers
    import bentoml

    labels = {"model_version": version, "backend": str(bundle.backend)}
    # The model is in the store when the block ends without an error.
    with bentoml.models.create(schema.BENTO_NAME, labels=labels) as stored:
        for item in bundle.folder.iterdir():
            shutil.move(item, stored.path)
    model_tag = str(stored.tag)
    try:
        return Packaged(version, model_tag, _build(model_tag) if build else None)
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


def _name_of(model_dir: str) -> str:
    """The name of a model folder; of a run's ``final`` that of the run, of a hub id its second half."""
    folder = Path(model_dir).resolve() if Path(model_dir).is_dir() else Path(model_dir.partition("@")[0])
    return folder.parent.name if folder.name == "final" else folder.name


def _users(corpus: Path, n_users: int) -> dict[str, dict[str, Any]]:
    """Held-out users of the processed folder that the corpus is of; none where it is of none."""
    folder = ProcessedFolder(corpus.parent)
    if n_users == 0:
        return {}
    if corpus.name != schema.EVAL_CORPUS or not (folder.path / schema.EVAL_HISTORY).is_dir():
        logger.info("No users: %s is not the corpus of a processed folder with histories", corpus)
        return {}
    try:
        return held_out_users(folder, n_users)
    except NotPreparedError as error:
        logger.warning("No users: %s", error)
        return {}
