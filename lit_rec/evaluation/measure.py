"""A method's ranking of every query, and every metric of it, kept query by query.

Shapes: Q queries, N products, K ranks.
"""

import time
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
from lit_rec.evaluation.held_out import HeldOut
from lit_rec.evaluation.per_query import NO_PRODUCT, SHOWN_RANKS, PerQuery
from lit_rec.metrics.functional import membership, recall
from lit_rec.metrics.headline import RECALL_RANKS
from lit_rec.metrics.retrieval import MAX_RANK, explore_filtered, per_query
from lit_rec.metrics.top_k import top_k

CHUNK_SIZE = 64
"""Queries scored at a time: 64 x 49,688 products x 8 bytes are 25 MB."""

_FEW_CHUNKS = 3  # done before a bar could be read


class Scorer(Protocol):
    """What can be evaluated: a baseline, a model, or anything else that scores the catalogue."""

    @property
    def name(self) -> str:
        """What tables call it."""

    def scores(self, queries: Queries) -> NDArray[np.floating[Any]]:
        """Float ``(Q, N)``: higher is better.

        Args:
            queries: users who ask, a few at a time.
        """


def measure(scorer: Scorer, held_out: HeldOut, chunk_size: int = CHUNK_SIZE) -> PerQuery:
    """Rank the whole catalogue for every query, and compute every metric of the rankings.

    These are the metrics of :func:`lit_rec.metrics.retrieval.per_query`, ``recall@50``, and those of
    :func:`lit_rec.metrics.retrieval.explore_filtered`: new products in the ranking with the already bought products
    filtered out. (``explore_*`` without ``filtered`` look for new products in the whole ranking.)

    Args:
        scorer: what ranks; of equal scores the product first in the catalogue wins.
        held_out: the queries and what was really bought.
        chunk_size: queries scored at a time.

    Raises:
        ShapeError: scores that are not (Q, N).
        SettingError: a score is NaN, or ``chunk_size`` is below 1.
    """
    if chunk_size < 1:
        raise SettingError("chunk_size must be at least 1", f"got {chunk_size}")
    n_products = len(held_out.product_ids)
    starts = range(0, len(held_out), chunk_size)
    values: list[dict[str, Tensor]] = []
    shown = [np.empty((0, min(SHOWN_RANKS, n_products)), np.int64)]
    seconds = 0.0
    for start in track(starts, scorer.name, disable=len(starts) < _FEW_CHUNKS, transient=True):
        rows = slice(start, start + chunk_size)
        begin = time.perf_counter()
        scores = scorer.scores(held_out.queries.select(rows))
        seconds += time.perf_counter() - begin
        expected = (len(held_out.relevant[rows]), n_products)
        if scores.shape != expected:
            raise ShapeError(
                f"{scorer.name} must score every product for every query, {expected}", f"got {scores.shape}"
            )
        ranked, of_chunk = _rank_and_measure(torch.from_numpy(np.array(scores)), held_out, rows)
        values.append(of_chunk)
        shown.append(held_out.product_ids[ranked[:, :SHOWN_RANKS].numpy()])
    ids = np.concatenate(shown)
    return PerQuery(
        method=scorer.name,
        query_ids=list(held_out.query_ids),
        values={name: torch.cat([one[name] for one in values]).numpy() for name in (values[0] if values else ())},
        shown=np.pad(ids, ((0, 0), (0, SHOWN_RANKS - ids.shape[1])), constant_values=NO_PRODUCT),
        n_products=n_products,
        n_orders=held_out.queries.histories.n_orders,
        basket_size=held_out.basket_size,
        repeat_share=held_out.repeat_share,
        score_seconds=seconds,
    )


def _rank_and_measure(scores: Tensor, held_out: HeldOut, rows: slice) -> tuple[Tensor, dict[str, Tensor]]:
    """The ranking int64 ``(Q, K)``, and float32 ``(Q,)`` for each metric; ``scores`` are overwritten."""
    relevant, history = padded(held_out.relevant[rows]), padded(held_out.history[rows])
    k = min(MAX_RANK, scores.shape[1])
    ranked = top_k(scores, k)[1]
    hits = pad(membership(ranked, relevant), (0, MAX_RANK - k))
    n_relevant = (relevant >= 0).sum(dim=1)
    curve = {f"recall@{rank}": recall(hits, n_relevant, rank) for rank in RECALL_RANKS}
    for row, bought in enumerate(held_out.history[rows]):
        scores[row, torch.from_numpy(bought)] = -torch.inf
    filtered = explore_filtered(top_k(scores, k)[1], relevant, history)
    return ranked, per_query(ranked, relevant, history) | curve | filtered
