"""Users of a processed folder, as they ask a service."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from datasets import load_from_disk

from lit_rec.core import schema
from lit_rec.core.errors import NotPreparedError, SettingError
from lit_rec.core.schema import Split
from lit_rec.data.processed import ProcessedFolder
from lit_rec.feedback.settings import RequestMode


@dataclass(frozen=True)
class User:
    """A held-out user.

    Args:
        user_id: the id of the held-out order, which the reference's service knows a user by.
        asks: what the body of a request says of them.
        bought: ids of the products of the held-out order.
    """

    user_id: str
    asks: dict[str, Any]
    bought: frozenset[str]


def users_of(folder: ProcessedFolder, split: Split | None, request_mode: RequestMode) -> list[User]:
    """The users of a split, in the folder's order.

    Args:
        folder: a processed folder.
        split: None for all.
        request_mode: what a request holds; see :class:`~lit_rec.feedback.settings.SimulateSettings`.

    Raises:
        NotPreparedError: the folder has no histories, and they are needed.
        SettingError: the split is empty.
    """
    query_ids = list(folder.queries)
    rows = _history_rows(folder) if split is not None or request_mode == "history" else {}
    if split is not None:
        query_ids = [query_id for query_id in query_ids if rows[query_id][schema.SPLIT] == split]
    if not query_ids:
        raise SettingError(f"No {split or ''} users in {folder.path}", "it has no such queries", "Name another --split")
    return [
        User(query_id, _asks(folder, query_id, request_mode, rows), frozenset(folder.relevant_docs.get(query_id, ())))
        for query_id in query_ids
    ]


def _asks(
    folder: ProcessedFolder, query_id: str, request_mode: RequestMode, rows: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    who = {"user_id": query_id}
    if request_mode == "user_id":
        return who
    if request_mode == "context":
        return who | {"user_context": folder.queries[query_id]}
    row = rows[query_id]
    to_come = {name: row[name] for name in _OF_ORDER if row[name] is not None}
    return who | {"history": _orders(row)} | to_come


_OF_ORDER = (schema.DAYS_SINCE_PRIOR, schema.ORDER_DOW, schema.ORDER_HOUR)


def _orders(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Past orders, oldest first, from the lines of a history."""
    orders: list[dict[str, Any]] = []
    newest_first_age: list[float] = []
    ago_before: int | None = None
    names = (schema.HISTORY_PRODUCT_IDS, schema.HISTORY_ORDERS_AGO, schema.HISTORY_DAYS_AGO)
    for product, ago, age, dow, hour in zip(
        *(row[name] for name in (*names, schema.HISTORY_DOWS, schema.HISTORY_HOURS)), strict=True
    ):
        if ago != ago_before:
            since = newest_first_age[-1] - age if newest_first_age else None
            orders.append(
                {
                    "product_ids": [],
                    schema.DAYS_SINCE_PRIOR: since,
                    schema.ORDER_DOW: _known(dow),
                    schema.ORDER_HOUR: _known(hour),
                }
            )
            newest_first_age.append(age)
            ago_before = ago
        orders[-1]["product_ids"].append(str(product))
    return orders


def _known(value: int | None) -> int | None:
    return None if value is None or value < 0 else int(value)


def _history_rows(folder: ProcessedFolder) -> dict[str, dict[str, Any]]:
    path = folder.path / schema.EVAL_HISTORY
    if not path.is_dir():
        raise NotPreparedError(
            f"{folder.path} has no {schema.EVAL_HISTORY}",
            "splits and histories are in it",
            "Run prepare again, or pass --split all --request_mode context",
        )
    table: pa.Table = load_from_disk(path).data.table
    rows: Sequence[dict[str, Any]] = table.to_pylist()
    return {str(row[schema.QUERY_ID]): row for row in rows}
