"""Tables of the feedback store, the same on SQLite and PostgreSQL."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, DateTime, Float, ForeignKey, Index, Integer, MetaData, Table, Text
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

_SQLITE_FORMAT = (
    "%(year)04d-%(month)02d-%(day)02dT%(hour)02d:%(minute)02d:%(second)02d.%(microsecond)06d+00:00"  # sorts as text
)
_SQLITE_PATTERN = r"(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)\.(\d+)\+00:00"


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC: ``timestamptz`` on PostgreSQL, ISO 8601 with ``+00:00`` on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The dialect's own type."""
        if dialect.name == "sqlite":
            iso = sqlite.DATETIME(storage_format=_SQLITE_FORMAT, regexp=_SQLITE_PATTERN)  # type: ignore[no-untyped-call]
            return dialect.type_descriptor(iso)
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC; a moment without a time zone is refused."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """In UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()

_row_number = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up Integer keys alone

feedback_events = Table(
    "feedback_events",
    metadata,
    Column("id", _row_number, primary_key=True, autoincrement=True),
    Column("event_id", Text, nullable=False),
    Column("request_id", Text),  # instacart_seed stored events without one
    Column("event_type", Text, nullable=False),
    Column("user_id", Text),
    Column("product_id", Text, nullable=False),
    Column("user_context_hash", Text),
    Column("metadata", JSON(none_as_null=True)),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_feedback_events_event_id", "event_id", unique=True),
    Index("ix_feedback_events_request", "request_id", "product_id", "event_type"),
    Index("ix_feedback_events_created_at", "created_at"),
)

exposures = Table(
    "exposures",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("user_id", Text),
    Column("user_context_hash", Text),
    Column("context", Text),
    Column("history", JSON(none_as_null=True)),
    Column("model_version", Text, nullable=False),
    Column("arm", Text),
    Column("latency_ms", Float),
    Column("served_at", UtcDateTime, nullable=False),
    Index("ix_exposures_served_at", "served_at"),
)

exposed_products = Table(
    "exposed_products",
    metadata,
    Column("request_id", Text, ForeignKey("exposures.request_id", ondelete="CASCADE"), primary_key=True),
    Column("rank", Integer, primary_key=True, autoincrement=False),
    Column("product_id", Text, nullable=False),
    Column("score", Float, nullable=False),
)
