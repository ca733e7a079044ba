"""Whether embeddings still tell texts apart, in figures and in plain words.

Shapes: N texts, D embedding, P pairs.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray

from lit_rec.core.errors import SettingError
from lit_rec.metrics.spread import embedding_spread

Floats = NDArray[np.float32]

N_PAIRS = 20_000

# Mean cosine of two random texts: the share of the squared length that is common to all. Untrained MiniLM has .37
# on the Instacart catalogue.
COLLAPSED_COSINE, NARROW_COSINE = 0.95, 0.75
# Directions in use, as a share of those that there can be: few directions cannot tell thousands of texts apart.
COLLAPSED_RANK, NARROW_RANK = 0.02, 0.1


class Health(StrEnum):
    """The state of a space, best first."""

    HEALTHY = "healthy"
    NARROW = "narrow"
    COLLAPSE = "collapse"


@dataclass(frozen=True)
class Spread:
    """Figures of a set of embeddings.

    Args:
        n: N.
        n_dimensions: D.
        mean_cosine: mean over random pairs of different texts.
        std_cosine: standard deviation over these pairs.
        mean_std: standard deviation of a dimension, mean over dimensions; at most ``1 / sqrt(D)``.
        effective_rank: exp of the entropy of the singular values, 1 to D.
    """

    n: int
    n_dimensions: int
    mean_cosine: float
    std_cosine: float
    mean_std: float
    effective_rank: float

    @property
    def rank_share(self) -> float:
        """Effective rank as a share of the rank that so many texts in so many dimensions can have."""
        return self.effective_rank / max(min(self.n - 1, self.n_dimensions), 1)

    @property
    def health(self) -> Health:
        """By the thresholds of this module."""
        if self.mean_cosine > COLLAPSED_COSINE or self.rank_share < COLLAPSED_RANK:
            return Health.COLLAPSE
        if self.mean_cosine > NARROW_COSINE or self.rank_share < NARROW_RANK:
            return Health.NARROW
        return Health.HEALTHY

    def as_json(self) -> dict[str, float | int | str]:
        """All figures, flat."""
        return {**asdict(self), "rank_share": self.rank_share, "health": self.health.value}


def spread_of(embeddings: Floats, pair_cosines: Floats) -> Spread:
    """The figures of unit vectors.

    Args:
        embeddings: ``(N, D)``.
        pair_cosines: ``(P,)``, of :func:`random_pair_cosines`.
    """
    found = embedding_spread(torch.from_numpy(embeddings))
    return Spread(
        n=len(embeddings),
        n_dimensions=embeddings.shape[1],
        mean_cosine=float(pair_cosines.mean()),
        std_cosine=float(pair_cosines.std()),
        mean_std=found["mean_std"],
        effective_rank=found["effective_rank"],
    )


def random_pair_cosines(embeddings: Floats, n_pairs: int = N_PAIRS, seed: int = 0) -> Floats:
    """Cosines of random pairs of different rows; the same seed gives the same pairs.

    Args:
        embeddings: ``(N, D)``, of length 1.
        n_pairs: P.
        seed: of the pairs.

    Returns:
        ``(P,)``.

    Raises:
        SettingError: there are no two rows.
    """
    n = len(embeddings)
    if n < 2:
        raise SettingError("Pairs need at least 2 texts", f"got {n}", "Compare on more queries")
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n, n_pairs)
    second = (first + rng.integers(1, n, n_pairs)) % n
    cosines: Floats = np.einsum("pd,pd->p", embeddings[first], embeddings[second])
    return cosines


def spectrum(embeddings: Floats) -> Floats:
    """Singular values of the centred embeddings, largest first, as shares of their sum, ``(min(N - 1, D),)``.

    Args:
        embeddings: ``(N, D)``.
    """
    centred = torch.from_numpy(embeddings - embeddings.mean(axis=0)).double()
    values = torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0).sqrt().flip(0)[: len(embeddings) - 1]
    shares: Floats = (values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)).float().numpy()
    return shares


def verdict(products: Spread, queries: Spread) -> tuple[Health, str]:
    """The worse state of the two, and a sentence that says it with its figures and thresholds."""
    state = max((products.health, queries.health), key=list(Health).index)
    figures = "; ".join(
        f"{name}: mean cosine of random pairs {one.mean_cosine:.2f}, effective rank {one.effective_rank:.0f} "
        f"({one.rank_share:.0%} of what can be)"
        for name, one in (("products", products), ("queries", queries))
    )
    words = {
        Health.HEALTHY: "Healthy: products and queries are spread out",
        Health.NARROW: f"Narrow: {_where(products, queries, state)} share much of their direction",
        Health.COLLAPSE: f"Collapse: {_where(products, queries, state)} are almost the same vector, or lie in a few "
        "directions",
    }
    limits = (
        f"Narrow is a mean cosine above {NARROW_COSINE} or a rank below {NARROW_RANK:.0%}, "
        f"collapse above {COLLAPSED_COSINE} or below {COLLAPSED_RANK:.0%}"
    )
    return state, f"{words[state]} ({figures}). {limits}."


def _where(products: Spread, queries: Spread, state: Health) -> str:
    found = [name for name, one in (("products", products), ("queries", queries)) if one.health == state]
    return " and ".join(found)
