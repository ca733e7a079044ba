"""The catalogue's embeddings, kept on disk: numpy alone, for the serving path.

Shapes: N products, D embedding.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lit_rec.core.errors import ShapeError
from lit_rec.core.files import read_json, replaced_when_complete, sha256_of_file, sha256_of_texts, write_json

logger = logging.getLogger(__name__)

Vectors = NDArray[np.float32]

_EMBEDDINGS, _PRODUCT_IDS, _MANIFEST = "embeddings.npy", "product_ids.json", "manifest.json"
_CONTENT = (_EMBEDDINGS, _PRODUCT_IDS)


@dataclass(frozen=True)
class EmbeddingIndex:
    """The embeddings of a catalogue.

    Args:
        product_ids: N ids, in catalogue order.
        embeddings: float32 ``(N, D)``, of length 1.
    """

    product_ids: list[str]
    embeddings: Vectors

    def __post_init__(self) -> None:
        if self.embeddings.ndim != 2 or len(self.product_ids) != len(self.embeddings):
            raise ShapeError(
                "An index holds one embedding a product",
                f"got {len(self.product_ids)} ids and embeddings of shape {self.embeddings.shape}",
            )


def load_or_build(
    cache_dir: Path | None,
    corpus: dict[str, str],
    model_fingerprint: str,
    encode: Callable[[list[str]], Vectors],
) -> EmbeddingIndex:
    """The index of a corpus under a model, from the cache where a sound one is there.

    The cache is keyed by the content of weights and corpus, never by a path or a time. A damaged entry is built
    again. A cache that cannot be written costs a warning, not the answer.

    Args:
        cache_dir: where indexes are kept; None for no cache.
        corpus: product id to text, in catalogue order.
        model_fingerprint: changes when any embedding would.
        encode: texts to float32 ``(N, D)``, of length 1.
    """
    ids, texts = list(corpus), list(corpus.values())
    key = sha256_of_texts([model_fingerprint, *ids, *texts])
    folder = cache_dir / key[:16] if cache_dir else None
    if folder is not None and (found := _load(folder, key)) is not None:
        return found
    index = EmbeddingIndex(ids, encode(texts))
    if folder is not None:
        try:
            _save(folder, key, index)
        except OSError as error:
            logger.warning("The product index could not be kept in %s (%s); it will be built again", folder, error)
    return index


def _save(folder: Path, key: str, index: EmbeddingIndex) -> None:
    with replaced_when_complete(folder) as unfinished:
        np.save(unfinished / _EMBEDDINGS, index.embeddings)
        write_json(unfinished / _PRODUCT_IDS, index.product_ids)
        hashes = {name: sha256_of_file(unfinished / name) for name in _CONTENT}
        write_json(unfinished / _MANIFEST, {"key": key, "sha256": hashes}, indent=2)


def _load(folder: Path, key: str) -> EmbeddingIndex | None:
    """The kept index, or None where there is none that can be trusted."""
    if not folder.is_dir():
        return None
    try:
        manifest = read_json(folder / _MANIFEST)
        written = [manifest["sha256"][name] for name in _CONTENT]
        if manifest["key"] != key or written != [sha256_of_file(folder / name) for name in _CONTENT]:
            raise ValueError("its content is not what was written")
        return EmbeddingIndex(read_json(folder / _PRODUCT_IDS), np.load(folder / _EMBEDDINGS, allow_pickle=False))
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("The product index in %s is damaged (%s); building it again", folder, error)
        return None
