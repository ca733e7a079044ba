"""Users that the service knows by their id."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lit_rec.core.errors import ProcessedFolderError
from lit_rec.core.files import read_json
from lit_rec.data.orders import UserHistory


@dataclass(frozen=True)
class User:
    """A user of the store.

    Args:
        context: the context string of what was bought before; None where there is none.
        request: the past orders; None where they are not known one by one.
        next_product_ids: what was really bought next, where that is known.
        record: as the file has it.
    """

    context: str | None = None
    request: UserHistory | None = None
    next_product_ids: tuple[str, ...] = ()
    record: dict[str, Any] = field(default_factory=dict)


class UserStore:
    """Users by id; empty until :meth:`read`."""

    def __init__(self) -> None:
        self._users: dict[str, User] = {}

    def read(self, file: Path) -> None:
        """Take the users of a file.

        Args:
            file: ``users.json`` of a bundle, or ``eval_queries.json`` of a processed folder, where a user is a
                context string.

        Raises:
            ProcessedFolderError: the file is something else.
        """
        self._users = _read(file)

    def __len__(self) -> int:
        return len(self._users)

    @property
    def user_ids(self) -> list[str]:
        """All ids, in the file's order."""
        return list(self._users)

    def get(self, user_id: str) -> User | None:
        """The user of an id; None where there is none."""
        return self._users.get(user_id)


def _read(file: Path) -> dict[str, User]:
    try:
        content = read_json(file)
        return {user_id: _user(record) for user_id, record in content.items()}
    except (OSError, json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ProcessedFolderError(
            f"{file} must map user ids to users, or to context strings",
            f"{type(error).__name__}: {error}",
            "Package the model again, or name another LIT_REC_USERS_PATH",
        ) from error


def _user(record: Any) -> User:  # noqa: ANN401 - whatever the file holds
    if isinstance(record, str):
        return User(context=record, record={"context": record})
    return User(record.get("context"), UserHistory.from_record(record), tuple(record.get("next", ())), record)
