"""Which orders or pairs make up each batch: seeded, bucketed by length, shared out, resumable in mid-epoch.

A global batch is what all processes train on in one step. It depends on the seed and the epoch alone, not on
how many workers load it; the processes share it out, so no pair is trained on twice and none is lost.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from lit_rec.core.errors import SettingError

# Batches of a bucket are sorted by length among themselves: many pad little, few mix well. With fewer buckets than
# this, an item would meet the same others in every epoch.
_MAX_BATCHES_PER_BUCKET, _MIN_BUCKETS = 64, 4


class BatchSampler(Sampler[NDArray[np.int64]]):
    """Yields one process's share of each global batch of an epoch.

    Args:
        lengths: int ``(n,)``, tokens of each item's text.
        batch_size: items a process and step.
        seed: another seed gives another order.
        rank: this process.
        world_size: number of processes.
        items: int64, the only items to draw; None for all ``n``.
        by_length: put items of like length into a batch.
    """

    def __init__(
        self,
        lengths: NDArray[np.int64],
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        items: NDArray[np.int64] | None = None,
        by_length: bool = True,
    ) -> None:
        self.items = np.arange(len(lengths)) if items is None else items
        if batch_size < 1:
            raise SettingError("batch_size must be at least 1", f"got {batch_size}")
        if len(self.items) < world_size:
            raise SettingError(f"{world_size} processes need as many items to train on", f"got {len(self.items)}")
        self.lengths, self.seed, self.rank, self.world_size = lengths, seed, rank, world_size
        self.global_batch_size = batch_size * world_size
        self.by_length = by_length
        self.epoch = 0
        self.first_batch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch; a new epoch starts at its first batch."""
        if epoch != self.epoch:
            self.epoch, self.first_batch = epoch, 0

    def __len__(self) -> int:
        """Batches of a whole epoch, also when this one is entered in its middle."""
        full, rest = divmod(len(self.items), self.global_batch_size)
        # A rest too small to give each process an item joins the batch before it.
        return full + (rest >= self.world_size or full == 0)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        for batch in self.global_batches()[self.first_batch :]:
            yield batch[self.rank :: self.world_size]

    def global_batches(self) -> list[NDArray[np.int64]]:
        """All batches of the current epoch: a partition of the items."""
        rng = np.random.default_rng((self.seed, self.epoch))
        items = rng.permutation(self.items)
        items = self._bucketed(items) if self.by_length else items
        batches = np.split(items, np.arange(1, len(self)) * self.global_batch_size)
        return [batches[position] for position in rng.permutation(len(batches))]

    def _bucketed(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        batches = min(max(len(self) // _MIN_BUCKETS, 1), _MAX_BATCHES_PER_BUCKET)
        size = self.global_batch_size * batches
        buckets = np.split(items, np.arange(size, len(items), size))
        return np.concatenate([bucket[np.argsort(self.lengths[bucket], kind="stable")] for bucket in buckets])


class ResumableLoader(DataLoader[Any]):
    """A loader that tells the trainer's checkpoints how far into which epoch it is, and goes on from there.

    The dataset is asked for a whole batch at a time: its ``__getitem__`` takes what the sampler yields.

    Args:
        dataset: answers an array of items with a ready batch.
        batch_sampler: which items.
        options: further arguments of ``torch.utils.data.DataLoader``.
    """

    def __init__(self, dataset: Any, batch_sampler: BatchSampler, **options: Any) -> None:  # noqa: ANN401
        super().__init__(dataset, sampler=batch_sampler, batch_size=None, **options)
        self.batches = batch_sampler
        self._reached: tuple[int, int] | None = None  # epoch, and batches yielded of it

    def __iter__(self) -> Any:  # noqa: ANN401 - a generator, where torch promises a class of its own
        epoch, first_batch = self.batches.epoch, self.batches.first_batch
        self._reached = epoch, first_batch
        for n_yielded, batch in enumerate(super().__iter__(), first_batch + 1):
            self._reached = epoch, n_yielded
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The next batch to train on. The end of an epoch is the start of the one after it."""
        epoch, batch = self.batches.epoch, self.batches.first_batch
        if self._reached is not None and self._reached[0] == epoch:  # else nothing of this epoch was read yet
            batch = self._reached[1]
        return {"epoch": epoch + 1, "batch": 0} if batch >= len(self.batches) else {"epoch": epoch, "batch": batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        self.batches.epoch, self.batches.first_batch = state["epoch"], state["batch"]
        self._reached = None
