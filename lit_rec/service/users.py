"""Users that the service knows by their id."""

import json
from dataclasses import dataclass
from pathlib import Path

from lit_rec.core.errors import ProcessedFolderError
from lit_rec.core.files import read_json
from lit_rec.data.orders import UserHistory


@dataclass(frozen=True)
class User:
    """What is known of a user.

    Args:
        context: the context string of what was bought before; None where there is none.
        history: the past orders; None where they are not known one by one.
        next_product_ids: what was really bought next, where that is known.
    """

    context: str | None = None
    history: UserHistory | None = None
    next_product_ids: tuple[str, ...] = ()


def read_users(file: Path) -> dict[str, User]:
    """The users of a file by id, in the file's order.

    Args:
        file: ``users.json`` of a bundle, or ``eval_queries.json`` of a processed folder, where a user is a context
            string.

    Raises:
        ProcessedFolderError: the file is something else.
    """
    try:
        return {
            user_id: User(record)
            if isinstance(record, str)
            else User(record.get("context"), UserHistory.from_record(record), tuple(record.get("next", ())))
            for user_id, record in read_json(file).items()
        }
    except (OSError, json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ProcessedFolderError(
            f"{file} must map user ids to users, or to context strings",
            f"{type(error).__name__}: {error}",
            "Package the model again, or name another LIT_REC_USERS_PATH",
        ) from error
