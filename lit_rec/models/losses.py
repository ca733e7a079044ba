"""In-batch losses as pure functions, and what makes them right over several processes."""

from typing import Any, Literal

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor

from lit_rec.core.errors import ShapeError

LossName = Literal["multi_positive", "mnrl"]
"""How an order's pairs weigh: together as much as any other order, or each as much as any other pair."""

# B anchors, C candidate products, P (anchor, product) pairs, D embedding


def multi_positive_loss(scores: Tensor, anchor_index: Tensor, product_index: Tensor) -> Tensor:
    """Softmax cross-entropy of each pair's product against the candidates that its anchor has no pair with.

    An order's other products are no negatives: they take no part in the sum. Where each anchor has one pair, the mean
    over pairs is the ``MultipleNegativesRankingLoss`` of sentence-transformers.

    Args:
        scores: ``(B, C)``, similarity over temperature.
        anchor_index: int64 ``(P,)``, row of each pair; all known pairs of the batch's anchors.
        product_index: int64 ``(P,)``, column of each pair.

    Returns:
        ``(P,)``, the loss of each pair; 0 where no negative is left.

    Source: Khosla et al., Supervised Contrastive Learning (2020), eq. 2, with an anchor's other positives left
    out of the denominator; Henderson et al., Efficient Natural Language Response Suggestion (2017), 4.4.

    >>> scores = torch.zeros(1, 4)
    >>> multi_positive_loss(scores, torch.tensor([0, 0]), torch.tensor([1, 2])).exp()
    tensor([3., 3.])
    """
    _check(scores, anchor_index, product_index)
    is_positive = torch.zeros_like(scores, dtype=torch.bool)
    is_positive[anchor_index, product_index] = True
    negatives = torch.logsumexp(scores.masked_fill(is_positive, float("-inf")), dim=1)
    return F.softplus(negatives[anchor_index] - scores[anchor_index, product_index])


def with_hard_negatives(scores: Tensor, anchor_index: Tensor, product_index: Tensor, weight: Tensor) -> Tensor:
    """Let some products count more or less than others in the sum over an anchor's negatives.

    Args:
        scores: ``(B, C)``, similarity over temperature.
        anchor_index: int64 ``(M,)``, row of each hard negative; no product twice for an anchor.
        product_index: int64 ``(M,)``, its column.
        weight: float ``(M,)``, above 0; 1 is what every other negative counts for.

    Returns:
        ``(B, C)``, for :func:`multi_positive_loss`.

    >>> scores = with_hard_negatives(torch.zeros(1, 3), torch.tensor([0]), torch.tensor([2]), torch.tensor([4.0]))
    >>> multi_positive_loss(scores, torch.tensor([0]), torch.tensor([0])).exp()
    tensor([6.])
    """
    return scores.index_put((anchor_index, product_index), weight.log().to(scores.dtype), accumulate=True)


def mean_over_anchors(losses: Tensor, anchor_index: Tensor, n_anchors: int) -> Tensor:
    """Mean within each anchor, ``(B,)``: a large order weighs no more than a small one.

    Args:
        losses: ``(P,)``.
        anchor_index: int64 ``(P,)``.
        n_anchors: B; each has at least one pair.
    """
    sums = torch.zeros(n_anchors, dtype=losses.dtype, device=losses.device).index_add(0, anchor_index, losses)
    return sums / torch.bincount(anchor_index, minlength=n_anchors)


def global_mean(values: Tensor) -> Tensor:
    """A process's part of the mean over all processes' values.

    DDP averages gradients over processes; with this as its loss the result is the gradient of the mean over all
    values, also where processes hold different numbers of them.

    Args:
        values: ``(n,)``, this process's.
    """
    if not _is_distributed():
        return values.mean()
    count = torch.tensor(float(len(values)), device=values.device)
    torch.distributed.all_reduce(count)
    return values.sum() * torch.distributed.get_world_size() / count


def gather_candidates(embeddings: Tensor, positions: Tensor, log_frequency: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The candidate products of all processes, each once, with gradient.

    Args:
        embeddings: ``(c, D)``, this process's products.
        positions: int64 ``(c,)``, their places in the catalogue.
        log_frequency: float32 ``(c,)``.

    Returns:
        ``(C, D)``, ascending int64 ``(C,)`` and float32 ``(C,)`` over all processes.
    """
    if _is_distributed():
        counts = _gather_counts(len(positions), positions.device)
        embeddings = _gather_rows(embeddings, counts)
        positions = _gather_rows(positions, counts)
        log_frequency = _gather_rows(log_frequency, counts)
    order = torch.argsort(positions, stable=True)
    ascending = positions[order]
    is_first = torch.ones_like(ascending, dtype=torch.bool)
    is_first[1:] = ascending[1:] != ascending[:-1]
    first = order[is_first]
    return embeddings[first], ascending[is_first], log_frequency[first]


def _gather_counts(count: int, device: torch.device) -> list[int]:
    counts = torch.zeros(torch.distributed.get_world_size(), dtype=torch.int64, device=device)
    counts[torch.distributed.get_rank()] = count
    torch.distributed.all_reduce(counts)
    return [int(value) for value in counts]


def _gather_rows(rows: Tensor, counts: list[int]) -> Tensor:
    """All processes' rows; they hold different numbers of them, so each is filled up to the largest and cut."""
    filled = torch.cat([rows, rows.new_zeros(max(counts) - len(rows), *rows.shape[1:])])
    parts: Tensor = _Gather.apply(filled)  # type: ignore[no-untyped-call]
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


class _Gather(torch.autograd.Function):
    """All processes' tensors, stacked; what each process's loss asks of a tensor goes back to where it is from."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # noqa: ANN401 - torch's signature
        parts = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, tensor.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total[torch.distributed.get_rank()]


def _is_distributed() -> bool:
    return (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )


def _check(scores: Tensor, anchor_index: Tensor, product_index: Tensor) -> None:
    if scores.ndim != 2 or anchor_index.ndim != 1 or anchor_index.shape != product_index.shape:
        raise ShapeError(
            "scores must be (B, C), anchor_index and product_index (P,)",
            f"got {tuple(scores.shape)}, {tuple(anchor_index.shape)} and {tuple(product_index.shape)}",
        )
