"""The best k of many scores, by one rule for ties: of equal scores the product first in the catalogue wins.

``top_k`` is for tensors on any device; ``top_k_indices`` is for the serving path, where there may be no torch.

Shapes: Q queries, N products, k ranks.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lit_rec.core.errors import SettingError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor  # not for serving


def top_k_indices(scores: NDArray[np.floating[Any]], k: int) -> NDArray[np.int64]:
    """Indices of the k highest scores, best first; of equal scores the product first in the catalogue wins.

    Args:
        scores: float ``(N,)``, without NaN.
        k: 0 to N.

    >>> top_k_indices(np.array([0.5, 0.9, 0.5, 0.5], np.float32), 3)
    array([1, 0, 2])
    """
    # Partition finds the k-th score without a sort of all. What ties with it stays in, in catalogue order; the stable
    # sort keeps that order, and the cut takes the first ones.
    kth_score = np.partition(scores, -k)[-k]
    candidates = np.flatnonzero(scores >= kth_score)
    return candidates[np.argsort(-scores[candidates], kind="stable")[:k]]


def top_k(scores: "Tensor", k: int) -> "tuple[Tensor, Tensor]":
    """The k best products of each query, best first; of equal scores the product first in the catalogue wins.

    ``torch.topk`` promises no order among equal scores, nor which of them it keeps at the cut. This gives
    what a stable sort of the whole row gives, on every device. It costs one ``torch.topk`` of k + 1, and a
    repair of the rows whose cut falls between equal scores.

    Args:
        scores: float (Q, N) of any precision; higher is better; may be negative or infinite.
        k: ranks wanted, 1 to N.

    Returns:
        values (Q, k) in the precision of ``scores``, and indices int64 (Q, k).

    Raises:
        ShapeError: ``scores`` is not a matrix.
        SettingError: k is below 1 or above N, or a score is NaN (it has no place in an order).

    >>> import torch
    >>> values, indices = top_k(torch.tensor([[0.5, 0.9, 0.5, 0.5]]), 3)
    >>> indices
    tensor([[1, 0, 2]])
    """
    if scores.dim() != 2:
        raise ShapeError("scores must be (Q, N)", f"got {tuple(scores.shape)}", "Pass one row a query")
    n_products = scores.shape[1]
    if not 1 <= k <= n_products:
        raise SettingError(f"k must be from 1 to N = {n_products}", f"got {k}", "Ask for fewer ranks")
    values, indices = scores.topk(min(k + 1, n_products), dim=1)
    if values[:, 0].isnan().any():  # topk puts NaN above everything
        raise SettingError("scores must be numbers", "found NaN", "Look for the query or product embedding that has it")
    equal = values[:, 1:] == values[:, :-1]
    if not equal.any():
        return values[:, :k], indices[:, :k]
    cut_between_equals = equal[:, k - 1 :].any(dim=1)
    indices = indices[:, :k].clone()
    indices[cut_between_equals] = _first_of_equals(scores[cut_between_equals], values[cut_between_equals, k - 1], k)
    return _in_order(scores, indices)


def _first_of_equals(scores: "Tensor", threshold: "Tensor", k: int) -> "Tensor":
    """The k products at or above ``threshold``, those at it taken from the front of the catalogue.

    Args:
        scores: float (Q, N), at least k of each row at or above its threshold.
        threshold: float (Q,), the k-th highest score of each row.
        k: products wanted.

    Returns:
        int64 (Q, k), in no promised order.
    """
    import torch  # not for serving

    n_products = scores.shape[1]
    from_the_end = torch.arange(n_products, 0, -1, dtype=torch.int32, device=scores.device)
    above, at = scores > threshold.unsqueeze(1), scores == threshold.unsqueeze(1)
    keys = torch.where(above, from_the_end + n_products, torch.where(at, from_the_end, 0))  # no two alike above 0
    return keys.topk(k, dim=1).indices


def _in_order(scores: "Tensor", indices: "Tensor") -> "tuple[Tensor, Tensor]":
    """Order each row's chosen products by score, highest first, then by place in the catalogue."""
    indices = indices.sort(dim=1).values
    values, order = scores.gather(1, indices).sort(dim=1, descending=True, stable=True)
    return values, indices.gather(1, order)
