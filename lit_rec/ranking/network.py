"""The repeat-explore ranker as torch modules: what is trained.

Once trained, :class:`~lit_rec.ranking.ranker.ScoringNetwork` computes the same with numpy. Shapes: Q users, M
candidates of their histories, C candidates that they have not bought, E members, F features.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lit_rec.ranking.explore_features import EXPLORE_FEATURES, USER_FEATURES
from lit_rec.ranking.ranker import LIMIT, ScoringNetwork
from lit_rec.ranking.repeat_features import REPEAT_FEATURES

_COUNTS = ("since", "gap", "n_", "in_last", "decayed", "due", "size", "streak", "rank")  # long tails: on a log scale


class MemberScores(nn.Module):
    """Several small networks over the same features.

    Args:
        names: F features.
        hidden_size: width of both layers.
        n_members: E.
        dropout: in training.
    """

    log: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, names: Sequence[str], hidden_size: int, n_members: int, dropout: float) -> None:
        super().__init__()
        size = len(names)
        self.register_buffer("log", torch.tensor([any(part in name for part in _COUNTS) for name in names]))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))
        self.members = nn.ModuleList(
            nn.Sequential(
                nn.Linear(2 * size, hidden_size),
                nn.SiLU(),
                nn.Dropout(dropout),
                nn.Linear(hidden_size, hidden_size),
                nn.SiLU(),
                nn.Dropout(dropout),
                nn.Linear(hidden_size, 1),
            )
            for _ in range(n_members)
        )

    def fit_scale(self, features: NDArray[np.float32]) -> None:
        """Take mean and standard deviation from training candidates.

        Args:
            features: ``(M, F)``; NaN where not known.
        """
        if len(features):
            values = self._on_scale(torch.from_numpy(features)).numpy()
            known = ~np.isnan(values)
            count = known.sum(axis=0).clip(1)
            mean = np.where(known, values, 0).sum(axis=0, dtype=np.float64) / count
            square = np.where(known, values - mean, 0) ** 2
            self.mean.copy_(torch.from_numpy(mean))
            self.std.copy_(torch.from_numpy(np.sqrt(square.sum(axis=0, dtype=np.float64) / count) + 1e-6))

    def forward(self, features: Tensor) -> Tensor:
        """Score candidates.

        Args:
            features: float32 ``(M, F)``; NaN where not known.

        Returns:
            ``(E, M)``.
        """
        values = (self._on_scale(features) - self.mean) / self.std
        missing = values.isnan()
        inputs = torch.cat([values.nan_to_num(0.0).clamp(-LIMIT, LIMIT), missing.to(values.dtype)], dim=1)
        return torch.stack([member(inputs)[:, 0] for member in self.members])

    def _on_scale(self, features: Tensor) -> Tensor:
        return torch.where(self.log, features.sign() * features.abs().log1p(), features)


class RankerNetwork(nn.Module):
    """Scores of bought and of new products, and what makes the two comparable.

    Args:
        hidden_size: width of the networks' two layers.
        n_members: networks whose scores are averaged.
        dropout: in training.
    """

    def __init__(self, hidden_size: int = 64, n_members: int = 4, dropout: float = 0.2) -> None:
        super().__init__()
        self.repeat = MemberScores(REPEAT_FEATURES, hidden_size, n_members, dropout)
        self.explore = MemberScores(EXPLORE_FEATURES, hidden_size, n_members, dropout)
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.offset = nn.Sequential(nn.Linear(len(USER_FEATURES), 16), nn.SiLU(), nn.Linear(16, 1))

    def comparable(self, explore: Tensor, query: Tensor, users: Tensor) -> Tensor:
        """Explore scores on the scale of repeat scores.

        Args:
            explore: ``(C,)``.
            query: int64 ``(C,)``.
            users: ``(Q, 4)``, :data:`~lit_rec.ranking.explore_features.USER_FEATURES`.
        """
        offset: Tensor = self.offset(users)[query, 0]
        return explore * self.log_scale.exp() + offset

    def frozen(self) -> ScoringNetwork:
        """A copy that scores with numpy."""
        return ScoringNetwork(
            {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.state_dict().items()}
        )
