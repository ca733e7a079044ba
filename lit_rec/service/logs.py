"""Structured logs: a JSON object a line, with the id of the request that it belongs to."""

import logging
import sys
from contextvars import ContextVar
from typing import TextIO

from pythonjsonlogger.json import JsonFormatter

request_id_of_context: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the request that is being answered; empty outside of one."""

_FIELDS = {"levelname": "level", "name": "logger", "exc_info": "traceback"}


def configure_logging(level: str, stream: TextIO | None = None) -> logging.Handler:
    """Send this package's log as JSON to a stream, and only there.

    A line has time, level, logger, message, request_id, what ``extra`` holds, and the traceback.

    Args:
        level: name of the least severe level.
        stream: stderr where none is given.

    Returns:
        The handler, for :func:`restore_logging`.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter("%(levelname)s %(name)s %(message)s", timestamp="time", rename_fields=_FIELDS))
    handler.addFilter(_add_request_id)
    own = logging.getLogger("lit_rec")
    own.handlers = [each for each in own.handlers if not isinstance(each.formatter, JsonFormatter)] + [handler]
    own.setLevel(level)
    own.propagate = False
    return handler


def _add_request_id(record: logging.LogRecord) -> bool:
    if request_id := request_id_of_context.get():
        record.request_id = request_id
    return True


def restore_logging(handler: logging.Handler) -> None:
    """Undo :func:`configure_logging`."""
    own = logging.getLogger("lit_rec")
    own.removeHandler(handler)
    own.setLevel(logging.NOTSET)
    own.propagate = True
