"""Encoder, catalogue and index behind one call: what the command line and the service use."""

import logging
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lit_rec.artifacts.model_folder import check_catalogue, context_form
from lit_rec.artifacts.pretrained import local_model
from lit_rec.core import schema
from lit_rec.core.errors import ModelFolderError, NotPreparedError, ProcessedFolderError, SettingError, ShapeError
from lit_rec.core.files import read_json
from lit_rec.data.contexts import (
    NO_PRIOR_ORDERS,
    context_string,
    parse_context,
    product_aisle,
    product_name,
)
from lit_rec.data.histories import PurchaseHistories, Queries, histories_of
from lit_rec.data.orders import UserHistory
from lit_rec.inference.encoders import TextEncoder, TorchEncoder
from lit_rec.inference.index import ProductIndex, Vectors, best_positions, load_or_build
from lit_rec.ranking.ranker import Ranker

logger = logging.getLogger(__name__)

# Popularity, 0 to 1, beside a cosine: all that is known of a new user, little beside words that were typed.
_POPULARITY_ALONE, _POPULARITY_BESIDE = 3.0, 0.1
_SIMILAR = 0.5  # and at least as similar as this share of random pairs is not:
_RARELY_SIMILAR, _RANDOM_PAIRS = 0.99, 5_000

DEMO_QUERY = "[+7d w4h14] Organic Milk, Whole Wheat Bread."


@dataclass(frozen=True)
class Recommendation:
    """A product and how well it fits.

    Args:
        product_id: its id in the corpus.
        score: cosine between context and product, -1 to 1; of a ranker, a number that is comparable within one answer.
        product_text: its text in the corpus.
        reason: why, in a few words; empty where only the text speaks for it.
    """

    product_id: str
    score: float
    product_text: str
    reason: str = ""


class Recommender:
    """Ranks a catalogue for contexts, and with a ranker for purchase histories.

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
        ModelFolderError: the model or its ranker cannot be loaded, or the catalogue is not the model's.
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
        encoder: TextEncoder | None = None,
        device: str | None = None,
        batch_size: int = 64,
        show_progress: bool = False,
        use_ranker: bool = True,
    ) -> None:
        self.corpus_path = Path(corpus)
        self.corpus = read_corpus(self.corpus_path)
        self.batch_size, self.show_progress = batch_size, show_progress
        folder = local_model(model_dir)  # of a hub id, the snapshot: the ranker is in it too
        check_catalogue(folder, self.corpus, str(corpus))
        self.encoder: TextEncoder = encoder or TorchEncoder(folder, device=device, batch_size=batch_size)
        cache_dir = (index_dir or self.corpus_path.parent / schema.INDEX_CACHE) if use_index else None
        self.index: ProductIndex = load_or_build(
            cache_dir, self.corpus, self.encoder.fingerprint, self._encode_products
        )
        self.form = context_form(folder)
        has_ranker = use_ranker and (folder / schema.RANKER).is_file()
        self.ranker = Ranker.load(folder, self.corpus, self.index.embeddings) if has_ranker else None
        self._texts = list(self.corpus.values())

    @cached_property
    def position(self) -> dict[str, int]:
        """Product id to product index."""
        return {product_id: row for row, product_id in enumerate(self.index.product_ids)}

    @cached_property
    def _similar_from(self) -> float:
        """A cosine that hardly any two products of the catalogue reach: some encoders use a narrow cone."""
        pairs = np.random.default_rng(0).integers(0, len(self.index.embeddings), (2, _RANDOM_PAIRS))
        first, second = self.index.embeddings[pairs[:, pairs[0] != pairs[1]]]
        cosines = (first * second).sum(axis=1)
        return max(_SIMILAR, float(np.quantile(cosines, _RARELY_SIMILAR))) if len(cosines) else _SIMILAR

    @cached_property
    def _names(self) -> dict[str, str]:
        """Product id to whole name."""
        return {product_id: product_name(text) for product_id, text in self.corpus.items()}

    @cached_property
    def _id_of_name(self) -> dict[str, str]:
        """Whole product name to id; of equal names the first in the catalogue."""
        return {name: product_id for product_id, name in reversed(self._names.items())}

    def recommend(self, query: str, top_k: int = 10, exclude_product_ids: Collection[str] = ()) -> list[Recommendation]:
        """The best products for one context.

        With a ranker, names of the context that are names of the catalogue are taken for purchases; a context without
        any, or any other text, is answered by the text's similarity and popularity.

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
        return self.rank(self.queries_of_contexts(queries), None, top_k, exclude_product_ids)

    def recommend_for_orders(
        self, request: UserHistory, top_k: int = 10, exclude_product_ids: Collection[str] = ()
    ) -> list[Recommendation]:
        """The best products for a user's past orders, without a pass of the text encoder.

        Args:
            request: past orders, oldest first. Without any, the most popular products are the answer.
            top_k: how many, at least 1.
            exclude_product_ids: never recommend these.

        Raises:
            ModelFolderError: the model folder has no ranker.
        """
        if self.ranker is None:
            raise ModelFolderError(
                "Past orders need a ranker", f"the model has no {schema.RANKER}", "Run fit_ranker, or pass a context"
            )
        return self.rank(self.queries_of_orders([request]), None, top_k, exclude_product_ids)[0]

    def recommend_queries(
        self, queries: Queries, top_k: int = 10, exclude_product_ids: Collection[str] = ()
    ) -> list[list[Recommendation]]:
        """The best products for users whose histories are known; see :meth:`recommend`."""
        return self.rank(queries, None, top_k, exclude_product_ids)

    def queries_of_contexts(self, contexts: Sequence[str]) -> Queries:
        """Contexts with the purchases that they name; see :meth:`request_of`."""
        return Queries(contexts, histories_of([self.request_of(context) for context in contexts], self.position))

    def queries_of_orders(self, requests: Sequence[UserHistory]) -> Queries:
        """Past orders with the context string that they make, for a model without a ranker."""
        contexts = [self.context_of(request) for request in requests]
        return Queries(contexts, histories_of(requests, self.position))

    def needs_text(self, queries: Queries) -> NDArray[np.bool_]:
        """Bool ``(Q,)``: whose context has to be encoded. With a ranker, only of users without a known purchase."""
        if self.ranker is None:
            return np.ones(len(queries), dtype=np.bool_)
        return np.equal(queries.histories.n_lines, 0, dtype=np.bool_)

    def rank(
        self,
        queries: Queries,
        query_embeddings: Vectors | None = None,
        top_k: int = 10,
        exclude_product_ids: Collection[str] = (),
    ) -> list[list[Recommendation]]:
        """The best products, apart from the encoding, which a service batches over its requests.

        Args:
            queries: Q users.
            query_embeddings: float32 ``(T, D)``, of length 1: the contexts of those of whom :meth:`needs_text` is true,
                in their order; None to encode them here.
            top_k: how many, at least 1; fewer where the catalogue has fewer.
            exclude_product_ids: never recommend these.

        Raises:
            SettingError: ``top_k`` is below 1, or the model's scores are no numbers.
            ShapeError: there is another number of embeddings.
        """
        _check_top_k(top_k)
        excluded = frozenset(exclude_product_ids)
        needs_text = self.needs_text(queries)
        if query_embeddings is not None:
            _check_one_each(query_embeddings, int(needs_text.sum()))
        n_asked = min(top_k + len(excluded), len(self._texts))
        answers = []
        for begin in range(0, len(queries), self.batch_size):
            rows = slice(begin, begin + self.batch_size)
            some, embeddings = queries.select(rows), None
            if query_embeddings is not None:
                first = int(needs_text[:begin].sum())
                embeddings = query_embeddings[first : first + int(needs_text[rows].sum())]
            for row, scores in enumerate(self.scores(some, embeddings)):
                ranked = best_positions(scores, n_asked)
                answer = self._answer(scores[ranked].tolist(), ranked.tolist(), top_k, excluded)
                answers.append(self._with_reasons(answer, some.select(slice(row, row + 1))))
        return answers

    def scores(self, queries: Queries, query_embeddings: Vectors | None = None) -> Vectors:
        """float32 ``(Q, N)``: the whole catalogue scored by the ranker where there is one, else by the text.

        Args:
            queries: a few users: N numbers are held for each.
            query_embeddings: see :meth:`rank`.

        Raises:
            SettingError: a score is NaN.
            ShapeError: there is another number of embeddings than texts that need one.
        """
        without = np.flatnonzero(self.needs_text(queries))
        contexts = [queries.contexts[row] for row in without.tolist()]
        if query_embeddings is None:
            query_embeddings = self.encode(contexts)
        _check_one_each(query_embeddings, len(contexts))
        of_text = query_embeddings @ self.index.embeddings.T
        if np.isnan(of_text).any():
            raise SettingError("scores must be numbers", "found NaN", "Look for NaN in the weights of the model")
        if self.ranker is None:
            return of_text
        scores = self.ranker.scores(queries.histories)
        if len(without):
            weight = [_POPULARITY_ALONE if NO_PRIOR_ORDERS in text else _POPULARITY_BESIDE for text in contexts]
            popularity = np.log1p(self.ranker.item_item.popularity)
            popularity = popularity / max(float(popularity.max()), 1.0)
            scores[without] = of_text + np.array(weight, np.float32)[:, None] * popularity
        return scores

    def text_scores(self, contexts: Sequence[str]) -> Vectors:
        """float32 ``(Q, N)``: cosines between contexts and the catalogue."""
        return self.encode(contexts) @ self.index.embeddings.T

    def request_of(self, context: str) -> UserHistory:
        """Past orders as a context string names them; names that the catalogue does not hold are left out."""
        return parse_context(context, self._id_of_name)

    def context_of(self, request: UserHistory) -> str:
        """The context string of past orders, in the form of the model's own."""
        return context_string(request, self._names, self.form)

    def encode(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """float32 ``(Q, D)``, of length 1."""
        return self.encoder.encode(texts, show_progress=show_progress)

    def _answer(
        self, scores: Sequence[float], products: Sequence[int], top_k: int, excluded: Collection[str]
    ) -> list[Recommendation]:
        found = (
            Recommendation(self.index.product_ids[product], score, self._texts[product])
            for score, product in zip(scores, products, strict=True)
        )
        return [item for item in found if item.product_id not in excluded][:top_k]

    def _with_reasons(self, answer: Sequence[Recommendation], query: Queries) -> list[Recommendation]:
        history = query.histories
        bought = history.distinct_products(0)
        if len(bought) == 0:
            if self.ranker is None:
                return list(answer)
            if NO_PRIOR_ORDERS not in query.contexts[0]:
                return [replace(item, reason="fits the words") for item in answer]
            return [
                replace(item, reason=self._of_others(self.ranker, self.position[item.product_id])) for item in answer
            ]
        similarity = self.index.embeddings[[self.position[item.product_id] for item in answer]]
        similarity = similarity @ self.index.embeddings[bought].T
        goes_with = np.zeros(len(self.corpus), dtype=np.bool_)
        if self.ranker is not None:
            item_item = self.ranker.item_item
            goes_with[item_item.candidate_products[item_item.cosine[bought].indices]] = True
        return [
            replace(
                item, reason=self._reason(self.position[item.product_id], history, bought, similarity[row], goes_with)
            )
            for row, item in enumerate(answer)
        ]

    def _reason(
        self,
        product: int,
        history: PurchaseHistories,
        bought: NDArray[np.int32],
        similarity: Vectors,
        goes_with: NDArray[np.bool_],
    ) -> str:
        lines = history.product == product
        if lines.any():
            return _how_often(history, lines)
        if similarity.max() >= self._similar_from:
            return f"similar to {product_name(self._texts[bought[similarity.argmax()]])}"
        if self.ranker is None:  # which alone has counted what others buy
            return ""
        if goes_with[product]:
            return "goes with what you buy"
        aisle = self.ranker.item_item.aisle
        if product_aisle(self._texts[product]) and (aisle[bought] == aisle[product]).any():
            return "from an aisle that you buy from"
        return self._of_others(self.ranker, product)

    def _of_others(self, ranker: Ranker, product: int) -> str:
        """What can be said of a product without knowing whom it is for."""
        if product in ranker.item_item.new_products:
            return "new in the catalogue"
        popularity = ranker.item_item.popularity
        return "bought by many" if popularity[product] > popularity.mean() else "bought by few"

    def _encode_products(self, texts: list[str]) -> Vectors:
        logger.info("Encoding %s products", f"{len(texts):,}")
        return self.encode(texts, show_progress=self.show_progress)


def _how_often(history: PurchaseHistories, lines: NDArray[np.bool_]) -> str:
    """Purchases of one product, and when; of days that were only assumed, nothing is said."""
    n_orders = len(np.unique(history.orders_ago[lines]))  # some share a day
    days = history.days_ago[lines]
    assumed = np.zeros_like(days) if history.days_assumed is None else history.days_assumed[lines]
    if n_orders == 1:
        when = "today" if round(float(days[0])) == 0 else f"{_days(days[0])} ago"
        return f"bought once, {when}" if assumed[0] == 0 else "bought once"
    gap = float(days[0] - days[-1]) / (n_orders - 1)
    is_known = assumed[0] == assumed[-1] and round(gap) >= 1
    return f"bought {n_orders} times" + (f", about every {_days(gap)}" if is_known else "")


def _days(number: float) -> str:
    """Such as ``1 day`` or ``9 days``."""
    return "1 day" if round(number) == 1 else f"{number:.0f} days"


def _check_one_each(embeddings: Vectors, n_texts: int) -> None:
    if len(embeddings) != n_texts:
        raise ShapeError("One embedding a text is needed", f"got {len(embeddings)} for {n_texts}")


def _check_top_k(top_k: int) -> None:
    if top_k < 1:
        raise SettingError("top_k must be at least 1", f"got {top_k}")


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


def recommend(
    query: str, *, model_dir: str | Path, corpus: str | Path, top_k: int = 10, exclude_product_ids: Collection[str] = ()
) -> list[Recommendation]:
    """Load what is needed, once a process, and recommend; see :meth:`Recommender.recommend`."""
    return load_recommender(model_dir, corpus).recommend(query, top_k, exclude_product_ids)
