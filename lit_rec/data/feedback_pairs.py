"""Pairs that users' feedback was turned into, beside those of a processed folder."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import load_from_disk
from numpy.typing import NDArray

from lit_rec.core import schema
from lit_rec.core.bounds import CheckedSettings, NonNegativeFloat, PositiveFloat
from lit_rec.core.errors import NotPreparedError, ProcessedFolderError
from lit_rec.core.files import read_json, replaced_when_complete, sha256_of_texts
from lit_rec.core.next_steps import command
from lit_rec.data.arrow_files import product_indices, run_starts
from lit_rec.data.dataset import ANCHORS, HardNegatives, TokenCache, TrainingPairs
from lit_rec.data.ragged import starts
from lit_rec.data.tokens import chunked, joined_tokens, read_tokens, write_tokens

_TEXTS_PER_CHUNK = 4_096
_FEEDBACK = "feedback"


@dataclass(frozen=True)
class FeedbackPairs(CheckedSettings):
    """A folder that ``feedback to-pairs`` wrote.

    Args:
        path: the folder.
        pair_weight: its pairs count this many times what they are recorded with; an original pair counts 1.
        hard_negative_weight: its hard negatives count this many times what they are recorded with; 0 leaves them out.
    """

    path: Path
    pair_weight: PositiveFloat = 1.0
    hard_negative_weight: NonNegativeFloat = 1.0

    @cached_property
    def sha256(self) -> dict[str, str]:
        """Content hashes of its datasets.

        Raises:
            NotPreparedError: the folder is none of feedback pairs.
        """
        file = self.path / schema.FEEDBACK_PARAMS
        if not file.is_file():
            raise NotPreparedError(
                f"No feedback pairs at {self.path}",
                f"it holds no {schema.FEEDBACK_PARAMS}",
                "Run: " + command("feedback", "to-pairs", "--output_dir", self.path),
            )
        hashes: dict[str, str] = read_json(file)["sha256"]
        return hashes

    def build(self, cache: TokenCache) -> None:
        """Tokenise the contexts, and put those of the processed folder before them, unless that is done."""
        folder = self._cache_of(cache)
        if folder.exists():
            return
        cache.training_pairs()  # says so where the folder holds none
        rows = self._rows(schema.TRAIN_DATASET)
        anchors = rows[schema.ANCHOR].take(pa.array(run_starts(rows[schema.QUERY_ID])[:-1]))
        with replaced_when_complete(folder) as unfinished:
            texts = chunked(len(anchors), lambda some: anchors[some].to_pylist(), _TEXTS_PER_CHUNK)
            write_tokens(unfinished, _FEEDBACK, texts, cache.tokenizer)
            joined_tokens(unfinished, ANCHORS, [(cache.path, ANCHORS), (unfinished, _FEEDBACK)])

    def beside(self, pairs: TrainingPairs, cache: TokenCache) -> TrainingPairs:
        """The pairs of a processed folder, and after them these.

        Args:
            pairs: those of the folder.
            cache: of the folder, for which :meth:`build` was called.

        Raises:
            ProcessedFolderError: a product is not in the folder's catalogue.
        """
        positives = self._rows(schema.TRAIN_DATASET)
        order_start = run_starts(positives[schema.QUERY_ID])
        numbers = positives[schema.QUERY_ID].take(pa.array(order_start[:-1]))
        n_pairs, n_orders = len(pairs.pair_product), len(pairs.anchors)
        weight = positives[schema.WEIGHT].to_numpy() * self.pair_weight
        return TrainingPairs(
            anchors=read_tokens(self._cache_of(cache), ANCHORS),
            products=pairs.products,
            pair_product=np.concatenate([pairs.pair_product, self._products(positives, cache)]),
            order_start=np.concatenate([pairs.order_start, n_pairs + order_start[1:]]),
            pair_weight=np.concatenate([np.ones(n_pairs), weight]).astype(np.float32),
            hard_negatives=self._hard_negatives(numbers, n_orders, cache) if self.hard_negative_weight else None,
        )

    def _hard_negatives(self, numbers: pa.ChunkedArray, n_before: int, cache: TokenCache) -> HardNegatives:
        """Sorted by the orders of the pairs, which are called by ``numbers``; orders before them have none."""
        rows = self._rows(schema.NEGATIVES_DATASET)
        order = pc.index_in(rows[schema.QUERY_ID], value_set=numbers.combine_chunks())
        if order.null_count:
            raise ProcessedFolderError(
                f"The datasets of {self.path} do not fit together",
                f"{order.null_count:,} hard negatives are of a request that has no pair",
                "Run feedback to-pairs again",
            )
        order = order.to_numpy()
        by_order = np.argsort(order, kind="stable")
        counts = np.bincount(order, minlength=len(numbers))
        weight = rows[schema.WEIGHT].to_numpy() * self.hard_negative_weight
        return HardNegatives(
            product=self._products(rows, cache)[by_order],
            weight=weight[by_order].astype(np.float32),
            order_start=starts(np.concatenate([np.zeros(n_before, dtype=np.int64), counts])),
        )

    def _products(self, rows: pa.Table, cache: TokenCache) -> NDArray[np.int32]:
        do = f"Run feedback to-pairs with --processed_dir {cache.folder.path}"
        return product_indices(rows[schema.PRODUCT_ID], map(int, cache.folder.corpus), self.path, do)

    def _rows(self, name: str) -> pa.Table:
        _ = self.sha256  # says what is missing
        table: Any = load_from_disk(self.path / name).data.table
        return table

    def _cache_of(self, cache: TokenCache) -> Path:
        key = sha256_of_texts([cache.path.name, *sorted(self.sha256.values())])[:16]
        return self.path / schema.TOKEN_CACHE / key
