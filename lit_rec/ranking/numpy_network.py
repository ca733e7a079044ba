"""The trained networks of the ranker, in numpy alone: what the serving path scores with.

:mod:`~lit_rec.ranking.network` is what is trained. Shapes: Q users, M candidates that they have bought, C candidates
that they have not, E networks of an ensemble, F features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lit_rec.ranking.features import EXPLORE_FEATURES, REPEAT_FEATURES, USER_FEATURES

Floats = NDArray[np.float32]

LIMIT = 5.0  # standard deviations
_LINEAR_LAYERS = (0, 3, 6)  # of a network; the layers between have no weights


@dataclass(frozen=True)
class NumpyEnsemble:
    """Several small trained networks over the same features.

    Args:
        is_log_scaled: bool ``(F,)``.
        mean: float32 ``(F,)``, after the logarithm.
        std: float32 ``(F,)``.
        members: of each network the weights ``(inputs, outputs)`` and biases of its layers, in order.
    """

    is_log_scaled: NDArray[np.bool_]
    mean: Floats
    std: Floats
    members: list[list[tuple[Floats, Floats]]]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Ensemble of the state of a :class:`~lit_rec.ranking.network.Ensemble`."""
        size = sum(name.startswith("members.") and name.endswith(".0.weight") for name in arrays)
        members = [
            [
                (np.ascontiguousarray(arrays[f"members.{e}.{layer}.weight"].T), arrays[f"members.{e}.{layer}.bias"])
                for layer in _LINEAR_LAYERS
            ]
            for e in range(size)
        ]
        return cls(arrays["is_log_scaled"], arrays["mean"], arrays["std"], members)

    def __call__(self, features: Floats) -> Floats:
        """Mean score of the networks, ``(M,)``.

        Args:
            features: float32 ``(M, F)``; NaN where not known.
        """
        values = features.copy()
        logs = values[:, self.is_log_scaled]
        values[:, self.is_log_scaled] = np.sign(logs) * np.log1p(np.abs(logs))
        values = (values - self.mean) / self.std
        missing = np.isnan(values)
        values[missing] = 0
        inputs = np.concatenate([values.clip(-LIMIT, LIMIT), missing.astype(np.float32)], axis=1)
        scores = np.zeros(len(features), dtype=np.float32)
        for first, second, last in self.members:
            hidden = _silu(_silu(inputs @ first[0] + first[1]) @ second[0] + second[1])
            scores += (hidden @ last[0] + last[1])[:, 0]
        return scores / np.float32(len(self.members))


@dataclass(frozen=True)
class NumpyRankerNetwork:
    """The trained networks of bought and of new products, and what puts their scores on one scale.

    Args:
        arrays: state of a :class:`~lit_rec.ranking.network.RankerNetwork`.
    """

    arrays: Mapping[str, NDArray[Any]]

    @cached_property
    def repeat(self) -> NumpyEnsemble:
        """Scores candidates that were bought before."""
        return NumpyEnsemble.from_arrays(arrays_below("repeat.", self.arrays))

    @cached_property
    def explore(self) -> NumpyEnsemble:
        """Scores candidates that were not bought before."""
        return NumpyEnsemble.from_arrays(arrays_below("explore.", self.arrays))

    def calibrate(self, explore: Floats, query: NDArray[np.int64], users: Floats) -> Floats:
        """Explore scores on the scale of repeat scores, ``(C,)``.

        Args:
            explore: ``(C,)``.
            query: int64 ``(C,)``.
            users: float32 ``(Q, 4)``, :data:`~lit_rec.ranking.features.USER_FEATURES`.
        """
        a = self.arrays
        hidden = _silu(users @ a["calibration_offset.0.weight"].T + a["calibration_offset.0.bias"])
        offset = (hidden @ a["calibration_offset.2.weight"].T + a["calibration_offset.2.bias"])[:, 0]
        scores: Floats = explore * np.exp(a["calibration_scale"]) + offset[query]
        return scores

    def check(self) -> None:
        """Score one made-up candidate of each kind.

        Raises:
            KeyError: an array is missing.
            ValueError: shapes do not fit together.
        """
        explore = self.explore(np.zeros((1, len(EXPLORE_FEATURES)), dtype=np.float32))
        self.repeat(np.zeros((1, len(REPEAT_FEATURES)), dtype=np.float32))
        self.calibrate(explore, np.zeros(1, dtype=np.int64), np.zeros((1, len(USER_FEATURES)), dtype=np.float32))


def _silu(values: Floats) -> Floats:
    activated = np.negative(values)  # one array all through: this is most of the time of scoring
    with np.errstate(over="ignore"):  # of a large negative number: 0 is right
        np.exp(activated, out=activated)
    activated += 1
    return np.divide(values, activated, out=activated)


def arrays_below(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Arrays whose names begin with a prefix, named without it.

    >>> arrays_below("a.", {"a.b": np.ones(1), "c": np.ones(1)})
    {'b': array([1.])}
    """
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
