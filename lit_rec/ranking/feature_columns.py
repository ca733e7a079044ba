"""Features by name: each is named, scaled and computed in one entry of a dict.

An entry more is a feature more. The order of the entries is the order of the columns, which a trained ranker reads by
place: it records the names, and is refused once they have changed. M candidates, F features.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lit_rec.data.histories import histories_of

Floats = NDArray[np.float32]

NOBODY = histories_of([], {})
"""Histories of no user: what is computed of them has no rows, but all names."""


class Feature(NamedTuple):
    """A column that the ranker's networks read.

    Args:
        name: as ``ranker.json`` records it.
        is_log_scaled: whether they read ``sign(x) * log(1 + |x|)`` in the place of x.
    """

    name: str
    is_log_scaled: bool


class Column(NamedTuple):
    """Values of a feature, ``(M,)``, NaN where not known, and whether the networks read them on a log scale."""

    values: NDArray[Any]
    is_log_scaled: bool


def linear(values: NDArray[Any]) -> Column:
    """Column that the networks read as it is: shares, rates, similarities, and what is a logarithm already."""
    return Column(values, is_log_scaled=False)


def log_scaled(values: NDArray[Any]) -> Column:
    """Column with a long tail, such as a count or a gap, that the networks read on a log scale."""
    return Column(values, is_log_scaled=True)


def features_of(columns: Mapping[str, Column]) -> tuple[Feature, ...]:
    """Names and scales of F columns, in their order."""
    return tuple(Feature(name, column.is_log_scaled) for name, column in columns.items())


def stacked(columns: Mapping[str, Column]) -> Floats:
    """float32 ``(M, F)``: the columns side by side."""
    return np.stack([np.asarray(column.values, dtype=np.float32) for column in columns.values()], axis=1)
