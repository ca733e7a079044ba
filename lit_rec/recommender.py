"""Encoder, catalogue and index behind one call: what the command line and the service use."""

import hashlib
import json
import logging
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from lit_rec import schema
from lit_rec.devices import best_device
from lit_rec.errors import NotPreparedError, ProcessedFolderError, SettingError
from lit_rec.files import read_json
from lit_rec.index import ProductIndex, Vectors, load_or_build
from lit_rec.pretrained import load_sentence_transformer

logger = logging.getLogger(__name__)

DEMO_QUERY = "[+7d w4h14] Organic Milk, Whole Wheat Bread."


@dataclass(frozen=True)
class Recommendation:
    """A product and how well it fits.

    Args:
        product_id: its id in the corpus.
        score: cosine between context and product, -1 to 1.
        product_text: its text in the corpus.
    """

    product_id: str
    score: float
    product_text: str


class Recommender:
    """Ranks a catalogue for contexts.

    Args:
        model_dir: a model folder, or a hub id.
        corpus: JSON file, product id to text; ``eval_corpus.json`` of a processed folder.
        use_index: keep the catalogue's embeddings on disk beside the corpus, and take them from there.
        device: ``cuda``, ``mps`` or ``cpu``; None to choose (``INFERENCE_DEVICE``, else the best there is).
        batch_size: texts encoded at a time.
        show_progress: show a bar while the catalogue is encoded.

    Raises:
        ModelFolderError: the model cannot be loaded.
        NotPreparedError: there is no corpus file.
        ProcessedFolderError: the corpus file is not a mapping of ids to texts.
    """

    def __init__(
        self,
        model_dir: str | Path,
        corpus: str | Path,
        *,
        use_index: bool = True,
        device: str | None = None,
        batch_size: int = 64,
        show_progress: bool = False,
    ) -> None:
        self.corpus_path = Path(corpus)
        self.corpus = read_corpus(self.corpus_path)
        self.batch_size, self.show_progress = batch_size, show_progress
        self.model: SentenceTransformer = load_sentence_transformer(str(model_dir), device=best_device(device))
        cache_dir = self.corpus_path.parent / schema.INDEX_CACHE if use_index else None
        self.index: ProductIndex = load_or_build(
            cache_dir, self.corpus, model_fingerprint(self.model), self._encode_products
        )
        self._texts = list(self.corpus.values())

    def recommend(self, query: str, top_k: int = 10, exclude_product_ids: Collection[str] = ()) -> list[Recommendation]:
        """The best products for one context.

        Args:
            query: a context string, or any text.
            top_k: how many, at least 1; fewer where the catalogue has fewer.
            exclude_product_ids: never recommend these.
        """
        return self.recommend_many([query], top_k, exclude_product_ids)[0]

    def recommend_many(
        self, queries: Sequence[str], top_k: int = 10, exclude_product_ids: Collection[str] = ()
    ) -> list[list[Recommendation]]:
        """The best products for each of several contexts; see :meth:`recommend`."""
        if top_k < 1:
            raise SettingError("top_k must be at least 1", f"got {top_k}")
        if not queries:
            return []
        excluded = frozenset(exclude_product_ids)
        scores, ranked = self.index.search(self._encode(queries), top_k + len(excluded))
        answers = []
        for row_scores, row in zip(scores.tolist(), ranked.tolist(), strict=True):
            found = (
                Recommendation(self.index.product_ids[p], s, self._texts[p])
                for s, p in zip(row_scores, row, strict=True)
            )
            answers.append([item for item in found if item.product_id not in excluded][:top_k])
        return answers

    def _encode_products(self, texts: list[str]) -> Vectors:
        logger.info("Encoding %s products", f"{len(texts):,}")
        return self._encode(texts, show_progress=self.show_progress)

    def _encode(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        embeddings = self.model.encode(
            list(texts),
            batch_size=self.batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=show_progress,
        )
        return np.asarray(embeddings, dtype=np.float32)


def read_corpus(file: Path) -> dict[str, str]:
    """A corpus file: product id to text.

    Raises:
        NotPreparedError: there is no such file.
        ProcessedFolderError: it holds something else.
    """
    if not file.is_file():
        raise NotPreparedError(
            f"No corpus at {file}",
            "there is no such file",
            f"Run prepare, or name another folder's {schema.EVAL_CORPUS}",
        )
    try:
        content = read_json(file)
    except ValueError as error:
        raise ProcessedFolderError(f"{file} is no JSON", str(error), "Run prepare again") from error
    if not isinstance(content, dict) or not content or not all(isinstance(text, str) for text in content.values()):
        found = type(content).__name__ if content else "nothing"
        raise ProcessedFolderError(f"{file} must map product ids to texts", f"found {found}", "Run prepare again")
    return content


def model_fingerprint(model: SentenceTransformer) -> str:
    """Changes when any embedding would: a hash of weights, configuration, tokenizer and prompt; never of a path."""
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


def _tokenizer_content(model: SentenceTransformer) -> dict[str, Any] | None:
    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    if backend is None:
        own = getattr(model.tokenizer, "to_str", None)  # a static embedding's: it keeps where it cuts
        return None if own is None else json.loads(own())
    content: dict[str, Any] = json.loads(backend.to_str())
    return {name: value for name, value in content.items() if name not in {"truncation", "padding"}}  # of its last call


_loaded: dict[tuple[str, str, bool, str], tuple[object, Recommender]] = {}
_loading = threading.Lock()


def load_recommender(
    model_dir: str | Path, corpus: str | Path, *, use_index: bool = True, device: str | None = None
) -> Recommender:
    """The one :class:`Recommender` of a model and corpus in this process, made when first asked for.

    A model folder or corpus that was written anew since, as by retraining, is loaded anew.

    Args:
        model_dir: a model folder, or a hub id.
        corpus: JSON file, product id to text.
        use_index: see :class:`Recommender`.
        device: see :class:`Recommender`.
    """
    model = str(Path(model_dir).resolve()) if Path(model_dir).is_dir() else str(model_dir)
    key = (model, str(Path(corpus).resolve()), use_index, best_device(device))
    with _loading:
        written = _written(Path(model)), _written(Path(key[1]))
        if key in _loaded and _loaded[key][0] == written:
            logger.info("Reusing the recommender of model %s and corpus %s", model, corpus)
        else:
            _loaded[key] = written, Recommender(model, corpus, use_index=use_index, device=device)
        return _loaded[key][1]


def _written(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of every file at or below a path; empty for a hub id."""
    files = ((file, file.stat()) for file in sorted([path, *path.rglob("*")]) if file.is_file())
    return [(str(file), stat.st_size, stat.st_mtime_ns) for file, stat in files]


def recommend(
    query: str, *, model_dir: str | Path, corpus: str | Path, top_k: int = 10, exclude_product_ids: Collection[str] = ()
) -> list[Recommendation]:
    """Load what is needed, once a process, and recommend; see :meth:`Recommender.recommend`."""
    return load_recommender(model_dir, corpus).recommend(query, top_k, exclude_product_ids)
