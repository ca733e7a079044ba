"""Encoder back ends: texts to unit vectors by torch, by ONNX Runtime, or for a static encoder by numpy.

Torch and sentence-transformers are imported by the torch back end alone, ONNX Runtime by the ONNX one alone, so that a
serving image holds only what it uses. Shapes: Q texts, D embedding.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from tokenizers import Tokenizer

from lit_rec.artifacts.model_record import check_files
from lit_rec.core import schema
from lit_rec.core.errors import ModelFolderError, SettingError
from lit_rec.core.files import read_json, sha256_of_file, sha256_of_texts
from lit_rec.core.schema import Backend
from lit_rec.inference.index import Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_TOKENIZER = "tokenizer.json"
_STATIC_WEIGHTS = "model.safetensors"


class EncoderBackend(Protocol):
    """Texts to unit vectors."""

    @property
    def fingerprint(self) -> str:
        """Changes when any embedding would; never with a path."""

    def encode(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """Embeddings of texts, float32 ``(Q, D)``, of length 1."""


def load_backend(
    model_dir: str | Path, backend: Backend | str, *, device: str | None = None, batch_size: int = 64
) -> EncoderBackend:
    """The encoder of a model folder, by the back end that is asked for.

    A static encoder has no layers: ``onnx`` reads it by :class:`StaticBackend`, which needs numpy alone.

    Args:
        model_dir: a model folder; with torch also a hub id.
        backend: which.
        device: with torch, see :func:`lit_rec.core.devices.best_device`; the others compute on the CPU.
        batch_size: texts encoded at a time.

    Raises:
        ModelFolderError: it cannot be loaded.
        SettingError: the device is not there, the back end is unknown, or not one for this model.
    """
    if backend not in list(Backend):
        raise SettingError("Unknown back end", repr(backend), f"Take one of {', '.join(Backend)}")
    if backend == Backend.TORCH:
        return TorchBackend(model_dir, device=device, batch_size=batch_size)
    if device not in {None, "", "cpu"}:
        raise SettingError(f"{backend} computes on the CPU", f"device is {device!r}", "Take --backend torch, or cpu")
    if is_static_folder(Path(model_dir)):
        if backend == Backend.ONNX_INT8:
            raise SettingError("A static encoder has no layers to compute in int8", f"{model_dir} is one", "Take onnx")
        return StaticBackend(Path(model_dir))
    return OnnxBackend(Path(model_dir), int8=backend == Backend.ONNX_INT8, batch_size=batch_size)


class TorchBackend:
    """A model folder or hub id as ``SentenceTransformer`` loads it.

    Args:
        model_dir: a model folder, or a hub id.
        device: see :func:`lit_rec.core.devices.best_device`.
        batch_size: texts encoded at a time.

    Raises:
        ModelFolderError: it cannot be loaded, or its weights are not those that were exported.
        SettingError: the device is not there.
    """

    def __init__(self, model_dir: str | Path, *, device: str | None = None, batch_size: int = 64) -> None:
        from lit_rec.artifacts.pretrained import load_sentence_transformer
        from lit_rec.core.devices import best_device  # imports torch

        self.name, self.batch_size = str(model_dir), batch_size
        self.device = best_device(device)
        self.model: SentenceTransformer = load_sentence_transformer(self.name, device=self.device)
        self.fingerprint = model_fingerprint(self.model)

    def copy_truncation(self, other: "TorchBackend") -> None:
        """Cut long texts as another encoder does, so that a comparison is of the weights alone.

        Args:
            other: whose length and side are taken; where one of the two is static, and cuts nothing, nothing changes.
        """
        own, theirs = self.model.tokenizer, other.model.tokenizer
        if not (hasattr(own, "truncation_side") and hasattr(theirs, "truncation_side")):
            return
        own.truncation_side = theirs.truncation_side
        self.model.max_seq_length = min(other.model.max_seq_length, own.model_max_length)
        self.fingerprint = model_fingerprint(self.model)

    def encode(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """Embeddings of texts, float32 ``(Q, D)``, of length 1."""
        if not texts:  # sentence-transformers makes an array without a second dimension of none
            return np.empty((0, self.model.get_embedding_dimension() or 0), dtype=np.float32)
        embeddings = self.model.encode(
            list(texts),
            batch_size=self.batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=show_progress,
        )
        return np.asarray(embeddings, dtype=np.float32)


class _NumpyBackend:
    """The default prompt before each text, and texts of like length together, so that little is padded."""

    _prompt: str
    batch_size: int

    def encode(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """Embeddings of texts, float32 ``(Q, D)``, of length 1."""
        prompted = [self._prompt + text for text in texts]
        if not prompted:
            return self._encode_batch([""])[:0]
        longest_first = np.argsort([-len(text) for text in prompted], kind="stable")
        starts: Iterable[int] = range(0, len(prompted), self.batch_size)
        if show_progress:
            from rich.progress import track

            starts = track(starts, "Encoding", transient=True)
        batches = (longest_first[start : start + self.batch_size] for start in starts)
        parts = [self._encode_batch([prompted[row] for row in batch]) for batch in batches]
        embeddings = np.empty((len(prompted), parts[0].shape[1]), dtype=np.float32)
        embeddings[longest_first] = np.concatenate(parts)
        return embeddings

    def _encode_batch(self, texts: list[str]) -> Vectors:
        raise NotImplementedError


class OnnxBackend(_NumpyBackend):
    """The graph that :func:`lit_rec.packaging.onnx_export.export_onnx` wrote into a model folder, on the CPU.

    Several threads may encode at once.

    Args:
        model_dir: a model folder with ``onnx/``.
        int8: take the graph whose weights are int8. Activations are quantized by their range in a batch, so the same
            text in another batch differs in the third decimal.
        batch_size: texts encoded at a time.
        n_threads: threads of one call.

    Raises:
        ModelFolderError: it cannot be loaded.
    """

    def __init__(self, model_dir: Path, *, int8: bool = False, batch_size: int = 64, n_threads: int = 1) -> None:
        import onnxruntime

        folder = model_dir / schema.ONNX
        graph = folder / (schema.ONNX_INT8_GRAPH if int8 else schema.ONNX_GRAPH)
        for file in (graph, folder / _TOKENIZER):
            if not file.is_file():
                raise ModelFolderError(
                    f"No ONNX encoder in {model_dir}",
                    f"there is no {file.relative_to(model_dir)}",
                    "The command package writes a bundle that holds it, with --backend onnx",
                )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
            self._tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
        except Exception as error:  # each of ONNX Runtime's errors is a class of its own; tokenizers raises Exception
            raise ModelFolderError(
                f"The ONNX encoder of {model_dir} cannot be loaded", str(error).splitlines()[0], "Package it again"
            ) from error
        self._inputs = {each.name for each in self._session.get_inputs()}
        self._prompt = _default_prompt(model_dir)
        self.batch_size = batch_size
        self.fingerprint = sha256_of_texts(
            ["onnx", self._prompt, sha256_of_file(graph), sha256_of_file(folder / _TOKENIZER)]
        )

    def _encode_batch(self, texts: list[str]) -> Vectors:
        encodings = self._tokenizer.encode_batch(texts)  # truncates and pads as its file says
        columns = {
            "input_ids": [encoding.ids for encoding in encodings],
            "attention_mask": [encoding.attention_mask for encoding in encodings],
            "token_type_ids": [encoding.type_ids for encoding in encodings],
        }
        feed = {name: np.array(rows, dtype=np.int64) for name, rows in columns.items() if name in self._inputs}
        embeddings: Vectors = self._session.run(None, feed)[0]
        return embeddings


class StaticBackend(_NumpyBackend):
    """The mean of a text's token vectors; zeros for a text without a token.

    Args:
        model_dir: a model folder that :func:`is_static_folder`.

    Raises:
        ModelFolderError: it cannot be loaded, or its weights are not those that were exported.
    """

    batch_size = 1024  # bounds the tokens held at a time

    def __init__(self, model_dir: Path) -> None:
        from safetensors.numpy import load_file

        check_files(model_dir, "*.safetensors")
        try:
            self._vectors: Vectors = load_file(model_dir / _STATIC_WEIGHTS)["embedding.weight"].astype(np.float32)
            self._tokenizer = Tokenizer.from_file(str(model_dir / _TOKENIZER))
        except Exception as error:  # tokenizers raises plain Exception
            raise ModelFolderError(
                f"The static encoder of {model_dir} cannot be loaded",
                (str(error) or type(error).__name__).splitlines()[0],
                "Export it again, or take --backend torch",
            ) from error
        self._tokenizer.no_padding()
        self._prompt = _default_prompt(model_dir)
        self.fingerprint = sha256_of_texts(
            ["static", self._prompt, sha256_of_file(model_dir / _STATIC_WEIGHTS), self._tokenizer.to_str()]
        )

    def _encode_batch(self, texts: list[str]) -> Vectors:
        encodings = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        means = np.zeros((len(texts), self._vectors.shape[1]), dtype=np.float32)
        for row, encoding in enumerate(encodings):
            if encoding.ids:
                means[row] = self._vectors[encoding.ids].mean(axis=0)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        return np.asarray(means / np.maximum(lengths, np.float32(1e-12)), dtype=np.float32)  # as torch's normalize


def is_static_folder(model_dir: Path) -> bool:
    """Whether a model folder's encoder is a mean of token embeddings, normalised or not."""
    modules = _json_of(model_dir, "modules.json") or []
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
    return kinds[:1] == ["StaticEmbedding"] and set(kinds[1:]) <= {"Normalize"}


def _default_prompt(model_dir: Path) -> str:
    """What the model puts in front of every text; mostly nothing."""
    settings = _json_of(model_dir, "config_sentence_transformers.json") or {}
    return (settings.get("prompts") or {}).get(settings.get("default_prompt_name") or "") or ""


def _json_of(model_dir: Path, name: str) -> Any:  # noqa: ANN401 - whatever the file holds
    file = model_dir / name
    try:
        return read_json(file) if file.is_file() else None
    except ValueError as error:
        raise ModelFolderError(f"{file} is no JSON", str(error), "Export the model again") from error


def model_fingerprint(model: "SentenceTransformer") -> str:
    """A hash of weights, configuration, tokenizer and prompt, never of a path: changes when any embedding would."""
    settings: list[object] = [str(model), model.max_seq_length, model.truncate_dim]
    settings += [model.prompts.get(model.default_prompt_name or ""), _tokenizer_content(model)]
    settings += [getattr(model.tokenizer, "truncation_side", None), *map(_config_content, model)]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()


def _config_content(module: Any) -> dict[str, Any] | None:  # noqa: ANN401 - modules share no type
    transformer = getattr(module, "auto_model", None)
    if transformer is None:
        return None
    config: dict[str, Any] = json.loads(transformer.config.to_json_string(use_diff=False))
    return {name: value for name, value in config.items() if name not in {"_name_or_path", "transformers_version"}}


def _tokenizer_content(model: "SentenceTransformer") -> dict[str, Any] | None:
    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    if backend is None:  # a static embedding's own tokenizer, which keeps where it cuts
        to_str = getattr(model.tokenizer, "to_str", None)
        return None if to_str is None else json.loads(to_str())
    content: dict[str, Any] = json.loads(backend.to_str())
    return {name: value for name, value in content.items() if name not in {"truncation", "padding"}}  # of its last call
