"""A method's ranking of every query, and every metric of it, kept query by query.

Shapes: Q queries, N products, K ranks, R relevant products, H products of the history (both padded with -1).
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor
from torch.nn.functional import pad

from lit_rec.core.errors import SettingError, ShapeError
from lit_rec.data.dataset import padded
from lit_rec.data.histories import Queries
from lit_rec.evaluation.inputs import HeldOut
from lit_rec.metrics.functional import membership, ndcg, recall
from lit_rec.metrics.ranking import top_k
from lit_rec.metrics.retrieval import MAX_RANK, per_query

CHUNK_SIZE = 64
"""Queries scored at a time: 64 x 49,688 products x 8 bytes are 25 MB."""

RECALL_RANKS = (1, 3, 5, 10, 20, 50, MAX_RANK)
"""Where the recall curve has its points."""

_SHOWN_RANKS = 10  # what a user is shown, for coverage
_NO_PRODUCT = -1
_FEW_CHUNKS = 3  # done before a bar could be read


class Method(Protocol):
    """What can be evaluated."""

    @property
    def name(self) -> str:
        """What tables call it."""

    def scores(self, queries: Queries) -> NDArray[np.floating[Any]]:
        """Float ``(Q, N)``: higher is better.

        Args:
            queries: users who ask, a few at a time.
        """


@dataclass(frozen=True)
class PerQuery:
    """One method's results, query by query: what means, intervals, slices and pools of folds are made of.

    Args:
        method: its name.
        query_ids: Q of them.
        values: metric name to float32 ``(Q,)``; NaN where the metric does not apply.
        shown: int64 ``(Q, 10)``, product ids of the first 10 ranks; -1 where the catalogue is smaller.
        n_products: size of the catalogue.
        n_orders: int64 ``(Q,)``, past orders of the user.
        basket_size: int64 ``(Q,)``, relevant products.
        repeat_share: float32 ``(Q,)``, share of the relevant products that the user had bought before.
        score_seconds: for the scores of all queries; ranking and metrics are not in it.
        fit_seconds: to fit it on the training histories; NaN where that was done elsewhere.
        peak_gb: see :class:`~lit_rec.evaluation.cost.Cost`: the higher of fitting and scoring.
        settings: hyper-parameters; one mapping for each fold that is pooled here.
    """

    method: str
    query_ids: list[str]
    values: Mapping[str, NDArray[np.float32]]
    shown: NDArray[np.int64]
    n_products: int
    n_orders: NDArray[np.int64]
    basket_size: NDArray[np.int64]
    repeat_share: NDArray[np.float32]
    score_seconds: float
    fit_seconds: float = nan
    peak_gb: float = nan
    settings: Sequence[Mapping[str, Any]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.query_ids)

    def coverage(self) -> float:
        """Distinct products in the first 10 ranks of all queries / N; NaN of no query."""
        shown = np.unique(self.shown)
        return float((shown != _NO_PRODUCT).sum() / self.n_products) if len(self) else nan

    def summary(self) -> dict[str, float]:
        """Means over the queries where a metric applies, how many those are, coverage, and cost."""
        means = {name: _mean(values) for name, values in self.values.items()}
        counts = {
            f"n_queries{which}": float((~np.isnan(self.values[name])).sum())
            for which, name in (("", "ndcg@10"), ("_repeat", "repeat_recall@10"), ("_explore", "explore_recall@10"))
        }
        return {
            **means,
            f"coverage@{_SHOWN_RANKS}": self.coverage(),
            **counts,
            "ms_per_query": 1000 * self.score_seconds / len(self) if len(self) else nan,
            "fit_seconds": self.fit_seconds,
            "peak_gb": self.peak_gb,
        }


def measure(method: Method, held_out: HeldOut, chunk_size: int = CHUNK_SIZE) -> PerQuery:
    """Rank the whole catalogue for every query and compute every metric of the rankings.

    Beside those of :func:`lit_rec.metrics.retrieval.per_query` and ``recall@50`` there is the **explore part**: the
    ranking with the user's own history taken out, as a shelf of new products would show it.
    ``explore_part_recall@10/20/100`` and ``explore_part_ndcg@10`` are of the relevant products that were never bought
    before, NaN for a query without such. (``explore_*`` without ``part`` look for them in the whole ranking.)

    Args:
        method: what ranks; of equal scores the product first in the catalogue wins.
        held_out: the queries and what was really bought.
        chunk_size: queries scored at a time.

    Raises:
        ShapeError: scores that are not (Q, N).
        SettingError: a score is NaN, or ``chunk_size`` is below 1.
    """
    if chunk_size < 1:
        raise SettingError("chunk_size must be at least 1", f"got {chunk_size}")
    starts = range(0, len(held_out), chunk_size)
    values: list[dict[str, Tensor]] = []
    shown, seconds = [], 0.0
    bar = track(starts, description=method.name, disable=len(starts) < _FEW_CHUNKS, transient=True)
    for start in bar:
        rows = slice(start, start + chunk_size)
        begin = time.perf_counter()
        scored = method.scores(held_out.queries.select(rows))
        seconds += time.perf_counter() - begin
        ranked, of_chunk = _measured_chunk(_checked(scored, method, held_out, rows), held_out, rows)
        values.append(of_chunk)
        shown.append(held_out.product_ids[ranked[:, :_SHOWN_RANKS].numpy()])
    width = min(_SHOWN_RANKS, len(held_out.product_ids))
    ids = np.concatenate(shown) if shown else np.empty((0, width), np.int64)
    return PerQuery(
        method=method.name,
        query_ids=list(held_out.query_ids),
        values={name: torch.cat([one[name] for one in values]).numpy() for name in (values[0] if values else ())},
        shown=np.pad(ids, ((0, 0), (0, _SHOWN_RANKS - width)), constant_values=_NO_PRODUCT),
        n_products=len(held_out.product_ids),
        n_orders=held_out.queries.histories.n_orders,
        basket_size=held_out.basket_size,
        repeat_share=held_out.repeat_share,
        score_seconds=seconds,
    )


def _checked(scores: NDArray[Any], method: Method, held_out: HeldOut, rows: slice) -> Tensor:
    """A copy, so that history can be masked in it."""
    expected = (len(held_out.relevant[rows]), len(held_out.product_ids))
    if scores.shape != expected:
        raise ShapeError(f"{method.name} must score every product for every query, {expected}", f"got {scores.shape}")
    return torch.from_numpy(np.array(scores))


def _measured_chunk(scores: Tensor, held_out: HeldOut, rows: slice) -> tuple[Tensor, dict[str, Tensor]]:
    """The ranking int64 ``(Q, K)``, and float32 ``(Q,)`` for each metric; ``scores`` are overwritten."""
    relevant, history = padded(held_out.relevant[rows]), padded(held_out.history[rows])
    k = min(MAX_RANK, scores.shape[1])
    ranked = top_k(scores, k)[1]
    values = per_query(ranked, relevant, history)
    hits = pad(membership(ranked, relevant), (0, MAX_RANK - k))
    n_relevant = (relevant >= 0).sum(dim=1)
    curve = {f"recall@{rank}": recall(hits, n_relevant, rank) for rank in RECALL_RANKS}
    for row, bought in enumerate(held_out.history[rows]):
        scores[row, torch.from_numpy(bought)] = -torch.inf
    return ranked, values | curve | _explore_part(top_k(scores, k)[1], relevant, history)


def _explore_part(ranked: Tensor, relevant: Tensor, history: Tensor) -> dict[str, Tensor]:
    """Metrics of a ranking whose history stands last.

    Args:
        ranked: int64 (Q, K).
        relevant: int64 (Q, R).
        history: int64 (Q, H).
    """
    hits = membership(ranked, relevant) & ~membership(ranked, history)  # in a small catalogue history is ranked too
    hits = pad(hits, (0, MAX_RANK - hits.shape[1]))
    n_new = ((relevant >= 0) & ~membership(relevant, history)).sum(dim=1)
    values = {f"explore_part_recall@{rank}": recall(hits, n_new, rank) for rank in (10, 20, MAX_RANK)}
    return values | {"explore_part_ndcg@10": ndcg(hits, n_new, 10)}


def _mean(values: NDArray[np.float32]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean(dtype=np.float64)) if len(known) else nan
