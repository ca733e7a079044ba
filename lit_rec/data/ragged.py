"""Ragged arrays: groups of different sizes, flat one after another, with an array of where each begins."""

import numpy as np
from numpy.typing import NDArray


def starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of some groups begins in a flat array, and where the last one ends.

    >>> starts(np.array([2, 0, 3]))
    array([0, 2, 2, 5])
    """
    return np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))


def concatenated_ranges(begin: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
    """``begin[0], ..., end[0] - 1, begin[1], ...``: the places of several groups in a flat array.

    >>> concatenated_ranges(np.array([5, 9, 1]), np.array([7, 9, 3]))
    array([5, 6, 1, 2])
    """
    counts = end - begin
    first = starts(counts)
    return np.arange(first[-1]) + np.repeat(begin - first[:-1], counts)
