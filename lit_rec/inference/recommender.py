"""The one call of serving: from a user's past orders or words to the best products of the catalogue.

The ranker, where the model has one, scores the catalogue from purchases; the text encoder and the embedding index
score it from words. Shapes: Q users, N products, D embedding.
"""

import logging
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lit_rec.artifacts.model_folder import check_catalogue, context_form
from lit_rec.artifacts.pretrained import local_model
from lit_rec.core import schema
from lit_rec.core.errors import SettingError, ShapeError
from lit_rec.data.contexts import NO_PRIOR_ORDERS, context_string, parse_context, product_name
from lit_rec.data.histories import Queries, histories_of
from lit_rec.data.orders import UserHistory
from lit_rec.data.processed import read_corpus
from lit_rec.inference.backends import EncoderBackend, TorchBackend
from lit_rec.inference.index import EmbeddingIndex, Vectors, load_or_build
from lit_rec.inference.reasons import Explainer
from lit_rec.metrics.top_k import top_k_indices
from lit_rec.ranking.ranker import Ranker

logger = logging.getLogger(__name__)

# Weight of popularity, 0 to 1, beside a cosine: it is all that is known of a new user, and little beside words.
_POPULARITY_WITHOUT_WORDS, _POPULARITY_BESIDE_WORDS = 3.0, 0.1

DEMO_QUERY = "[+7d w4h14] Organic Milk, Whole Wheat Bread."


@dataclass(frozen=True)
class Recommendation:
    """A product and how well it fits.

    Args:
        product_id: its id in the corpus.
        score: cosine between context and product, -1 to 1; with a ranker, a number to compare within one answer only.
        product_text: its text in the corpus.
        reason: why, in a few words; empty where only the text speaks for it.
    """

    product_id: str
    score: float
    product_text: str
    reason: str = ""


class Recommender:
    """Ranks a catalogue for contexts, other words and past orders.

    Args:
        model_dir: a model folder, or a hub id, ``owner/name`` or ``owner/name@revision``.
        corpus: JSON file, product id to text; ``eval_corpus.json`` of a processed folder.
        use_index: keep the catalogue's embeddings on disk, and take them from there.
        index_dir: where they are kept; by default beside the corpus.
        encoder: what encodes; by default torch does, and is imported then.
        device: of the default encoder: ``cuda``, ``mps`` or ``cpu``; None to choose (``INFERENCE_DEVICE``, else the
            best there is).
        batch_size: texts encoded at a time by the default encoder; users ranked at a time.
        show_progress: show a bar while the catalogue is encoded.
        use_ranker: take the model folder's ranker, where it has one.

    Raises:
        CatalogueError: the catalogue is not the model's.
        ModelFolderError: the model or its ranker cannot be loaded, or is damaged.
        NotPreparedError: there is no corpus file.
        ProcessedFolderError: the corpus file is not a mapping of ids to texts.
    """

    def __init__(
        self,
        model_dir: str | Path,
        corpus: str | Path,
        *,
        use_index: bool = True,
        index_dir: Path | None = None,
        encoder: EncoderBackend | None = None,
        device: str | None = None,
        batch_size: int = 64,
        show_progress: bool = False,
        use_ranker: bool = True,
    ) -> None:
        self.corpus = read_corpus(Path(corpus))
        self.batch_size, self.show_progress = batch_size, show_progress
        folder = local_model(model_dir)  # of a hub id, the snapshot: the ranker is in it too
        check_catalogue(folder, self.corpus, str(corpus))
        self.encoder: EncoderBackend = encoder or TorchBackend(folder, device=device, batch_size=batch_size)
        cache_dir = (index_dir or Path(corpus).parent / schema.INDEX_CACHE) if use_index else None
        self.index: EmbeddingIndex = load_or_build(
            cache_dir, self.corpus, self.encoder.fingerprint, self._encode_products
        )
        self.form = context_form(folder)
        has_ranker = use_ranker and (folder / schema.RANKER).is_file()
        self.ranker = Ranker.load(folder, self.corpus, self.index.embeddings) if has_ranker else None
        self.product_index = {product_id: row for row, product_id in enumerate(self.corpus)}
        self._texts = list(self.corpus.values())
        self.explainer = Explainer(self._texts, self.index, self.ranker)

    def recommend(
        self, user: str | UserHistory, top_k: int = 10, exclude_product_ids: Collection[str] = ()
    ) -> list[Recommendation]:
        """The best products for one user.

        With a ranker, past orders are ranked without a pass of the text encoder; so is a context string that names
        products of the catalogue, which count as purchases. Any other text, and a user without a known purchase, is
        answered by the similarity of texts, and by popularity. Without a ranker the context string is all that counts.

        Args:
            user: a context string, any other text, or past orders.
            top_k: how many, at least 1; fewer where the catalogue has fewer.
            exclude_product_ids: never recommend these.

        Raises:
            SettingError: ``top_k`` is below 1, or the model's scores are no numbers.
        """
        return self.recommend_many([user], top_k, exclude_product_ids)[0]

    def recommend_many(
        self, users: Sequence[str | UserHistory], top_k: int = 10, exclude_product_ids: Collection[str] = ()
    ) -> list[list[Recommendation]]:
        """The best products for each of several users; see :meth:`recommend`."""
        return self.rank(self.queries_of(users), top_k, exclude_product_ids)

    def rank(
        self, queries: Queries, top_k: int = 10, exclude_product_ids: Collection[str] = ()
    ) -> list[list[Recommendation]]:
        """The best products for users whose histories are at hand; see :meth:`recommend`."""
        if top_k < 1:
            raise SettingError("top_k must be at least 1", f"got {top_k}")
        answers = []
        for begin in range(0, len(queries), self.batch_size):
            batch = queries.select(slice(begin, begin + self.batch_size))
            for row, scores in enumerate(self.scores(batch)):
                answers.append(self.best(scores, batch.select(slice(row, row + 1)), top_k, exclude_product_ids))
        return answers

    def queries_of(self, users: Sequence[str | UserHistory]) -> Queries:
        """Context string and purchases of each user: those of a text as it names them, a text of past orders written.

        Args:
            users: Q context strings, other texts or past orders.
        """
        contexts = [user if isinstance(user, str) else self.context_from_history(user) for user in users]
        histories = [self.history_from_context(user) if isinstance(user, str) else user for user in users]
        return Queries(contexts, histories_of(histories, self.product_index))

    def needs_text(self, n_known: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whose context has to be encoded: with a ranker, only that of users without a known purchase.

        Args:
            n_known: int64 ``(Q,)``, purchases of each user that the catalogue holds.

        Returns:
            Bool ``(Q,)``.
        """
        by_text: NDArray[np.bool_] = (n_known == 0) | (self.ranker is None)
        return by_text

    def scores(self, queries: Queries, query_embeddings: Vectors | None = None) -> Vectors:
        """Scores of the whole catalogue, float32 ``(Q, N)``: by the ranker where there is one, else by the text.

        Args:
            queries: a few users: N numbers are held for each.
            query_embeddings: float32 ``(T, D)``, of length 1: the contexts of those users of whom :meth:`needs_text`
                is true, in their order, where they are encoded already; None to encode them here.

        Raises:
            SettingError: a score is NaN.
            ShapeError: there is another number of embeddings than texts that need one.
        """
        by_text = np.flatnonzero(self.needs_text(queries.histories.n_lines))
        contexts = [queries.contexts[row] for row in by_text.tolist()]
        if query_embeddings is None:
            query_embeddings = self.encoder.encode(contexts)
        if len(query_embeddings) != len(contexts):
            raise ShapeError("One embedding a text is needed", f"got {len(query_embeddings)} for {len(contexts)}")
        cosines = query_embeddings @ self.index.embeddings.T
        if np.isnan(cosines).any():
            raise SettingError("scores must be numbers", "found NaN", "Look for NaN in the weights of the model")
        if self.ranker is None:
            return cosines
        scores = self.ranker.scores(queries.histories)
        if len(by_text):
            popularity = np.log1p(self.ranker.item_item.popularity)
            popularity = popularity / max(float(popularity.max()), 1.0)
            weight = [
                _POPULARITY_WITHOUT_WORDS if NO_PRIOR_ORDERS in text else _POPULARITY_BESIDE_WORDS for text in contexts
            ]
            scores[by_text] = cosines + np.array(weight, np.float32)[:, None] * popularity
        return scores

    def best(
        self, scores: Vectors, query: Queries, top_k: int, exclude_product_ids: Collection[str] = ()
    ) -> list[Recommendation]:
        """The products of the highest scores, best first, each with its reason.

        Args:
            scores: float32 ``(N,)``, a row of :meth:`scores`.
            query: the one user whose they are.
            top_k: how many, at least 1.
            exclude_product_ids: never recommend these.
        """
        excluded = {self.product_index[each] for each in exclude_product_ids if each in self.product_index}
        scores = scores.copy()
        scores[list(excluded)] = -np.inf
        products = top_k_indices(scores, min(top_k, len(scores) - len(excluded))).tolist()
        reasons = self.explainer.reasons(products, query)
        return [
            Recommendation(self.index.product_ids[product], float(scores[product]), self._texts[product], reason)
            for product, reason in zip(products, reasons, strict=True)
        ]

    def text_scores(self, contexts: Sequence[str]) -> Vectors:
        """Cosines between contexts and the catalogue, float32 ``(Q, N)``."""
        return self.encoder.encode(contexts) @ self.index.embeddings.T

    def history_from_context(self, context: str) -> UserHistory:
        """Past orders as a context string names them; names that the catalogue does not hold are left out."""
        return parse_context(context, self._id_of_name)

    def context_from_history(self, history: UserHistory) -> str:
        """The context string of past orders, written as those that the model was trained on."""
        return context_string(history, self._names, self.form)

    @cached_property
    def _names(self) -> dict[str, str]:
        """Product id to whole name."""
        return {product_id: product_name(text) for product_id, text in self.corpus.items()}

    @cached_property
    def _id_of_name(self) -> dict[str, str]:
        """Whole name to product id; of equal names the first in the catalogue."""
        return {name: product_id for product_id, name in reversed(self._names.items())}

    def _encode_products(self, texts: list[str]) -> Vectors:
        logger.info("Encoding %s products", f"{len(texts):,}")
        return self.encoder.encode(texts, show_progress=self.show_progress)


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
    from lit_rec.core.devices import best_device  # imports torch, which this function's encoder needs anyway

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
