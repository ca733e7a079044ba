"""Retrieval metrics over batches and processes: the functions of ``functional`` in a torchmetrics.Metric.

Shapes: Q queries, K ranks, N products, R relevant products (padded with -1), H products of the history
(padded with -1). A product is its row in the catalogue, 0 to N - 1.

What is measured, each a mean over the queries that have a relevant product:

- ``accuracy@1/3/5/10``, ``precision@1/3/5/10``, ``recall@1/3/5/10/20/100``, ``mrr@10``, ``ndcg@10``, ``map@100``;
- ``repeat_*`` and ``explore_*``: recall and NDCG of the relevant products that are in the user's history, or
  not in it, over the queries that have such. The ranking stays whole: a hit keeps its rank;
- ``explore_filtered_*``, in :func:`explore_filtered`: as ``explore_*``, with the already bought products filtered out
  of the ranking, as a shelf of new products would show it;
- ``repeat_share@10``: share of the first 10 ranks that hold a product of the user's history.

A catalogue of fewer than 100 products is ranked whole (K = N); the ranks it lacks count as misses, as they
do in InformationRetrievalEvaluator: with 5 products ``precision@10`` is at most 0.5.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchmetrics import Metric

from lit_rec.core.errors import SettingError, ShapeError
from lit_rec.metrics.functional import (
    accuracy,
    average_precision,
    membership,
    ndcg,
    precision,
    recall,
    reciprocal_rank,
)

MAX_RANK = 100
"""The deepest rank that any metric looks at: the K to ask of a search."""

_COVERAGE_RANK = 10
_UNIT = 2.0**32

_MetricAtRanks = tuple[str, Callable[[Tensor, Tensor, int], Tensor], Sequence[int]]
_WHOLE: tuple[_MetricAtRanks, ...] = (
    ("accuracy", accuracy, (1, 3, 5, 10)),
    ("precision", precision, (1, 3, 5, 10)),
    ("recall", recall, (1, 3, 5, 10, 20, MAX_RANK)),
    ("mrr", reciprocal_rank, (10,)),
    ("ndcg", ndcg, (10,)),
    ("map", average_precision, (MAX_RANK,)),
)
_REPEAT: tuple[_MetricAtRanks, ...] = (("repeat_recall", recall, (10,)), ("repeat_ndcg", ndcg, (10,)))
_EXPLORE: tuple[_MetricAtRanks, ...] = (
    ("explore_recall", recall, (10, 20, MAX_RANK)),
    ("explore_ndcg", ndcg, (10,)),
)
_EXPLORE_FILTERED: tuple[_MetricAtRanks, ...] = (
    ("explore_filtered_recall", recall, (10, 20, MAX_RANK)),
    ("explore_filtered_ndcg", ndcg, (10,)),
)
_SHARE: tuple[_MetricAtRanks, ...] = (("repeat_share", precision, (10,)),)


def per_query(ranked: Tensor, relevant: Tensor, history: Tensor) -> dict[str, Tensor]:
    """Every metric of each query by itself: what means, and intervals of paired differences, are made of.

    Args:
        ranked: int64 (Q, K), distinct products, best first. K at least 100, or the whole catalogue. Ranks that
            are not there (beyond K, or -1) count as misses.
        relevant: int64 (Q, R), the products of the next order; one named twice counts once.
        history: int64 (Q, H), the products the user bought before; repeats do not matter.

    Returns:
        float32 (Q,) for each name. NaN where a metric does not apply: all of them without a relevant product,
        ``repeat_*`` without one in the history, ``explore_*`` without one outside it.

    Raises:
        ShapeError: not three matrices with one row a query.

    >>> values = per_query(torch.tensor([[4, 2, 0, 1, 3]]), torch.tensor([[2, 3]]), torch.tensor([[2, 4]]))
    >>> {name: values[name].item() for name in ("recall@3", "repeat_recall@10", "repeat_share@10", "mrr@10")}
    {'recall@3': 0.5, 'repeat_recall@10': 1.0, 'repeat_share@10': 0.20000000298023224, 'mrr@10': 0.5}
    """
    _check_shapes(ranked, relevant, history)
    ranked = pad(ranked, (0, max(0, MAX_RANK - ranked.shape[1])), value=-1)
    relevant = _distinct(relevant)
    wanted, known = relevant >= 0, membership(relevant, history)
    hits, bought = membership(ranked, relevant), membership(ranked, history)
    n_relevant = wanted.sum(dim=1)
    return (
        _at_ranks(_WHOLE, hits, n_relevant)
        | _at_ranks(_REPEAT, hits & bought, known.sum(dim=1))
        | _at_ranks(_EXPLORE, hits & ~bought, (wanted & ~known).sum(dim=1))
        | _at_ranks(_SHARE, bought, n_relevant)
    )


def explore_filtered(ranked: Tensor, relevant: Tensor, history: Tensor) -> dict[str, Tensor]:
    """Metrics of each query for new products alone, of a ranking with the already bought products filtered out.

    Args:
        ranked: int64 (Q, K), distinct products, best first. Bought ones may follow after all others, where the
            catalogue is small; they are no hits.
        relevant: int64 (Q, R), the products of the next order, each once.
        history: int64 (Q, H), the products the user bought before.

    Returns:
        float32 (Q,) for each ``explore_filtered_*``; NaN where every relevant product was bought before.
    """
    hits = membership(ranked, relevant) & ~membership(ranked, history)
    hits = pad(hits, (0, max(0, MAX_RANK - hits.shape[1])))
    n_new = ((relevant >= 0) & ~membership(relevant, history)).sum(dim=1)
    return _at_ranks(_EXPLORE_FILTERED, hits, n_new)


class RetrievalMetrics(Metric):
    """Means of ``per_query`` over batches and processes, with coverage and counts.

    It holds sums and counts only, and one flag a product. The sums are whole numbers of 2^-32: adding them is
    exact, so any split into batches and processes gives the same result to the last bit; and they survive
    ``.to(torch.bfloat16)`` and devices without float64. Inputs may be on another device than the metric.

    Args:
        n_products: size of the catalogue, N.

    Raises:
        SettingError: ``n_products`` is below 1.

    >>> metrics = RetrievalMetrics(n_products=5)
    >>> metrics.update(torch.tensor([[4, 2, 0, 1, 3]]), torch.tensor([[2, 3]]), torch.tensor([[2, 4]]))
    >>> metrics.compute()["recall@3"]
    tensor(0.5000)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    sums: Tensor  # int64, in units of 2^-32, one a metric
    counts: Tensor  # int64, the queries that each metric applied to
    n_left_out: Tensor  # int64
    shown: Tensor  # bool (N,), whether a product was in a top 10

    def __init__(self, n_products: int) -> None:
        super().__init__()
        if n_products < 1:
            raise SettingError("n_products must be at least 1", f"got {n_products}", "Pass the size of the catalogue")
        self.n_products = n_products
        nothing = torch.empty(0, 1, dtype=torch.int64)
        self.names = tuple(per_query(nothing, nothing, nothing))
        zeros = torch.zeros(len(self.names), dtype=torch.int64)
        self.add_state("sums", zeros, dist_reduce_fx="sum")
        self.add_state("counts", zeros.clone(), dist_reduce_fx="sum")
        self.add_state("n_left_out", zeros.sum(), dist_reduce_fx="sum")
        self.add_state("shown", torch.zeros(n_products, dtype=torch.bool), dist_reduce_fx="max")

    @property
    def update_called(self) -> bool:
        """True also before the first update: a mean over nothing is NaN here, and no reason to warn."""
        return True

    def update(self, ranked: Tensor, relevant: Tensor, history: Tensor) -> None:
        """Add a batch of queries; those without a relevant product are counted as left out, and nowhere else.

        Args:
            ranked: int64 (Q, K), distinct products, best first; K at least 100, or N where N is smaller.
            relevant: int64 (Q, R).
            history: int64 (Q, H).

        Raises:
            ShapeError: not three matrices with one row a query, or too few ranks.
            SettingError: a product outside the catalogue, or one ranked twice for a query.
        """
        self._check(ranked, relevant, history)
        values = torch.stack(list(per_query(ranked, relevant, history).values()))
        applies = ~values.isnan()
        counted = applies[0]
        self.sums += (values.nan_to_num() * _UNIT).round().long().sum(dim=1).to(self.device)
        self.counts += applies.sum(dim=1).to(self.device)
        self.n_left_out += (~counted).sum().to(self.device)
        self.shown[ranked[counted, :_COVERAGE_RANK].flatten().to(self.device)] = True

    def compute(self) -> dict[str, Tensor]:
        """All means and counts so far, over all processes.

        Returns:
            A float32 scalar for each name (a logger takes no other): the means of ``per_query``, NaN where no
            query counted; ``coverage@10``, the share of the catalogue that is in at least one top 10; and
            ``n_queries``, ``n_queries_left_out`` (no relevant product), ``n_queries_repeat``,
            ``n_queries_explore``, the denominators.
        """
        means = self.sums / _UNIT / self.counts
        counts = dict(zip(self.names, self.counts.float(), strict=True))
        n_queries = counts["accuracy@1"]
        coverage = self.shown.float().mean().where(n_queries > 0, torch.nan)
        return dict(zip(self.names, means, strict=True)) | {
            f"coverage@{_COVERAGE_RANK}": coverage,
            "n_queries": n_queries,
            "n_queries_left_out": self.n_left_out.float(),
            "n_queries_repeat": counts["repeat_recall@10"],
            "n_queries_explore": counts["explore_recall@10"],
        }

    def _check(self, ranked: Tensor, relevant: Tensor, history: Tensor) -> None:
        _check_shapes(ranked, relevant, history)
        if ranked.shape[1] < min(MAX_RANK, self.n_products):
            raise ShapeError(
                f"ranked must hold {min(MAX_RANK, self.n_products)} ranks",
                f"got {tuple(ranked.shape)}",
                f"Search for top_k = {MAX_RANK}, or for the whole catalogue where it is smaller",
            )
        for name, products, lowest in (("ranked", ranked, 0), ("relevant", relevant, -1), ("history", history, -1)):
            if ((products < lowest) | (products >= self.n_products)).any():
                raise SettingError(
                    f"{name} must hold catalogue rows, {lowest} to {self.n_products - 1}",
                    f"found {products.min().item()} to {products.max().item()}",
                    "Map product ids to rows of the catalogue first",
                )
        if (_distinct(ranked) < 0).any():
            raise SettingError("a product may be ranked once a query", "found one twice", "Rank distinct products")


def _check_shapes(ranked: Tensor, relevant: Tensor, history: Tensor) -> None:
    shapes = [tuple(tensor.shape) for tensor in (ranked, relevant, history)]
    if any(len(shape) != 2 or shape[0] != shapes[0][0] for shape in shapes):
        raise ShapeError(
            "ranked must be (Q, K), relevant (Q, R) and history (Q, H)",
            f"got {shapes[0]}, {shapes[1]} and {shapes[2]}",
            "Pass one row a query, padded with -1",
        )


def _distinct(products: Tensor) -> Tensor:
    """The same products in ascending order, each repeat within a row replaced by -1."""
    products = products.sort(dim=1).values
    return torch.cat([products[:, :1], products[:, 1:].masked_fill(products[:, 1:] == products[:, :-1], -1)], dim=1)


def _at_ranks(metrics: Sequence[_MetricAtRanks], hits: Tensor, n_relevant: Tensor) -> dict[str, Tensor]:
    return {f"{name}@{k}": metric(hits, n_relevant, k) for name, metric, ranks in metrics for k in ranks}
