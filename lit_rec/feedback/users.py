"""Users of a processed folder, as they ask a service."""

from dataclasses import dataclass
from typing import Any

from lit_rec.core import schema
from lit_rec.core.errors import NotPreparedError, SettingError
from lit_rec.core.schema import Split
from lit_rec.data.dataset import EvaluationQueries
from lit_rec.data.history_files import read_eval_histories
from lit_rec.data.processed import ProcessedFolder
from lit_rec.feedback.settings import RequestMode


@dataclass(frozen=True)
class User:
    """A held-out user.

    Args:
        user_id: the id of the held-out order.
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
    if (split is not None or request_mode == "history") and not (folder.path / schema.EVAL_HISTORY).is_dir():
        raise NotPreparedError(
            f"{folder.path} has no {schema.EVAL_HISTORY}",
            "splits and histories are in it",
            "Run prepare again, or pass --split all --request_mode context",
        )
    query_ids = list(folder.queries)
    if split is not None:
        query_ids = [query_ids[row] for row in EvaluationQueries.read(folder).of_split(split)]
    if not query_ids:
        raise SettingError(f"No {split or ''} users in {folder.path}", "it has no such queries", "Name another --split")
    asks: list[dict[str, Any]] = [{"user_id": query_id} for query_id in query_ids]
    if request_mode == "context":
        asks = [ask | {"user_context": folder.queries[ask["user_id"]]} for ask in asks]
    if request_mode == "history":
        histories, product_ids = read_eval_histories(folder, query_ids), list(folder.corpus)
        for row, ask in enumerate(asks):
            record = histories.user_history(row, product_ids).to_record()
            ask["history"] = record.pop("orders")
            ask |= {name: value for name, value in record.items() if value is not None}
    return [
        User(query_id, ask, frozenset(folder.relevant_docs.get(query_id, ())))
        for query_id, ask in zip(query_ids, asks, strict=True)
    ]
