"""Purchase histories of a processed folder, as :class:`~lit_rec.data.histories.PurchaseHistories`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import load_from_disk
from numpy.typing import NDArray

from lit_rec.core import schema
from lit_rec.core.errors import NotPreparedError, ProcessedFolderError
from lit_rec.data.arrow_files import product_indices
from lit_rec.data.histories import UNKNOWN, PurchaseHistories
from lit_rec.data.processed import ProcessedFolder
from lit_rec.data.ragged import starts


def read_eval_histories(folder: ProcessedFolder, query_ids: Sequence[str]) -> PurchaseHistories:
    """What the users of some evaluation queries had bought before.

    Args:
        folder: a finished processed folder.
        query_ids: whose, in this order.

    Raises:
        NotPreparedError: the folder holds no histories.
        ProcessedFolderError: a query has no history, or a history a product that is not in the catalogue.
    """
    table = _table(folder, schema.EVAL_HISTORY, "Run prepare again")
    rows = pc.index_in(pa.array(map(int, query_ids), pa.int64()), value_set=table[schema.QUERY_ID])
    if rows.null_count:
        raise ProcessedFolderError(
            f"{folder.path / schema.EVAL_HISTORY} does not fit {schema.EVAL_QUERIES}",
            f"{rows.null_count:,} queries have no history",
            "Run prepare again",
        )
    return _histories(folder, table.take(rows))


def read_training_histories(folder: ProcessedFolder) -> PurchaseHistories:
    """The whole histories of the users that may be trained on, their last orders included.

    Raises:
        NotPreparedError: the folder holds none.
        ProcessedFolderError: a history has a product that is not in the catalogue.
    """
    return _histories(folder, _table(folder, schema.TRAIN_HISTORY, "Run prepare again, with an --eval_frac below 1"))


def _table(folder: ProcessedFolder, name: str, do: str) -> pa.Table:
    by = "the Instacart seed" if folder.is_instacart_seed else f"lit_rec {folder.params['lit_rec_version']}"
    found = f"it was prepared with eval_frac {folder.params.get('eval_frac')}, by {by}"
    if not (folder.path / name).is_dir():
        raise NotPreparedError(f"{folder.path} holds no {name}", found, do)
    table = load_from_disk(folder.path / name).data.table
    if schema.HISTORY_DOWS not in table.column_names:
        raise NotPreparedError(f"{folder.path / name} has no column {schema.HISTORY_DOWS}", found, do)
    return table


def _histories(folder: ProcessedFolder, table: pa.Table) -> PurchaseHistories:
    def flat(name: str, kind: Any) -> NDArray[Any]:  # noqa: ANN401
        values: NDArray[Any] = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(kind)
        return values

    def or_unknown(name: str) -> NDArray[np.int8]:
        values: NDArray[np.int8] = pc.fill_null(table[name], UNKNOWN).to_numpy().astype(np.int8)
        return values

    lines = table[schema.HISTORY_PRODUCT_IDS].combine_chunks()
    do = "Run prepare again, or take both from one run"
    n_lines = pc.list_value_length(lines).to_numpy(zero_copy_only=False)
    return PurchaseHistories(
        line_start=starts(n_lines),
        product=product_indices(lines.flatten(), map(int, folder.corpus), folder.path, do),
        orders_ago=flat(schema.HISTORY_ORDERS_AGO, np.int32),
        days_ago=flat(schema.HISTORY_DAYS_AGO, np.float32),
        cart_position=flat(schema.HISTORY_CART_POSITIONS, np.int32),
        line_dow=flat(schema.HISTORY_DOWS, np.int8),
        line_hour=flat(schema.HISTORY_HOURS, np.int8),
        days_since_prior=table[schema.DAYS_SINCE_PRIOR].to_numpy().astype(np.float32),
        dow=or_unknown(schema.ORDER_DOW),
        hour=or_unknown(schema.ORDER_HOUR),
    )
