"""The repeat-explore ranker as torch modules: what is trained.

Once trained, :class:`~lit_rec.ranking.numpy_network.NumpyRankerNetwork` computes the same with numpy. Shapes: Q users,
M candidates of their histories, C candidates that they have not bought, E networks of an ensemble, F features.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lit_rec.ranking.feature_columns import Feature
from lit_rec.ranking.features import EXPLORE_FEATURES, REPEAT_FEATURES, USER_FEATURES
from lit_rec.ranking.numpy_network import LIMIT, NumpyRankerNetwork


class Ensemble(nn.Module):
    """Several small networks over the same features.

    Args:
        features: F of them.
        hidden_size: width of both layers.
        ensemble_size: E.
        dropout: in training.
    """

    is_log_scaled: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, features: Sequence[Feature], hidden_size: int, ensemble_size: int, dropout: float) -> None:
        super().__init__()
        size = len(features)
        self.register_buffer("is_log_scaled", torch.tensor([feature.is_log_scaled for feature in features]))
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
        """Set mean and standard deviation to those of training candidates.

        Args:
            features: ``(M, F)``; NaN where not known.
        """
        if len(features):
            values = self._scaled(torch.from_numpy(features)).numpy()
            known = ~np.isnan(values)
            count = known.sum(axis=0).clip(1)
            mean = np.where(known, values, 0).sum(axis=0, dtype=np.float64) / count
            square = np.where(known, values - mean, 0) ** 2
            self.mean.copy_(torch.from_numpy(mean))
            self.std.copy_(torch.from_numpy(np.sqrt(square.sum(axis=0, dtype=np.float64) / count) + 1e-6))

    def forward(self, features: Tensor) -> Tensor:
        """Scores by each network, ``(E, M)``.

        Args:
            features: float32 ``(M, F)``; NaN where not known, which the networks are told in F further inputs.
        """
        values = (self._scaled(features) - self.mean) / self.std
        missing = values.isnan()
        inputs = torch.cat([values.nan_to_num(0.0).clamp(-LIMIT, LIMIT), missing.to(values.dtype)], dim=1)
        return torch.stack([member(inputs)[:, 0] for member in self.members])

    def _scaled(self, features: Tensor) -> Tensor:
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
        """Explore scores on the scale of repeat scores, ``(C,)``.

        Args:
            explore: ``(C,)``.
            query: int64 ``(C,)``.
            users: ``(Q, 4)``, :data:`~lit_rec.ranking.features.USER_FEATURES`.
        """
        offset: Tensor = self.calibration_offset(users)[query, 0]
        return explore * self.calibration_scale.exp() + offset

    def to_numpy(self) -> NumpyRankerNetwork:
        """A copy that scores with numpy."""
        return NumpyRankerNetwork(
            {name: value.detach().cpu().numpy().copy() for name, value in self.state_dict().items()}
        )
