"""Tables to the files of a processed folder, which have the Instacart seed's names and forms."""

import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from rich.progress import track

from lit_rec import __version__
from lit_rec.core import schema
from lit_rec.core.files import replaced_when_complete, write_json
from lit_rec.core.schema import Split
from lit_rec.data.arrow_files import write_dataset
from lit_rec.data.contexts import context_string, product_text
from lit_rec.data.order_arrays import OrderArrays
from lit_rec.data.processed import content_hashes
from lit_rec.data.ragged import concatenated_ranges, starts
from lit_rec.data.settings import PrepareSettings
from lit_rec.data.tables import Tables
from lit_rec.data.targets import TargetOrders, choose_targets

logger = logging.getLogger(__name__)

_ORDERS_PER_CHUNK = 8_192
_PAIR_SCHEMA = pa.schema(
    [
        (schema.ANCHOR, pa.string()),
        (schema.POSITIVE, pa.string()),
        (schema.QUERY_ID, pa.int64()),
        (schema.PRODUCT_ID, pa.int64()),
    ]
)
_HISTORY_SCHEMA = pa.schema(
    [
        (schema.QUERY_ID, pa.int64()),
        (schema.USER_ID, pa.int64()),
        (schema.SPLIT, pa.string()),
        (schema.DAYS_SINCE_PRIOR, pa.float32()),
        (schema.ORDER_DOW, pa.int8()),
        (schema.ORDER_HOUR, pa.int8()),
        (schema.HISTORY_PRODUCT_IDS, pa.list_(pa.int64())),
        (schema.HISTORY_ORDERS_AGO, pa.list_(pa.int32())),
        (schema.HISTORY_DAYS_AGO, pa.list_(pa.float32())),
        (schema.HISTORY_CART_POSITIONS, pa.list_(pa.int32())),
        (schema.HISTORY_DOWS, pa.list_(pa.int8())),
        (schema.HISTORY_HOURS, pa.list_(pa.int8())),
    ]
)


def write_processed(tables: Tables, settings: PrepareSettings, folder: Path, provenance: dict[str, Any]) -> None:
    """Write a whole processed folder, or nothing.

    Args:
        tables: validated tables.
        settings: what was asked.
        folder: where it goes; a processed folder that is there is replaced, anything else is refused.
        provenance: what :data:`~lit_rec.core.schema.PARAMS` records besides settings, counts and hashes.
    """
    logger.info("Sorting %s order lines by user and time", f"{len(tables.order_lines):,}")
    arrays = OrderArrays.from_tables(tables)
    products = tables.products
    del tables  # the flat arrays hold all that is needed of the order lines
    targets = choose_targets(arrays, settings)
    counts = (len(arrays.order_ids), len(arrays.user_ids), len(targets.train), len(targets.eval))
    logger.info("%s orders of %s users: %s targets to train on, %s to evaluate on", *(f"{n:,}" for n in counts))
    with replaced_when_complete(folder, schema.PARAMS) as unfinished:
        writer = _Writer(products, arrays, settings, unfinished)
        record = {
            **provenance,
            **asdict(settings),
            "lit_rec_version": __version__,
            "n_users": len(arrays.user_ids),
            "n_train_users": len(targets.train_users),
            "n_train_orders": len(targets.train),
            "eval_serve_time": settings.next_order_in_context != "always",  # the seed's name
            "n_train_pairs": writer.write_pairs(targets.train, schema.TRAIN_DATASET, in_training=True),
            "n_eval_pairs": writer.write_pairs(targets.eval, schema.EVAL_DATASET),
            "n_eval_queries": len(targets.eval),
            "n_val_queries": int((targets.eval_split == Split.VAL).sum()),
            "n_test_queries": int((targets.eval_split == Split.TEST).sum()),
            "n_corpus": len(products),
        }
        writer.write_evaluation(targets)
        writer.write_training_histories(targets.train_users)
        write_json(unfinished / schema.PARAMS, {**record, "sha256": content_hashes(unfinished)}, indent=2)


class _Writer:
    """Writes the files of one folder; holds what they share."""

    def __init__(self, products: pl.DataFrame, arrays: OrderArrays, settings: PrepareSettings, folder: Path) -> None:
        self.arrays, self.settings, self.folder = arrays, settings, folder
        self.product_ids: NDArray[np.int64] = products[schema.PRODUCT_ID].to_numpy().astype(np.int64)
        self.corpus_ids = [str(product_id) for product_id in self.product_ids.tolist()]
        self.names = dict(zip(self.corpus_ids, products[schema.PRODUCT_NAME].to_list(), strict=True))
        columns = (schema.PRODUCT_NAME, schema.AISLE, schema.DEPARTMENT)
        self.product_texts = [product_text(*row) for row in products.select(columns).iter_rows()]
        # A gap is the time since the order before, so an order's age is a difference of sums of gaps.
        self._days = np.nan_to_num(arrays.days_since_prior).astype(np.float64).cumsum()

    def context(self, order: int, *, in_training: bool = False) -> str:
        """The context of a target order: strictly earlier orders of the same user, and nothing else."""
        settings = self.settings
        history = self.arrays.history_before(
            order, self.corpus_ids, settings.max_prior_orders, settings.max_product_names
        )
        return context_string(history, self.names, settings, in_training=in_training)

    def write_pairs(self, targets: NDArray[np.int64], name: str, *, in_training: bool = False) -> int:
        """One row a pair; the rows of one order stand together. No target, no dataset.

        Returns:
            The number of pairs.
        """
        if len(targets) == 0:
            return 0
        write_dataset(self._pair_tables(targets, name, in_training=in_training), _PAIR_SCHEMA, self.folder / name)
        return int(self.arrays.lines_per_order[targets].sum())

    def _pair_tables(self, targets: NDArray[np.int64], name: str, *, in_training: bool) -> Iterator[pa.Table]:
        texts = pa.array(self.product_texts)
        for chunk in _chunks(targets, f"Writing {name}"):
            contexts = pa.array([self.context(order, in_training=in_training) for order in chunk.tolist()])
            products = np.concatenate([self.arrays.products_of(order) for order in chunk.tolist()])
            row_of_pair = np.repeat(np.arange(len(chunk)), self.arrays.lines_per_order[chunk])
            columns = [
                contexts.take(pa.array(row_of_pair)),
                texts.take(pa.array(products)),
                pa.array(self.arrays.order_ids[chunk][row_of_pair]),
                pa.array(self.product_ids[products]),
            ]
            yield pa.Table.from_arrays(columns, schema=_PAIR_SCHEMA)

    def write_evaluation(self, targets: TargetOrders) -> None:
        """Queries, corpus, relevance and history of the held-out orders."""
        orders = targets.eval.tolist()
        query_ids = [str(order_id) for order_id in self.arrays.order_ids[targets.eval].tolist()]
        contexts = [self.context(order) for order in orders]
        bought = [self.product_ids[self.arrays.products_of(order)].tolist() for order in orders]
        write_json(self.folder / schema.EVAL_QUERIES, dict(zip(query_ids, contexts, strict=True)))
        write_json(self.folder / schema.EVAL_CORPUS, dict(zip(self.corpus_ids, self.product_texts, strict=True)))
        relevant = {query: [str(product) for product in ids] for query, ids in zip(query_ids, bought, strict=True)}
        write_json(self.folder / schema.EVAL_RELEVANT_DOCS, relevant)
        self._write_histories(schema.EVAL_HISTORY, targets.eval, targets.eval_split)

    def write_training_histories(self, users: NDArray[np.int64]) -> None:
        """The whole history of each user who may be trained on; the moment of asking is that of the last order.

        No such user, no dataset.
        """
        ends = self.arrays.order_start[users + 1]
        ends = ends - (self.arrays.lines_per_order[ends - 1] == 0)  # a last order whose products are not known
        ends = ends[ends > self.arrays.order_start[users]]
        if len(ends) > 0:
            self._write_histories(schema.TRAIN_HISTORY, ends, np.full(len(ends), Split.TRAIN))

    def _write_histories(self, name: str, ends: NDArray[np.int64], splits: NDArray[np.str_]) -> None:
        """One row for each of ``ends``: the orders of its user before it.

        Args:
            name: of the dataset.
            ends: orders to be predicted; of users to be trained on, the place after their last order.
            splits: the split of each.
        """
        chunks = zip(_chunks(ends, f"Writing {name}"), _chunks(splits), strict=True)
        tables = (self._history_table(chunk, split) for chunk, split in chunks)
        write_dataset(tables, _HISTORY_SCHEMA, self.folder / name)

    def _history_table(self, ends: NDArray[np.int64], splits: NDArray[np.str_]) -> pa.Table:
        arrays, of_queries = self.arrays, splits[0] != Split.TRAIN
        asked_at = ends if of_queries else ends - 1
        user = arrays.order_user[asked_at]
        first = arrays.order_start[user]
        n_lines = arrays.line_start[ends] - arrays.line_start[first]
        lines = concatenated_ranges(arrays.line_start[first], arrays.line_start[ends])
        orders = concatenated_ranges(first, ends)
        order = np.repeat(orders, arrays.lines_per_order[orders])
        days_ago = np.repeat(self._days[asked_at], n_lines) - self._days[order]
        offsets = pa.array(starts(n_lines).astype(np.int32))
        gap = arrays.days_since_prior[asked_at]
        not_known = np.full(len(ends), not of_queries)
        columns = [
            pa.array(arrays.order_ids[asked_at]),
            pa.array(arrays.user_ids[user]),
            pa.array(splits.tolist()),
            pa.array(gap, mask=np.isnan(gap) | not_known),
            pa.array(arrays.order_dow[asked_at], mask=not_known),
            pa.array(arrays.order_hour[asked_at], mask=not_known),
        ]
        of_lines = (
            self.product_ids[arrays.line_product[lines]],
            (np.repeat(ends, n_lines) - order).astype(np.int32),
            days_ago.astype(np.float32),
            arrays.line_cart_position[lines].astype(np.int32),
            arrays.order_dow[order],
            arrays.order_hour[order],
        )
        columns += [pa.ListArray.from_arrays(offsets, pa.array(values)) for values in of_lines]
        return pa.Table.from_arrays(columns, schema=_HISTORY_SCHEMA)


def _chunks(rows: NDArray[Any], description: str = "") -> Iterator[NDArray[Any]]:
    begins = range(0, len(rows), _ORDERS_PER_CHUNK)
    for begin in track(begins, description=description, disable=len(begins) < 3 or not description):
        yield rows[begin : begin + _ORDERS_PER_CHUNK]
