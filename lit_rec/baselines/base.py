"""What every baseline is: fitted on the purchases of training users, it scores the catalogue for others."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lit_rec.core.bounds import check_bounds
from lit_rec.data.histories import PurchaseHistories, Queries

# Q queries, N products

Scores = NDArray[np.float64]


class Baseline(ABC):
    """Ranks the whole catalogue by a score; of equal scores the product first in the catalogue wins.

    A subclass with hyper-parameters is a dataclass of them, with defaults that were published for Instacart. Bounds
    that their types name are checked: outside of them is a SettingError.
    """

    name: ClassVar[str]
    """What ``evaluate --baselines`` calls it."""

    def __post_init__(self) -> None:
        check_bounds(self)

    @classmethod
    def grid(cls) -> list[Self]:
        """What to choose from on the validation queries; the first one where there are none."""
        return [cls()]

    @abstractmethod
    def fit(self, training: PurchaseHistories, product_texts: Sequence[str]) -> Self:
        """Learn from training users; returns itself.

        Args:
            training: whole histories of the users that may be trained on, their newest orders included.
            product_texts: N texts, in catalogue order.
        """

    @abstractmethod
    def scores(self, queries: Queries) -> Scores:
        """float64 ``(Q, N)``: higher is better.

        Args:
            queries: a few at a time, as the whole catalogue is scored for each.
        """
