"""Structured logs: a JSON object a line, with the id of the request that it belongs to."""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

request_id_of_context: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the request that is being answered; empty outside of one."""

_OWN = "lit_rec"
_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonFormatter(logging.Formatter):
    """One line of JSON a record: time, level, logger, message, request_id, what ``extra`` holds, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := request_id_of_context.get():
            line["request_id"] = request_id
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logging(level: str, stream: TextIO | None = None) -> logging.Handler:
    """Send this package's log as JSON to a stream, and only there.

    Args:
        level: name of the least severe level.
        stream: stderr where none is given.

    Returns:
        The handler, for :func:`restore_logging`.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    own = logging.getLogger(_OWN)
    own.handlers = [each for each in own.handlers if not isinstance(each.formatter, JsonFormatter)] + [handler]
    own.setLevel(level)
    own.propagate = False
    return handler


def restore_logging(handler: logging.Handler) -> None:
    """Undo :func:`configure_logging`."""
    own = logging.getLogger(_OWN)
    own.removeHandler(handler)
    own.setLevel(logging.NOTSET)
    own.propagate = True
