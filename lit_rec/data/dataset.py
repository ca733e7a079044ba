"""The prepared data as training and evaluation read it: memory-mapped arrays, and batches made from them.

Datasets hold plain arrays only, so that worker processes of any kind can have them.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset as ArrowDataset
from datasets import load_from_disk
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from lit_rec import schema
from lit_rec.data.tokens import Tokenizer, TokenTable, chunked, length_sorted_chunks, read_tokens, write_tokens
from lit_rec.errors import NotPreparedError, ProcessedFolderError
from lit_rec.files import replaced_when_complete, sha256_of_texts
from lit_rec.processed import ProcessedFolder
from lit_rec.schema import Split

logger = logging.getLogger(__name__)

_TEXTS_PER_CHUNK = 4_096
_PRODUCTS, _QUERIES, _ANCHORS = "products", "queries", "anchors"
_PAIR_PRODUCT, _ORDER_START = "pair_product.npy", "order_start.npy"

Batch = dict[str, Any]


@dataclass(frozen=True)
class TrainingPairs:
    """Pairs to train on, grouped by order.

    Args:
        anchors: the context of each order, ``n`` of them.
        products: the catalogue.
        pair_product: int32 ``(P,)``, the catalogue position of each pair's product.
        order_start: int64 ``(n + 1,)``; the pairs of order ``o`` are ``order_start[o]`` to ``order_start[o + 1]``.
    """

    anchors: TokenTable
    products: TokenTable
    pair_product: NDArray[np.int32]
    order_start: NDArray[np.int64]

    def pairs_of(self, orders: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64: the rows of these orders' pairs, order by order."""
        starts, ends = self.order_start[orders], self.order_start[orders + 1]
        return np.concatenate([np.arange(start, end) for start, end in zip(starts, ends, strict=True)])

    def log_frequency(self) -> NDArray[np.float32]:
        """float32 ``(N,)``: log of each product's share of all pairs, counted once more than seen."""
        counts = np.bincount(self.pair_product, minlength=len(self.products)) + 1.0
        frequency: NDArray[np.float32] = np.log(counts / counts.sum()).astype(np.float32)
        return frequency


class OrderDataset(Dataset[Batch]):
    """Answers an array of orders with a batch of whole orders: each context once, each product once.

    Args:
        pairs: what to draw from.
        rows_per_forward: texts of a batch that are padded together; None pads all together.
    """

    def __init__(self, pairs: TrainingPairs, rows_per_forward: int | None = None) -> None:
        self.pairs, self.rows_per_forward = pairs, rows_per_forward
        self.log_frequency = pairs.log_frequency()

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64 ``(n,)``: tokens of each item's context."""
        return self.pairs.anchors.lengths

    def __len__(self) -> int:
        return len(self.pairs.anchors)

    def __getitem__(self, orders: NDArray[np.int64]) -> Batch:
        sizes = self.pairs.order_start[orders + 1] - self.pairs.order_start[orders]
        return self._batch(np.repeat(orders, sizes), self.pairs.pairs_of(orders))

    def _batch(self, order_of_pair: NDArray[np.int64], rows: NDArray[np.int64]) -> Batch:
        """``anchor`` and ``product`` texts, each once and sorted by length; ``*_index`` says which pair has which."""
        anchors, anchor_index = _unique_by_length(order_of_pair, self.pairs.anchors)
        products, product_index = _unique_by_length(self.pairs.pair_product[rows], self.pairs.products)
        return {
            "anchor": length_sorted_chunks(self.pairs.anchors, anchors, self.rows_per_forward),
            "product": length_sorted_chunks(self.pairs.products, products, self.rows_per_forward),
            "anchor_index": torch.from_numpy(anchor_index),
            "product_index": torch.from_numpy(product_index),
            "product_position": torch.from_numpy(products),
            "log_frequency": torch.from_numpy(self.log_frequency[products]),
        }


class PairDataset(OrderDataset):
    """Answers an array of pairs with a batch of pairs, as the reference project has them.

    Args:
        pairs: what to draw from.
        rows_per_forward: texts of a batch that are padded together; None pads all together.
    """

    def __init__(self, pairs: TrainingPairs, rows_per_forward: int | None = None) -> None:
        super().__init__(pairs, rows_per_forward)
        self.order_of_pair = np.repeat(np.arange(len(pairs.anchors)), np.diff(pairs.order_start))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64 ``(P,)``: tokens of each pair's context."""
        return self.pairs.anchors.lengths[self.order_of_pair]

    def __len__(self) -> int:
        return len(self.pairs.pair_product)

    def __getitem__(self, rows: NDArray[np.int64]) -> Batch:
        return self._batch(self.order_of_pair[rows], rows)


class TextDataset(Dataset[Batch]):
    """Answers an array of positions with these texts' tokens, padded.

    Args:
        texts: the catalogue, or contexts.
    """

    def __init__(self, texts: TokenTable) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, rows: NDArray[np.int64]) -> Batch:
        return {"tokens": [self.texts.padded(rows)], "index": torch.from_numpy(rows)}


class QueryDataset(TextDataset):
    """Evaluation queries with what is known of them.

    Args:
        texts: the contexts, Q of them.
        relevant: catalogue positions of what each query's shopper really bought.
        history: catalogue positions of what each shopper had bought before.
    """

    def __init__(
        self, texts: TokenTable, relevant: Sequence[NDArray[np.int64]], history: Sequence[NDArray[np.int64]]
    ) -> None:
        super().__init__(texts)
        self.relevant, self.history = relevant, history

    def __getitem__(self, rows: NDArray[np.int64]) -> Batch:
        return {
            **super().__getitem__(rows),
            "relevant": _padded([self.relevant[row] for row in rows]),
            "history": _padded([self.history[row] for row in rows]),
        }


@dataclass(frozen=True)
class EvaluationQueries:
    """Held-out orders.

    Args:
        query_ids: the id of each.
        splits: ``val`` or ``test``, each.
        relevant: catalogue positions of what was really bought, each.
        history: catalogue positions of what had been bought before, each.
    """

    query_ids: list[str]
    splits: NDArray[np.str_]
    relevant: list[NDArray[np.int64]]
    history: list[NDArray[np.int64]]

    @classmethod
    def read(cls, folder: ProcessedFolder) -> "EvaluationQueries":
        """Read them from a processed folder, in the order of its queries.

        Raises:
            NotPreparedError: a part of the folder is missing.
            ProcessedFolderError: the folder's parts do not fit together.
        """
        position = {product_id: row for row, product_id in enumerate(folder.corpus)}
        history_path = folder.path / schema.EVAL_HISTORY
        if not history_path.is_dir():
            raise NotPreparedError(f"{history_path} is missing", "the folder has no history", "Run prepare again")
        rows = load_from_disk(history_path).select_columns([schema.QUERY_ID, schema.SPLIT, schema.HISTORY_PRODUCT_IDS])
        history_of = {
            str(row[schema.QUERY_ID]): (row[schema.SPLIT], {position[str(i)] for i in row[schema.HISTORY_PRODUCT_IDS]})
            for row in rows
        }
        if missing := set(folder.queries) - set(history_of):
            raise ProcessedFolderError(
                f"{history_path} does not fit {schema.EVAL_QUERIES}",
                f"{len(missing):,} queries have no history, such as {min(missing)}",
                "Run prepare again",
            )
        relevant = [
            np.array(sorted({position[i] for i in folder.relevant_docs[query] if i in position}), dtype=np.int64)
            for query in folder.queries
        ]
        return cls(
            query_ids=list(folder.queries),
            splits=np.array([history_of[query][0] for query in folder.queries], dtype=np.str_),
            relevant=relevant,
            history=[np.array(sorted(history_of[query][1]), dtype=np.int64) for query in folder.queries],
        )

    def of_split(self, split: Split | None) -> NDArray[np.int64]:
        """Positions of the queries of a split; of all, where it is None."""
        wanted = np.ones(len(self.query_ids), dtype=bool) if split is None else self.splits == split.value
        return np.flatnonzero(wanted)


class TokenCache:
    """The token ids of a processed folder's texts, made once per tokenizer and read from disk.

    Args:
        folder: whose texts.
        tokenizer: whose ids.
    """

    def __init__(self, folder: ProcessedFolder, tokenizer: Tokenizer) -> None:
        self.folder = folder
        content = sorted(folder.params.get("sha256", {}).values())
        key = sha256_of_texts([*content, tokenizer.fingerprint])[:16]
        self.path = folder.path / schema.TOKEN_CACHE / key

    def build(self, tokenizer: Tokenizer) -> None:
        """Tokenise all texts, unless that is done."""
        if self.path.exists():
            return
        logger.info("Tokenising the texts of %s, once", self.folder.path)
        corpus, queries = list(self.folder.corpus.values()), list(self.folder.queries.values())
        with replaced_when_complete(self.path) as unfinished:
            for name, texts in ((_PRODUCTS, corpus), (_QUERIES, queries)):
                write_tokens(unfinished, name, chunked(len(texts), texts.__getitem__, _TEXTS_PER_CHUNK), tokenizer)
            train = self.folder.path / schema.TRAIN_DATASET
            if train.is_dir():
                self._write_pairs(load_from_disk(train), unfinished, tokenizer)

    def _write_pairs(self, pairs: ArrowDataset, unfinished: Path, tokenizer: Tokenizer) -> None:
        position = {int(product_id): row for row, product_id in enumerate(self.folder.corpus)}
        query_id = pairs.data.column(schema.QUERY_ID).to_numpy()
        order_start = np.concatenate(([0], np.flatnonzero(np.diff(query_id)) + 1, [len(query_id)]))
        product_ids, inverse = np.unique(pairs.data.column(schema.PRODUCT_ID).to_numpy(), return_inverse=True)
        np.save(unfinished / _ORDER_START, order_start)
        np.save(unfinished / _PAIR_PRODUCT, np.array([position[i] for i in product_ids.tolist()], np.int32)[inverse])
        first_rows = order_start[:-1]
        texts = chunked(len(first_rows), lambda some: pairs[first_rows[some]][schema.ANCHOR], _TEXTS_PER_CHUNK)
        write_tokens(unfinished, _ANCHORS, texts, tokenizer)

    def products(self) -> TokenTable:
        """The catalogue."""
        return read_tokens(self.path, _PRODUCTS)

    def queries(self) -> TokenTable:
        """The evaluation queries, in the order of the folder."""
        return read_tokens(self.path, _QUERIES)

    def training_pairs(self) -> TrainingPairs:
        """The pairs to train on.

        Raises:
            NotPreparedError: the folder holds none.
        """
        if not (self.path / _PAIR_PRODUCT).is_file():
            raise NotPreparedError(
                f"{self.folder.path} holds nothing to train on",
                f"it was prepared with eval_frac {self.folder.params.get('eval_frac')}",
                "Prepare with a smaller --eval_frac, or name another --data.processed_dir",
            )
        return TrainingPairs(
            anchors=read_tokens(self.path, _ANCHORS),
            products=self.products(),
            pair_product=np.load(self.path / _PAIR_PRODUCT, mmap_mode="r"),
            order_start=np.load(self.path / _ORDER_START, mmap_mode="r"),
        )


def _unique_by_length(rows: NDArray[Any], table: TokenTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct rows, shortest text first, and for each given row its place among them."""
    distinct, inverse = np.unique(rows, return_inverse=True)
    by_length = np.argsort(table.starts[distinct + 1] - table.starts[distinct], kind="stable")
    place = np.empty_like(by_length)
    place[by_length] = np.arange(len(by_length))
    return distinct[by_length].astype(np.int64), place[inverse]


def _padded(rows: Sequence[NDArray[np.int64]]) -> Tensor:
    """int64 ``(len(rows), longest)``, filled up with -1."""
    filled = np.full((len(rows), max(map(len, rows), default=0)), -1, dtype=np.int64)
    for row, values in enumerate(rows):
        filled[row, : len(values)] = values
    return torch.from_numpy(filled)
