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

from lit_rec.core import schema
from lit_rec.core.errors import NotPreparedError, ProcessedFolderError
from lit_rec.core.files import replaced_when_complete, sha256_of_texts
from lit_rec.core.schema import Split
from lit_rec.data.arrow_files import product_indices, run_starts
from lit_rec.data.processed import ProcessedFolder
from lit_rec.data.ragged import concatenated_ranges
from lit_rec.data.split import split_users
from lit_rec.data.tokens import Tokenizer, TokenTable, chunked, length_sorted_chunks, read_tokens, write_tokens

logger = logging.getLogger(__name__)

_TEXTS_PER_CHUNK = 4_096
_PRODUCTS, _QUERIES, ANCHORS = "products", "queries", "anchors"
_SEED_FOLDER_SPLIT = 42
_PAIR_PRODUCT, _ORDER_START = "pair_product.npy", "order_start.npy"

Batch = dict[str, Any]


@dataclass(frozen=True)
class HardNegatives:
    """Products that users were shown and left alone, grouped by order.

    Args:
        product: int32 ``(M,)``, product indices.
        weight: float32 ``(M,)``, above 0: what each counts for beside a product drawn at random.
        order_start: int64 ``(n + 1,)``; those of order ``o`` are ``order_start[o]`` to ``order_start[o + 1]``.
    """

    product: NDArray[np.int32]
    weight: NDArray[np.float32]
    order_start: NDArray[np.int64]


@dataclass(frozen=True)
class TrainingPairs:
    """Pairs to train on, grouped by order.

    Args:
        anchors: the context of each order, ``n`` of them.
        products: the catalogue.
        pair_product: int32 ``(P,)``, the product index of each pair.
        order_start: int64 ``(n + 1,)``; the pairs of order ``o`` are ``order_start[o]`` to ``order_start[o + 1]``.
        pair_weight: float32 ``(P,)``, what each pair's loss counts for; None for 1 each.
        hard_negatives: of the orders; None for none.
    """

    anchors: TokenTable
    products: TokenTable
    pair_product: NDArray[np.int32]
    order_start: NDArray[np.int64]
    pair_weight: NDArray[np.float32] | None = None
    hard_negatives: HardNegatives | None = None

    def pairs_of(self, orders: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64: the rows of these orders' pairs, order by order."""
        return concatenated_ranges(self.order_start[orders], self.order_start[orders + 1])

    def log_frequency(self) -> NDArray[np.float32]:
        """float32 ``(N,)``: log of each product's share of all pairs, counted once more than seen."""
        counts = np.bincount(self.pair_product, minlength=len(self.products)) + 1.0
        frequency: NDArray[np.float32] = np.log(counts / counts.sum()).astype(np.float32)
        return frequency


class OrderDataset(Dataset[Batch]):
    """Answers an array of orders with a batch of whole orders: each context once, each product once.

    Args:
        pairs: what to draw from.
        micro_batch_size: texts of a batch that are padded together; None pads all together.
    """

    def __init__(self, pairs: TrainingPairs, micro_batch_size: int | None = None) -> None:
        self.pairs, self.micro_batch_size = pairs, micro_batch_size
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
        """``anchor`` and ``product`` texts, each once and sorted by length; ``*_index`` says which pair has which.

        With pair weights and hard negatives also ``pair_weight``, and ``negative_*`` of each hard negative.
        """
        pairs = self.pairs
        anchors, anchor_index = _unique_by_length(order_of_pair, pairs.anchors)
        bought, negative = pairs.pair_product[rows], pairs.hard_negatives
        batch: Batch = {}
        if negative is not None:
            begin, end = negative.order_start[anchors], negative.order_start[anchors + 1]
            negative_rows = concatenated_ranges(begin, end)
            batch["negative_anchor_index"] = torch.from_numpy(np.repeat(np.arange(len(anchors)), end - begin))
            batch["negative_weight"] = torch.from_numpy(negative.weight[negative_rows])
            bought = np.concatenate([bought, negative.product[negative_rows]])
        products, product_index = _unique_by_length(bought, pairs.products)
        if negative is not None:
            batch["negative_product_index"] = torch.from_numpy(product_index[len(rows) :])
        if pairs.pair_weight is not None:
            batch["pair_weight"] = torch.from_numpy(pairs.pair_weight[rows])
        return batch | {
            "anchor": length_sorted_chunks(pairs.anchors, anchors, self.micro_batch_size),
            "product": length_sorted_chunks(pairs.products, products, self.micro_batch_size),
            "anchor_index": torch.from_numpy(anchor_index),
            "product_index": torch.from_numpy(product_index[: len(rows)]),
            "product_position": torch.from_numpy(products),
            "log_frequency": torch.from_numpy(self.log_frequency[products]),
        }


class PairDataset(OrderDataset):
    """Answers an array of pairs with a batch of pairs, as the Instacart seed has them.

    Args:
        pairs: what to draw from.
        micro_batch_size: texts of a batch that are padded together; None pads all together.
    """

    def __init__(self, pairs: TrainingPairs, micro_batch_size: int | None = None) -> None:
        super().__init__(pairs, micro_batch_size)
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
        relevant: product indices of what each query's user really bought.
        history: product indices of what each user had bought before.
    """

    def __init__(
        self, texts: TokenTable, relevant: Sequence[NDArray[np.int64]], history: Sequence[NDArray[np.int64]]
    ) -> None:
        super().__init__(texts)
        self.relevant, self.history = relevant, history

    def __getitem__(self, rows: NDArray[np.int64]) -> Batch:
        return {
            **super().__getitem__(rows),
            "relevant": padded([self.relevant[row] for row in rows]),
            "history": padded([self.history[row] for row in rows]),
        }


@dataclass(frozen=True)
class EvaluationQueries:
    """Held-out orders.

    Args:
        query_ids: the id of each.
        splits: ``val`` or ``test``, each.
        relevant: product indices of what was really bought, each.
        history: product indices of what had been bought before, each.
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
        query_ids = list(folder.queries)
        splits, history = _splits_and_histories(folder, query_ids, position)
        if missing := set(query_ids) - set(folder.relevant_docs):
            raise _does_not_fit(schema.EVAL_RELEVANT_DOCS, "relevant products", missing, folder)
        relevant = [
            np.array(sorted({position[i] for i in folder.relevant_docs[query] if i in position}), dtype=np.int64)
            for query in query_ids
        ]
        return cls(query_ids, splits, relevant, history)

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
        self.folder, self.tokenizer = folder, tokenizer
        key = sha256_of_texts([*sorted(folder.sha256.values()), tokenizer.fingerprint])[:16]
        self.path = folder.path / schema.TOKEN_CACHE / key

    def build(self) -> None:
        """Tokenise all texts, unless that is done."""
        if self.path.exists():
            return
        logger.info("Tokenising the texts of %s, once", self.folder.path)
        corpus, queries = list(self.folder.corpus.values()), list(self.folder.queries.values())
        with replaced_when_complete(self.path) as unfinished:
            for name, texts in ((_PRODUCTS, corpus), (_QUERIES, queries)):
                write_tokens(unfinished, name, chunked(len(texts), texts.__getitem__, _TEXTS_PER_CHUNK), self.tokenizer)
            train = self.folder.path / schema.TRAIN_DATASET
            if train.is_dir():
                self._write_pairs(load_from_disk(train), unfinished)

    def _write_pairs(self, pairs: ArrowDataset, unfinished: Path) -> None:
        """The seed's pairs are texts alone: an order is then a run of one anchor, a product is its text."""
        has_ids = {schema.QUERY_ID, schema.PRODUCT_ID} <= set(pairs.column_names)
        order = pairs.data.column(schema.QUERY_ID if has_ids else schema.ANCHOR)
        product = pairs.data.column(schema.PRODUCT_ID if has_ids else schema.POSITIVE)
        catalogue = map(int, self.folder.corpus) if has_ids else self.folder.corpus.values()
        path = self.folder.path / schema.TRAIN_DATASET
        pair_product = product_indices(product, catalogue, path, "Run prepare again, or take both from one run")
        order_start = run_starts(order)
        np.save(unfinished / _ORDER_START, order_start)
        np.save(unfinished / _PAIR_PRODUCT, pair_product)
        first_rows = order_start[:-1]
        texts = chunked(len(first_rows), lambda some: pairs[first_rows[some]][schema.ANCHOR], _TEXTS_PER_CHUNK)
        write_tokens(unfinished, ANCHORS, texts, self.tokenizer)

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
            anchors=read_tokens(self.path, ANCHORS),
            products=self.products(),
            pair_product=np.load(self.path / _PAIR_PRODUCT, mmap_mode="r"),
            order_start=np.load(self.path / _ORDER_START, mmap_mode="r"),
        )


def _splits_and_histories(
    folder: ProcessedFolder, query_ids: list[str], position: dict[str, int]
) -> tuple[NDArray[np.str_], list[NDArray[np.int64]]]:
    """The split of each query, and product indices of what had been bought before it."""
    path = folder.path / schema.EVAL_HISTORY
    if not path.is_dir():
        if not folder.is_instacart_seed:
            raise NotPreparedError(f"{path} is missing", "the folder has no history", "Run prepare again")
        logger.warning(
            "%s is the Instacart seed's: without %s, queries have empty histories, and a seeded hash of the query "
            "id makes half of them val and half test",
            folder.path,
            schema.EVAL_HISTORY,
        )
        ids = np.array([int(query_id) for query_id in query_ids], dtype=np.int64)
        splits = split_users(ids, eval_frac=1.0, val_frac=0.5, seed=_SEED_FOLDER_SPLIT)
        return splits, [np.empty(0, dtype=np.int64)] * len(query_ids)
    rows = load_from_disk(path).select_columns([schema.QUERY_ID, schema.SPLIT, schema.HISTORY_PRODUCT_IDS])
    found = {
        str(row[schema.QUERY_ID]): (row[schema.SPLIT], {position[str(i)] for i in row[schema.HISTORY_PRODUCT_IDS]})
        for row in rows
    }
    if missing := set(query_ids) - set(found):
        raise _does_not_fit(schema.EVAL_HISTORY, "history", missing, folder)
    splits = np.array([found[query][0] for query in query_ids], dtype=np.str_)
    return splits, [np.array(sorted(found[query][1]), dtype=np.int64) for query in query_ids]


def _does_not_fit(name: str, what: str, missing: set[str], folder: ProcessedFolder) -> ProcessedFolderError:
    return ProcessedFolderError(
        f"{folder.path / name} does not fit {schema.EVAL_QUERIES}",
        f"{len(missing):,} queries have no {what}, such as {min(missing)}",
        "Run prepare again",
    )


def _unique_by_length(rows: NDArray[Any], table: TokenTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct rows, shortest text first, and for each given row its place among them."""
    distinct, inverse = np.unique(rows, return_inverse=True)
    by_length = np.argsort(table.starts[distinct + 1] - table.starts[distinct], kind="stable")
    place = np.empty_like(by_length)
    place[by_length] = np.arange(len(by_length))
    return distinct[by_length].astype(np.int64), place[inverse]


def padded(rows: Sequence[NDArray[np.int64]]) -> Tensor:
    """int64 ``(len(rows), longest)``, filled up with -1."""
    filled = np.full((len(rows), max(map(len, rows), default=0)), -1, dtype=np.int64)
    for row, values in enumerate(rows):
        filled[row, : len(values)] = values
    return torch.from_numpy(filled)
