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

Embeddings = NDArray[np.float32]

N_PAIRS = 20_000

# Mean cosine of two random texts: the share of the squared length that is common to all. Untrained MiniLM has .37
# on the Instacart catalogue.
COLLAPSED_COSINE, ANISOTROPIC_COSINE = 0.95, 0.75
# Directions in use, as a share of those that there can be: few directions cannot tell thousands of texts apart.
COLLAPSED_RANK, ANISOTROPIC_RANK = 0.02, 0.1


class EmbeddingState(StrEnum):
    """The state of a space, best first."""

    HEALTHY = "healthy"
    ANISOTROPIC = "anisotropic"
    COLLAPSED = "collapsed"


@dataclass(frozen=True)
class EmbeddingReport:
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

    @classmethod
    def of(cls, embeddings: Embeddings, seed: int = 0) -> "EmbeddingReport":
        """Figures of unit vectors ``(N, D)``, with pairs that the seed chooses."""
        spread = embedding_spread(torch.from_numpy(embeddings))
        cosines = random_pair_cosines(embeddings, seed=seed)
        n, n_dimensions = embeddings.shape
        mean, std = float(cosines.mean()), float(cosines.std())
        return cls(n, n_dimensions, mean, std, spread["mean_std"], spread["effective_rank"])

    @property
    def rank_share(self) -> float:
        """Effective rank as a share of the rank that so many texts in so many dimensions can have."""
        return self.effective_rank / max(min(self.n - 1, self.n_dimensions), 1)

    @property
    def state(self) -> EmbeddingState:
        """The state, by the thresholds of this module."""
        if self.mean_cosine > COLLAPSED_COSINE or self.rank_share < COLLAPSED_RANK:
            return EmbeddingState.COLLAPSED
        if self.mean_cosine > ANISOTROPIC_COSINE or self.rank_share < ANISOTROPIC_RANK:
            return EmbeddingState.ANISOTROPIC
        return EmbeddingState.HEALTHY

    def as_json(self) -> dict[str, float | int | str]:
        """All figures, flat."""
        return {**asdict(self), "rank_share": self.rank_share, "state": self.state.value}


def random_pair_cosines(embeddings: Embeddings, n_pairs: int = N_PAIRS, seed: int = 0) -> Embeddings:
    """Cosines ``(P,)`` of random pairs of different rows; the same seed gives the same pairs.

    Args:
        embeddings: ``(N, D)``, of length 1.
        n_pairs: P.
        seed: of the pairs.

    Raises:
        SettingError: there are no two rows.
    """
    n = len(embeddings)
    if n < 2:
        raise SettingError("Pairs need at least 2 texts", f"got {n}", "Compare on more queries")
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n, n_pairs)
    second = (first + rng.integers(1, n, n_pairs)) % n
    cosines: Embeddings = np.einsum("pd,pd->p", embeddings[first], embeddings[second])
    return cosines


def singular_value_shares(embeddings: Embeddings) -> Embeddings:
    """Singular values of the centred embeddings, largest first, as shares of their sum, ``(min(N - 1, D),)``.

    Args:
        embeddings: ``(N, D)``.
    """
    centred = torch.from_numpy(embeddings - embeddings.mean(axis=0)).double()
    values = torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0).sqrt().flip(0)[: len(embeddings) - 1]
    shares: Embeddings = (values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)).float().numpy()
    return shares


def diagnosis(products: EmbeddingReport, queries: EmbeddingReport) -> tuple[EmbeddingState, str]:
    """The worse state of the two, and a sentence that says it with its figures and thresholds."""
    reports = {"products": products, "queries": queries}
    state = max((report.state for report in reports.values()), key=list(EmbeddingState).index)
    where = " and ".join(what for what, report in reports.items() if report.state == state)
    words = {
        EmbeddingState.HEALTHY: "are spread out",
        EmbeddingState.ANISOTROPIC: "share much of their direction",
        EmbeddingState.COLLAPSED: "are almost the same vector, or lie in a few directions",
    }
    figures = "; ".join(
        f"{what}: mean cosine of random pairs {report.mean_cosine:.2f}, effective rank {report.effective_rank:.0f} "
        f"({report.rank_share:.0%} of what can be)"
        for what, report in reports.items()
    )
    return state, (
        f"{state.capitalize()}: {where} {words[state]} ({figures}). "
        f"Anisotropic is a mean cosine above {ANISOTROPIC_COSINE} or a rank below {ANISOTROPIC_RANK:.0%}, "
        f"collapsed above {COLLAPSED_COSINE} or below {COLLAPSED_RANK:.0%}."
    )
