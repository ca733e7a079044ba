"""An untrained sentence encoder: products whose texts are like the user's context string."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from lit_rec.artifacts.pretrained import DEFAULT_BASE_MODEL, load_sentence_transformer
from lit_rec.baselines.base import Scores
from lit_rec.baselines.popularity_fallback import WithPopularityFallback, score_with_popularity_fallback
from lit_rec.core.bounds import PositiveInt
from lit_rec.core.devices import best_device
from lit_rec.data.histories import PurchaseHistories, Queries

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_TEXTS_PER_CHUNK = 4_096


@dataclass(eq=False)
class ContentBased(WithPopularityFallback):
    """Cosine of the embeddings of context and product text. Nothing is learnt but popularity.

    A user without history gets the ranking of popularity: the context then says nothing.

    Args:
        base_model: folder or hub id.
        device: ``cuda``, ``mps`` or ``cpu``; None for the best one there is.
        batch_size: texts that are encoded at a time.
    """

    name = "content_based"

    base_model: str = DEFAULT_BASE_MODEL
    device: str | None = None
    batch_size: PositiveInt = 128

    def fit(self, training: PurchaseHistories, product_texts: Sequence[str]) -> Self:
        """Encode the catalogue: on two cores of a processor, Instacart's 49,688 products take some minutes."""
        super().fit(training, product_texts)
        self._model = load_sentence_transformer(self.base_model, best_device(self.device))
        self._products = self._encode(self._model, product_texts)
        return self

    def scores(self, queries: Queries) -> Scores:
        """Cosines; where there is no history, all below 0 and by popularity."""
        if not len(queries):
            return np.empty((0, len(self._popularity)))
        scores: Scores = (self._encode(self._model, queries.contexts) @ self._products.T).astype(np.float64)
        is_new = queries.histories.n_lines == 0
        nothing = np.zeros((int(is_new.sum()), len(self._popularity)))
        scores[is_new] = score_with_popularity_fallback(nothing, self._popularity)
        return scores

    def _encode(self, model: "SentenceTransformer", texts: Sequence[str]) -> NDArray[np.float32]:
        """``(texts, dimensions)``, of length 1; under a progress bar where they are many."""
        starts = range(0, len(texts), _TEXTS_PER_CHUNK)
        chunks = [
            model.encode(
                list(texts[start : start + _TEXTS_PER_CHUNK]),
                batch_size=self.batch_size,
                normalize_embeddings=True,
                show_progress_bar=False,
            )
            for start in track(starts, description="Encoding the catalogue", disable=len(starts) < 3)
        ]
        return np.concatenate(chunks)
