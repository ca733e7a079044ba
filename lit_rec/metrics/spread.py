"""How far embeddings are spread out: a collapsed space puts all products in one place.

Shapes: N products, D embedding.
"""

import torch
from torch import Tensor


def embedding_spread(embeddings: Tensor) -> dict[str, float]:
    """Figures that tell a healthy space from a collapsed one.

    Args:
        embeddings: float ``(N, D)``, of length 1.

    Returns:
        ``mean_cosine``: mean cosine over all pairs of different products, near 0 in a healthy space, 1 in a
        collapsed one. ``mean_std``: standard deviation of a dimension, mean over dimensions; at most
        ``1 / sqrt(D)``. ``effective_rank``: exp of the entropy of the spectrum, 1 to D.

    Source: Roy and Vetterli, The effective rank (2007), of the singular values of the centred embeddings.

    >>> embedding_spread(torch.eye(2))["mean_cosine"]
    0.0
    """
    embeddings = embeddings.detach().float()
    n = len(embeddings)
    mean_cosine = (embeddings.sum(0).square().sum() - n) / max(n * (n - 1), 1)
    centred = embeddings - embeddings.mean(0)
    spectrum = torch.linalg.eigvalsh((centred.T @ centred).cpu().double()).clamp(min=0).sqrt()
    share = spectrum / spectrum.sum().clamp(min=torch.finfo(spectrum.dtype).tiny)
    return {
        "mean_cosine": float(mean_cosine),
        "mean_std": float(centred.square().mean(0).sqrt().mean()),
        "effective_rank": float(torch.special.entr(share).sum().exp()),
    }
