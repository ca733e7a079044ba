"""The repeat-explore ranker as torch modules: what is trained.

Once trained, :class:`~lit_rec.ranking.ranker.NumpyRankerNetwork` computes the same with numpy. Shapes: Q users, M
candidates of their histories, C candidates that they have not bought, E members, F features.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lit_rec.ranking.explore_features import EXPLORE_FEATURES, USER_FEATURES
from lit_rec.ranking.ranker import LIMIT, NumpyRankerNetwork
from lit_rec.ranking.repeat_features import REPEAT_FEATURES

_LOG_SCALED = {  # counts, gaps and other numbers with a long tail
    "n_bought", "orders_since_first", "orders_since_last", "days_since_first", "days_since_last", "in_last_1",
    "in_last_2", "in_last_3", "in_last_5", "in_last_10", "decayed_0.6", "decayed_0.8", "decayed_0.9", "decayed_0.95",
    "decayed_14_days", "decayed_45_days", "decayed_150_days", "share_since_first", "streak", "mean_order_gap",
    "order_gap_std", "order_gap_ratio", "mean_day_gap", "day_gap_std", "day_gap_ratio", "last_order_gap", "n_orders",
    "basket_size", "last_basket_size", "n_distinct", "days_since_prior", "user_day_gap", "rank_by_decayed",
    "repurchase_rate", "user_basket_size",
}  # fmt: skip


class Ensemble(nn.Module):
    """Several small networks over the same features, whose scores are averaged.

    Args:
        names: F features.
        hidden_size: width of both layers.
        ensemble_size: E.
        dropout: in training.
    """

    is_log_scaled: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, names: Sequence[str], hidden_size: int, ensemble_size: int, dropout: float) -> None:
        super().__init__()
        size = len(names)
        self.register_buffer("is_log_scaled", torch.tensor([name in _LOG_SCALED for name in names]))
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
            for _ in range(ensemble_size)
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
        return torch.where(self.is_log_scaled, features.sign() * features.abs().log1p(), features)


class RankerNetwork(nn.Module):
    """Scores of bought and of new products, and the calibration that puts the two on one scale.

    Args:
        hidden_size: width of the networks' two layers.
        ensemble_size: networks whose scores are averaged.
        dropout: in training.
    """

    def __init__(self, hidden_size: int = 64, ensemble_size: int = 4, dropout: float = 0.2) -> None:
        super().__init__()
        self.repeat = Ensemble(REPEAT_FEATURES, hidden_size, ensemble_size, dropout)
        self.explore = Ensemble(EXPLORE_FEATURES, hidden_size, ensemble_size, dropout)
        self.calibration_scale = nn.Parameter(torch.zeros(()))  # its logarithm, so that it stays above 0
        self.calibration_offset = nn.Sequential(nn.Linear(len(USER_FEATURES), 16), nn.SiLU(), nn.Linear(16, 1))

    def calibrate(self, explore: Tensor, query: Tensor, users: Tensor) -> Tensor:
        """Explore scores on the scale of repeat scores.

        Args:
            explore: ``(C,)``.
            query: int64 ``(C,)``.
            users: ``(Q, 4)``, :data:`~lit_rec.ranking.explore_features.USER_FEATURES`.
        """
        offset: Tensor = self.calibration_offset(users)[query, 0]
        return explore * self.calibration_scale.exp() + offset

    def to_numpy(self) -> NumpyRankerNetwork:
        """A copy that scores with numpy."""
        return NumpyRankerNetwork(
            {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.state_dict().items()}
        )
