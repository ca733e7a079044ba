"""The models behind the service: loaded in the background, asked through queues, chosen by user."""

import copy
import hashlib
import logging
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from lit_rec.artifacts.pretrained import local_model
from lit_rec.core import schema
from lit_rec.core.files import sha256_of_file, sha256_of_texts
from lit_rec.data.histories import Queries, histories_of
from lit_rec.data.orders import UserHistory
from lit_rec.inference.backends import TorchBackend
from lit_rec.inference.index import Vectors
from lit_rec.inference.recommender import DEMO_QUERY, Recommendation, Recommender
from lit_rec.packaging.bundle import Bundle
from lit_rec.service.batching import BatchingQueue, OverloadedError
from lit_rec.service.monitoring import Monitoring
from lit_rec.service.settings import ArmSettings, ServiceSettings
from lit_rec.service.users import User, read_users

logger = logging.getLogger(__name__)

_RANKED_TOGETHER = 8  # users; more gain little, and each holds a score for every product
_LONGEST_WAIT = 5.0  # seconds for a model that is being loaded, when the service ends

State = Literal["loading", "ready", "failed", "closed"]
Mode = Literal["history", "text"]
_Item = tuple["RankRequest", Vectors | None]
"""Of the ranking queue: a request with context and history, and the context's embedding where text is needed."""


class NotReadyError(Exception):
    """The models are not loaded, or not any more."""


@dataclass(frozen=True)
class RankRequest:
    """What is known of a user, at least a context or a history, and what is wanted.

    Args:
        context: a context string, or any text; None: one is written from the history where text is needed.
        history: past orders; None: those that the context names.
        top_k: how many products, at least 1.
        exclude_product_ids: never recommend these.
        to_come: what the request says of the order to come, by names of :class:`~lit_rec.data.orders.UserHistory`; it
            counts for the ranker, in the place of what the history says.
    """

    context: str | None = None
    history: UserHistory | None = None
    top_k: int = 10
    exclude_product_ids: Collection[str] = ()
    to_come: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RankResult:
    """What the engine recommends.

    Args:
        recommendations: best first.
        arm: name of the arm that answered.
        model_version: its model.
        mode: ``history``: ranked without a pass of the text encoder; ``text``: with one.
        encode_ms: in the encoder, with the batch; 0 without one.
        rank_ms: ranking the catalogue.
        unknown_product_ids: of the past orders, those that the catalogue does not hold.
    """

    recommendations: Sequence[Recommendation]
    arm: str
    model_version: str
    mode: Mode
    encode_ms: float
    rank_ms: float
    unknown_product_ids: Sequence[str]


class Arm:
    """One model: its recommender, and the threads before it.

    Args:
        name: of the arm.
        source: where the model is.
        settings: of the service.
        monitoring: counts.
    """

    def __init__(self, name: str, source: ArmSettings, settings: ServiceSettings, monitoring: Monitoring) -> None:
        self.name, self.weight = name, source.weight
        self.model_version = ""
        self.users_file: Path | None = None
        self._source, self._settings, self._monitoring = source, settings, monitoring
        self._recommender: Recommender | None = None
        self._loading = threading.Lock()
        self.encoding: BatchingQueue[str, tuple[Vectors, float]] = BatchingQueue(
            f"encode-{name}",
            self._make_encode,
            n_threads=settings.encoder_threads,
            max_batch_size=settings.max_batch_size,
            max_waiting=settings.max_waiting,
        )
        self.ranking: BatchingQueue[_Item, tuple[list[Recommendation], float]] = BatchingQueue(
            f"rank-{name}",
            self._make_rank,
            n_threads=settings.ranking_threads,
            max_batch_size=_RANKED_TOGETHER,
            max_waiting=settings.max_waiting,
        )
        monitoring.waiting.labels(f"encode-{name}").set_function(lambda: self.encoding.n_waiting)
        monitoring.waiting.labels(f"rank-{name}").set_function(lambda: self.ranking.n_waiting)

    @property
    def recommender(self) -> Recommender:
        """The loaded model.

        Raises:
            NotReadyError: it is not loaded yet.
        """
        if self._recommender is None:
            raise NotReadyError(f"arm {self.name} is not loaded")
        return self._recommender

    def load(self) -> None:
        """Load the model and warm it up.

        Raises:
            LitRecError: it cannot be loaded.
        """
        self.encoding.start()
        self.ranking.start()
        self.recommender.recommend(DEMO_QUERY, 1)
        self._monitoring.model_info.labels(self.name, self.model_version).set(1)

    async def recommend(self, request: RankRequest, deadline_seconds: float) -> RankResult:
        """The best products for a user: the text is encoded where it is needed, then the catalogue is ranked.

        Args:
            request: what is known of the user.
            deadline_seconds: for all of it.

        Raises:
            OverloadedError: too many ask at once.
        """
        end = time.monotonic() + deadline_seconds
        recommender, context, history = self.recommender, request.context, request.history
        if history is None:
            history = recommender.history_from_context(context or "")
        bought = dict.fromkeys(product_id for order in history.orders for product_id in order.product_ids)
        unknown = [product_id for product_id in bought if product_id not in recommender.product_index]
        needs_text = bool(recommender.needs_text(np.array([len(bought) - len(unknown)]))[0])
        embedding, encode_ms = None, 0.0
        if needs_text:
            context = recommender.context_from_history(history) if context is None else context
            embedding, encode_ms = await self.encoding.run(context, deadline_seconds)
        request = replace(request, context=context, history=replace(history, **request.to_come))
        recommendations, rank_ms = await self.ranking.run((request, embedding), end - time.monotonic())
        mode: Mode = "text" if needs_text else "history"
        return RankResult(recommendations, self.name, self.model_version, mode, encode_ms, rank_ms, unknown)

    def close(self) -> None:
        """Finish what waits, and end the threads."""
        self.encoding.close()
        self.ranking.close()

    def _rank(self, batch: Sequence[_Item]) -> list[tuple[list[Recommendation], float]]:
        """Recommendations of each request, and the milliseconds that the batch took."""
        began = time.perf_counter()
        recommender = self.recommender
        requests = [request for request, _ in batch]
        histories = [request.history or UserHistory() for request in requests]
        queries = Queries(
            [request.context or "" for request in requests], histories_of(histories, recommender.product_index)
        )
        embeddings = [embedding for _, embedding in batch if embedding is not None]
        width = recommender.index.embeddings.shape[1]
        scores = recommender.scores(queries, np.array(embeddings, np.float32).reshape(len(embeddings), width))
        found = [
            recommender.best(
                scores[row], queries.select(slice(row, row + 1)), request.top_k, request.exclude_product_ids
            )
            for row, request in enumerate(requests)
        ]
        took = _ms_since(began)
        return [(each, took) for each in found]

    def _make_rank(self) -> Callable[[Sequence[_Item]], list[tuple[list[Recommendation], float]]]:
        # Of the process: as many as BLAS likes, for each of several ranking threads, wait for one another.
        threadpool_limits(1, "blas")
        return self._rank

    def _make_encode(self) -> Callable[[Sequence[str]], list[tuple[Vectors, float]]]:
        """Load and warm up in the encoding thread itself: a torch that another thread has warmed is slower."""
        with self._loading:
            is_first = self._recommender is None
            recommender = self._recommender or self._load()
            encoder = recommender.encoder
            if isinstance(encoder, TorchBackend) and not is_first:  # its tokenizer serves one thread at a time
                weights = {id(weight): weight for weight in encoder.model.parameters()}
                encoder = copy.deepcopy(encoder, weights)  # all but the weights
            if (torch := sys.modules.get("torch")) is not None:
                torch.set_num_threads(1)  # of this thread; more would wait for each other under load
            encoder.encode([DEMO_QUERY] * 2)
            self._recommender = recommender

        def encode(texts: Sequence[str]) -> list[tuple[Vectors, float]]:
            began = time.perf_counter()
            embeddings = encoder.encode(texts)
            took = _ms_since(began)
            self._monitoring.encode_batch_size.observe(len(texts))
            return [(embedding, took) for embedding in embeddings]

        return encode

    def _load(self) -> Recommender:
        device, batch_size = self._settings.inference_device, self._settings.max_batch_size
        if self._source.bundle is not None:
            bundle = Bundle.load(self._source.bundle)
            self.model_version, self.users_file = bundle.manifest["model_version"], bundle.users_file
            return bundle.recommender(device=device, batch_size=batch_size)
        assert self._source.model_dir is not None, "settings are checked"
        assert self._source.corpus_path is not None, "settings are checked"
        recommender = Recommender(
            self._source.model_dir, self._source.corpus_path, device=device, batch_size=batch_size
        )
        self.model_version = _version_of(self._source.model_dir, recommender)
        queries = self._source.corpus_path.with_name(schema.EVAL_QUERIES)
        self.users_file = queries if queries.is_file() else None
        return recommender


class Engine:
    """All arms, and who is answered by which.

    Args:
        settings: of the service.
        monitoring: counts.
    """

    def __init__(self, settings: ServiceSettings, monitoring: Monitoring) -> None:
        self.monitoring = monitoring
        self.users: dict[str, User] = {}
        self._settings = settings
        self.arms = {name: Arm(name, source, settings, monitoring) for name, source in settings.named_arms().items()}
        self.state: State = "loading"
        self._names = list(self.arms)
        weights = [arm.weight for arm in self.arms.values()]
        self._shares = [share / sum(weights) for share in accumulate(weights)]
        self._loader = threading.Thread(target=self._load, name="load-models", daemon=True)

    @property
    def is_ready(self) -> bool:
        """Whether every model is loaded and warm."""
        return self.state == "ready"

    def start(self) -> None:
        """Load the models in the background."""
        self._loader.start()

    def wait(self, timeout_seconds: float | None = None) -> State:
        """Wait until the models are loaded, or cannot be.

        Args:
            timeout_seconds: at most so long.
        """
        self._loader.join(timeout_seconds)
        return self.state

    def arm_of(self, sticky_key: str) -> Arm:
        """The arm of a user: always the same one, for as long as the arms' names and weights stay.

        Args:
            sticky_key: user id, or what else stands for the user.
        """
        digest = hashlib.sha256("\0".join([*self._names, sticky_key]).encode()).digest()
        place = int.from_bytes(digest[:8]) / 2**64
        return self.arms[self._names[min(bisect_right(self._shares, place), len(self._names) - 1)]]

    def check_room(self) -> None:
        """Make sure that there is an arm that could answer one more in time, before anything is known of who asks.

        Raises:
            OverloadedError: there is none.
        """
        full = []
        for arm in self.arms.values():
            try:
                arm.ranking.check_room(self._settings.request_deadline_seconds)
            except OverloadedError as error:
                full.append(error)
            else:
                return
        raise min(full, key=lambda error: error.retry_after)

    async def recommend(self, request: RankRequest, sticky_key: str) -> RankResult:
        """The best products for a user, by the user's arm.

        Args:
            request: what is known of the user.
            sticky_key: see :meth:`arm_of`.

        Raises:
            NotReadyError: the models are not loaded.
            OverloadedError: too many ask at once.
        """
        if not self.is_ready:
            raise NotReadyError(self.state)
        return await self.arm_of(sticky_key).recommend(request, self._settings.request_deadline_seconds)

    def close(self) -> None:
        """Finish what waits, and end the threads; those that still load are left to end with the process."""
        self._loader.join(_LONGEST_WAIT)
        is_loading, self.state = self._loader.is_alive(), "closed"
        self.monitoring.model_loaded.set(0)
        if is_loading:
            return
        for arm in self.arms.values():
            arm.close()

    def _load(self) -> None:
        began = time.perf_counter()
        try:
            for arm in self.arms.values():
                arm.load()
            files = [self._settings.users_path, *(arm.users_file for arm in self.arms.values())]
            if (file := next((file for file in files if file is not None), None)) is not None:
                self.users.update(read_users(file))
        except Exception:  # the process stays, so that /ready and the log can say what is wrong
            logger.exception("models_not_loaded")
            self.state = "failed"
            return
        if self.state == "closed":
            return
        self.state = "ready"
        self.monitoring.model_loaded.set(1)
        versions = {name: arm.model_version for name, arm in self.arms.items()}
        logger.info("models_loaded", extra={"arms": versions, "seconds": round(time.perf_counter() - began, 2)})


def _version_of(model_dir: str, recommender: Recommender) -> str:
    """Name and content of a model and its catalogue, as ``name-0123456789ab``."""
    folder, named = local_model(model_dir), Path(model_dir.partition("@")[0])  # the snapshot of a hub id, and its name
    ranker = [folder / schema.RANKER, folder / schema.RANKER_WEIGHTS]
    of_ranker = [sha256_of_file(file) for file in ranker if recommender.ranker is not None]
    content = [recommender.encoder.fingerprint, *of_ranker, *recommender.corpus, *recommender.corpus.values()]
    name = named.parent.name if named.name == "final" else named.name
    return f"{name or 'model'}-{sha256_of_texts(content)[:12]}"


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1_000
