"""A bundle: model, catalogue, index and manifest in one folder, which is all that a service needs.

.. code-block:: text

    model/            the model folder; with ONNX its graph in place of the weights
    corpus.json       product id to text
    index/            embeddings of that corpus by that model
    users.json        optional: held-out users, for the page
    manifest.json     version, back end, metrics, packages, and a hash of every other file

Reading one imports no more than its back end.
"""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import lit_rec
from lit_rec.core import schema
from lit_rec.core.errors import BundleError, SettingError
from lit_rec.core.files import (
    changed_files,
    read_json,
    replaced_when_complete,
    sha256_of_files,
    sha256_of_texts,
    write_json,
)
from lit_rec.core.former_names import FILES
from lit_rec.core.schema import Backend
from lit_rec.data.processed import read_corpus
from lit_rec.inference.backends import is_static_folder, load_backend
from lit_rec.inference.index import load_or_build
from lit_rec.inference.recommender import Recommender

logger = logging.getLogger(__name__)

MODEL, CORPUS, INDEX, USERS, MANIFEST = "model", "corpus.json", "index", "users.json", "manifest.json"

_PACKAGES = ("numpy", "scipy", "tokenizers", "safetensors")
_PACKAGES_OF = {
    Backend.TORCH: ("torch", "transformers", "sentence-transformers"),
    Backend.ONNX: ("onnxruntime",),
    Backend.ONNX_INT8: ("onnxruntime",),
}
_WEIGHTS = ("*.safetensors", "*.bin")  # of a transformer; the ONNX graph holds them too
_VERSION_DIGITS = 12


@dataclass(frozen=True)
class Bundle:
    """A bundle, all of whose files are those that were written.

    Args:
        folder: where it is.
        manifest: the content of ``manifest.json``.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a bundle and check every file of it.

        Args:
            folder: a bundle.

        Raises:
            BundleError: it is none, or a file is missing or changed.
        """
        folder = Path(folder)
        try:
            manifest = read_json(folder / MANIFEST)
            hashes: dict[str, str] = manifest["sha256"]
            _ = manifest["model_version"], Backend(manifest["backend"]), manifest["lit_rec_source_sha256"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            why = f"{MANIFEST}: {type(error).__name__}: {error}"
            raise BundleError(f"No bundle at {folder}", why, "Write one with the command package") from error
        if changed := changed_files(folder, hashes):
            raise BundleError(
                f"The bundle {folder} is damaged", f"missing or changed: {', '.join(changed[:5])}", "Package it again"
            )
        return cls(folder, manifest)

    @property
    def model_dir(self) -> Path:
        """The model folder in it."""
        return self.folder / MODEL

    @property
    def backend(self) -> Backend:
        """The back end that encodes."""
        return Backend(self.manifest["backend"])

    @property
    def users_file(self) -> Path | None:
        """Held-out users, where the bundle has some; a bundle of version 0.1 calls the file otherwise."""
        files = [self.folder / USERS, self.folder / FILES[USERS]]
        return next((file for file in files if file.is_file()), None)

    def check_source(self) -> None:
        """Make sure that the lit_rec which serves is the one that packaged and tested the model.

        Raises:
            BundleError: it is another one.
        """
        written, found = self.manifest["lit_rec_source_sha256"], source_sha256()
        if found != written:
            raise BundleError(
                f"{self.manifest['model_version']} was packaged with another lit_rec than the one that runs",
                f"the sha256 over its source is {written}, here {found}",
                "Package the model again",
            )

    def recommender(self, device: str | None = None, batch_size: int = 64) -> Recommender:
        """Load what the bundle holds; the catalogue is not encoded again.

        Args:
            device: of the torch back end; see :class:`~lit_rec.inference.recommender.Recommender`.
            batch_size: texts encoded, and users ranked, at a time.
        """
        return Recommender(
            self.model_dir,
            self.folder / CORPUS,
            index_dir=self.folder / INDEX,
            encoder=load_backend(self.model_dir, self.backend, device=device, batch_size=batch_size),
            batch_size=batch_size,
        )


def write_bundle(
    model_dir: Path,
    corpus: Path,
    output_dir: Path,
    *,
    name: str,
    backend: Backend = Backend.TORCH,
    metrics: Mapping[str, Any] | None = None,
    users: Mapping[str, Any] | None = None,
) -> Bundle:
    """Write a bundle, whole or not at all.

    The catalogue's embeddings are kept beside the corpus too, as
    :class:`~lit_rec.inference.recommender.Recommender` does.

    Args:
        model_dir: a model folder.
        corpus: JSON file, product id to text.
        output_dir: the bundle; an older one that is there is replaced, anything else is refused.
        name: the model version's first part.
        backend: what encodes when it is served.
        metrics: of the model, for the manifest.
        users: id to user; see :mod:`lit_rec.packaging.users`.

    Raises:
        CatalogueError: the corpus is not the model's catalogue.
        ModelFolderError: the model cannot be loaded.
        NotPreparedError: there is no corpus.
        ProcessedFolderError: the corpus is something else.
        SettingError: the back end is not one for this model, or the name is none.
        FileError: the folder cannot be written, or holds something that is not ours.
    """
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise SettingError("name must be of letters, digits, dots, dashes and underscores", repr(name))
    with replaced_when_complete(output_dir, MANIFEST) as unfinished:
        read_corpus(corpus)  # says what is wrong with it, before anything takes time
        _copy_model(model_dir, unfinished / MODEL, backend)
        shutil.copyfile(corpus, unfinished / CORPUS)
        encoder = of_catalogue = load_backend(unfinished / MODEL, backend)
        if backend == Backend.ONNX_INT8:  # the catalogue is encoded once, so it need not lose what int8 does
            of_catalogue = load_backend(unfinished / MODEL, Backend.ONNX)
        # This shows that all can be loaded, and takes the embeddings kept beside the corpus, where there are any.
        loaded = Recommender(unfinished / MODEL, corpus, encoder=of_catalogue, show_progress=True)
        load_or_build(unfinished / INDEX, loaded.corpus, encoder.fingerprint, lambda _: loaded.index.embeddings)
        if backend == Backend.ONNX_INT8:
            (unfinished / MODEL / schema.ONNX / schema.ONNX_GRAPH).unlink()
        if users:
            write_json(unfinished / USERS, users)
        hashes = sha256_of_files(unfinished)
        manifest = {
            "model_version": f"{name}-{_sha256_of_hashes(hashes)[:_VERSION_DIGITS]}",
            "backend": backend,
            "lit_rec_version": lit_rec.__version__,
            "lit_rec_source_sha256": source_sha256(),
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "packages": {package: version(package) for package in (*_PACKAGES, *_PACKAGES_OF[backend])},
            "metrics": dict(metrics or {}),
            "sha256": hashes,
        }
        write_json(unfinished / MANIFEST, manifest, indent=2)
    return Bundle(output_dir, manifest)


def source_sha256(package: Path = Path(lit_rec.__file__).parent) -> str:
    """Which lit_rec this is: one hash over names and contents of the package's files, without what Python caches.

    Args:
        package: the folder of the package.
    """
    hashes = {
        name: sha256
        for name, sha256 in sha256_of_files(package).items()
        if not any(part == "__pycache__" or part.startswith(".") for part in Path(name).parts)
    }
    return _sha256_of_hashes(hashes)


def _sha256_of_hashes(hashes: Mapping[str, str]) -> str:
    return sha256_of_texts([text for item in hashes.items() for text in item])


def _copy_model(model_dir: Path, to: Path, backend: Backend) -> None:
    """The model folder, with an ONNX graph in place of the weights where one is asked for."""
    shutil.copytree(model_dir, to, ignore=lambda _, names: {name for name in names if name.startswith(".")})
    if backend == Backend.TORCH or is_static_folder(to):
        return
    from lit_rec.packaging.onnx_export import export_onnx  # imports torch

    export_onnx(to, int8=backend == Backend.ONNX_INT8)
    for pattern in _WEIGHTS:
        for file in to.glob(pattern):
            if file.name != schema.RANKER_WEIGHTS:
                file.unlink()
