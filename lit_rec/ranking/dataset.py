"""What the ranker is trained on: the candidates of past orders, with their features and labels.

Several past orders of each training user are targets, each with only the orders before it as its history. What is
known of products is counted over other users than the target's own, group by group, so that nothing of a target is in
its features. Shapes: T targets, M candidates of their histories, C candidates that were not bought before, N products.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor
from torch.utils.data import Dataset

from lit_rec.data.histories import PurchaseHistories
from lit_rec.data.ragged import concatenated_ranges
from lit_rec.data.rolling_targets import RollingTargets
from lit_rec.ranking.auxiliary_orders import AuxiliaryOrders
from lit_rec.ranking.features import CandidateFeatures, ranker_features
from lit_rec.ranking.item_item import ItemItemModel
from lit_rec.ranking.product_statistics import ProductStatistics

_GROUPS = 4  # of training users
_TARGETS_AT_A_TIME = 256


class GroupedCandidates(NamedTuple):
    """Candidates of T targets, flat.

    Args:
        features: float32 ``(M, F)``.
        target: int64 ``(M,)``, ascending, 0 to T - 1.
        labels: float32 ``(M,)``, 1 where the target order holds the product.
    """

    features: Tensor
    target: Tensor
    labels: Tensor

    def select(self, targets: NDArray[np.int64]) -> "GroupedCandidates":
        """Candidates of these targets alone, which are numbered anew.

        Args:
            targets: ``(S,)``.
        """
        begin, end = (np.searchsorted(self.target.numpy(), targets, side) for side in ("left", "right"))
        rows = torch.from_numpy(concatenated_ranges(begin, end))
        target = torch.from_numpy(np.repeat(np.arange(len(targets)), end - begin))
        return GroupedCandidates(self.features[rows], target, self.labels[rows])


class RankerBatch(NamedTuple):
    """What a step is trained on.

    Args:
        repeat: candidates of the histories.
        explore: candidates that were not bought before.
        users: float32 ``(T, 4)``.
    """

    repeat: GroupedCandidates
    explore: GroupedCandidates
    users: Tensor


@dataclass
class RankingDataset(Dataset[RankerBatch]):
    """All candidates of T targets; an array of targets is answered with a batch.

    Args:
        repeat: candidates of the histories.
        explore: candidates that were not bought before.
        users: float32 ``(T, 4)``.
    """

    repeat: GroupedCandidates
    explore: GroupedCandidates
    users: Tensor

    @classmethod
    def of(
        cls,
        training: PurchaseHistories,
        targets: RollingTargets,
        aisle: NDArray[np.int32],
        auxiliary_orders: AuxiliaryOrders | None,
        seed: int,
    ) -> Self:
        """Candidates and features of all targets, in the order of :func:`target_chunks`.

        Args:
            training: whole histories of the users whose targets they are.
            targets: what is to be predicted.
            aisle: int32 ``(N,)``.
            auxiliary_orders: single orders of other users; None for none.
            seed: of the groups of users.
        """
        repeat, explore, users, n_before = [], [], [], 0
        others_before: PurchaseHistories | None = None
        for others, some in target_chunks(training, targets, seed):
            if others is not others_before:
                statistics = ProductStatistics.fit(others, aisle, auxiliary_orders)
                item_item = ItemItemModel.fit(others, aisle, auxiliary_orders)
                others_before = others
            features = ranker_features(some.histories, statistics, item_item)
            repeat.append(_labelled(features.repeat, some, n_before))
            explore.append(_labelled(features.explore, some, n_before))
            users.append(torch.from_numpy(features.users))
            n_before += len(some)
        return cls(_concatenated(repeat), _concatenated(explore), torch.cat(users))

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, targets: NDArray[np.int64]) -> RankerBatch:
        return RankerBatch(self.repeat.select(targets), self.explore.select(targets), self.users[targets])


def target_chunks(
    training: PurchaseHistories, targets: RollingTargets, seed: int
) -> Iterator[tuple[PurchaseHistories, RollingTargets]]:
    """Targets a few hundred at a time, each time with the users over whom products may be counted.

    Args:
        training: whole histories of the users whose targets they are.
        targets: what is to be predicted.
        seed: of the groups of users.

    Yields:
        Users of the other groups, the same object for all chunks of a group, and some targets of one group.
    """
    group = np.random.default_rng(seed).integers(0, min(_GROUPS, max(len(training), 1)), len(training))
    chunks: list[tuple[int, NDArray[np.int64]]] = []
    for number in np.unique(group).tolist():
        rows = np.flatnonzero(group[targets.user] == number)
        chunks += [(number, part) for part in np.split(rows, range(_TARGETS_AT_A_TIME, len(rows), _TARGETS_AT_A_TIME))]
    last, others = -1, training
    for number, rows in track(chunks, description="Features of the ranker", disable=len(chunks) < 3):
        if number != last:
            last, others = number, training.select(np.flatnonzero(group != number))
        yield others, targets.select(rows)


def _labelled(candidates: CandidateFeatures, targets: RollingTargets, n_before: int) -> GroupedCandidates:
    labels = targets.is_in_target(candidates.query, candidates.product).astype(np.float32)
    return GroupedCandidates(*map(torch.from_numpy, (candidates.features, candidates.query + n_before, labels)))


def _concatenated(parts: list[GroupedCandidates]) -> GroupedCandidates:
    return GroupedCandidates(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
