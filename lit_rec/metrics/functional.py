"""The mathematics of ranking metrics: pure functions of tensors, on any device.

Shapes: Q queries, K ranks, M members of a set (padded with -1), all row by row.

Every metric takes:

- ``hits`` bool (Q, K): whether the product at each rank is relevant, best rank first;
- ``n_relevant`` int (Q,): how many products are relevant, found or not;
- ``top_k``: the ranks that count, 1 to K.

It returns float32 (Q,), from 0 to 1; NaN for a query without a relevant product, so that a mean over the others is a
``nanmean``. None looks at scores, so their sign and scale play no part.

All definitions are those of ``InformationRetrievalEvaluator`` of sentence-transformers, averaged there
over the queries with at least one relevant product.

Every metric raises:
    ShapeError: ``hits`` is not (Q, K), or ``n_relevant`` is not (Q,).
    SettingError: ``top_k`` is below 1 or above K.
"""

import torch
from torch import Tensor

from lit_rec.core.errors import SettingError, ShapeError


def accuracy(hits: Tensor, n_relevant: Tensor, top_k: int) -> Tensor:
    """Accuracy@k (also called hit rate): 1 if any of the first k products is relevant, else 0.

    Source: ``Accuracy@k`` of InformationRetrievalEvaluator.

    >>> accuracy(torch.tensor([[False, True], [False, False], [False, False]]), torch.tensor([3, 3, 0]), 2)
    tensor([1., 0., nan])
    """
    return _defined(_first(hits, n_relevant, top_k).any(dim=1), n_relevant)


def precision(hits: Tensor, n_relevant: Tensor, top_k: int) -> Tensor:
    """Precision@k: hits in the first k / k, however few products are relevant.

    Source: Manning, Raghavan and Schütze, Introduction to Information Retrieval (2008), section 8.4.

    >>> precision(torch.tensor([[True, False, True, False]]), torch.tensor([2]), 4)
    tensor([0.5000])
    """
    return _defined(_first(hits, n_relevant, top_k).sum(dim=1) / top_k, n_relevant)


def recall(hits: Tensor, n_relevant: Tensor, top_k: int) -> Tensor:
    """Recall@k: hits in the first k / |R|. The denominator is |R| also where |R| > k.

    Source: Manning, Raghavan and Schütze, Introduction to Information Retrieval (2008), section 8.4.

    >>> recall(torch.tensor([[True, True]]), torch.tensor([4]), 2)
    tensor([0.5000])
    """
    return _defined(_first(hits, n_relevant, top_k).sum(dim=1) / n_relevant, n_relevant)


def reciprocal_rank(hits: Tensor, n_relevant: Tensor, top_k: int) -> Tensor:
    """Reciprocal rank@k, whose mean is MRR@k: 1 / rank of the first hit within k, else 0.

    Source: Voorhees, The TREC-8 Question Answering Track Report (1999).

    >>> reciprocal_rank(torch.tensor([[False, True, True], [False, False, False]]), torch.tensor([2, 2]), 3)
    tensor([0.5000, 0.0000])
    """
    first = _first(hits, n_relevant, top_k)
    return _defined((first / _ranks(first)).amax(dim=1), n_relevant)


def average_precision(hits: Tensor, n_relevant: Tensor, top_k: int) -> Tensor:
    """Average precision@k, whose mean is MAP@k: sum over hits of (precision at the hit) / min(k, |R|).

    Source: Manning, Raghavan and Schütze (2008), section 8.4, cut at k as in InformationRetrievalEvaluator.

    >>> average_precision(torch.tensor([[True, False, False, True]]), torch.tensor([2]), 4)  # (1/1 + 2/4) / 2
    tensor([0.7500])
    """
    first = _first(hits, n_relevant, top_k)
    precisions_at_hits = first.cumsum(dim=1) / _ranks(first) * first
    return _defined(precisions_at_hits.sum(dim=1) / n_relevant.clamp(max=top_k), n_relevant)


def ndcg(hits: Tensor, n_relevant: Tensor, top_k: int) -> Tensor:
    """NDCG@k: DCG / ideal DCG, where DCG = sum over hits within k of 1 / log2(rank + 1).

    The ideal has min(k, |R|) hits in front: all relevant products, not only those that were retrieved.

    Source: Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques (TOIS 2002), with
    binary gains and the discount of Burges et al. (ICML 2005).

    >>> ndcg(torch.tensor([[False, True, False]]), torch.tensor([1]), 3)  # 1 / log2(3)
    tensor([0.6309])
    """
    first = _first(hits, n_relevant, top_k)
    ranks = _ranks(first)
    discounts = 1 / torch.log2(ranks + 1)
    ideal = ranks <= n_relevant.unsqueeze(1)
    return _defined((first * discounts).sum(dim=1) / (ideal * discounts).sum(dim=1), n_relevant)


def membership(ranked: Tensor, members: Tensor) -> Tensor:
    """Whether each ranked product is in its query's set; by binary search, so no (Q, K, M) tensor is made.

    Args:
        ranked: int64 (Q, K) products; -1 is in no set.
        members: int64 (Q, M) products in any order, padded with -1; M may be 0.

    Returns:
        bool (Q, K).

    Raises:
        ShapeError: not two matrices with one row a query.

    >>> membership(torch.tensor([[7, 3, -1]]), torch.tensor([[3, 9, -1]]))
    tensor([[False,  True, False]])
    """
    if ranked.dim() != 2 or members.dim() != 2 or len(ranked) != len(members):
        raise ShapeError(
            "ranked must be (Q, K) and members (Q, M)",
            f"got {tuple(ranked.shape)} and {tuple(members.shape)}",
            "Pass one row a query, members padded with -1",
        )
    beyond = members.new_full((len(members), 1), torch.iinfo(members.dtype).max)  # so that each search ends in range
    ordered = torch.cat([members.sort(dim=1).values, beyond], dim=1)
    places = torch.searchsorted(ordered, ranked.contiguous())
    return (ordered.gather(1, places) == ranked) & (ranked >= 0)


def _first(hits: Tensor, n_relevant: Tensor, top_k: int) -> Tensor:
    """Cut ``hits`` to the first ``top_k`` ranks, after a check of all arguments."""
    if hits.dim() != 2 or n_relevant.shape != hits.shape[:1]:
        raise ShapeError(
            "hits must be (Q, K) and n_relevant (Q,)",
            f"got {tuple(hits.shape)} and {tuple(n_relevant.shape)}",
            "Pass one row a query",
        )
    if not 1 <= top_k <= hits.shape[1]:
        raise SettingError(f"top_k must be from 1 to K = {hits.shape[1]}", f"got {top_k}", "Rank more products")
    return hits[:, :top_k]


def _ranks(first: Tensor) -> Tensor:
    """The ranks 1 to k as int64 (k,)."""
    return torch.arange(1, first.shape[1] + 1, device=first.device)


def _defined(values: Tensor, n_relevant: Tensor) -> Tensor:
    return values.float().masked_fill(n_relevant == 0, torch.nan)
