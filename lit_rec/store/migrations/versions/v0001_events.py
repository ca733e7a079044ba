"""Events, each stored once; those of the reference project's database are taken over."""

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from lit_rec.store.tables import UtcDateTime

revision = "0001"
down_revision: str | None = None

_ROWS_AT_A_TIME = 5_000
_REFERENCE = "feedback_events_of_reference"


def upgrade() -> None:
    """Make the table, and move the reference's rows into it."""
    has_reference = sa.inspect(op.get_bind()).has_table("feedback_events")
    if has_reference:
        op.rename_table("feedback_events", _REFERENCE)
    events = op.create_table(
        "feedback_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("product_id", sa.Text, nullable=False),
        sa.Column("user_context_hash", sa.Text),
        sa.Column("metadata", sa.JSON(none_as_null=True)),
        sa.Column("created_at", UtcDateTime, nullable=False),
    )
    if has_reference:
        _move_rows(events)
        op.drop_table(_REFERENCE)
    op.create_index("ix_feedback_events_event_id", "feedback_events", ["event_id"], unique=True)
    op.create_index("ix_feedback_events_request", "feedback_events", ["request_id", "product_id", "event_type"])
    op.create_index("ix_feedback_events_created_at", "feedback_events", ["created_at"])


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("feedback_events")


def _move_rows(events: sa.Table) -> None:
    # Read as text: the reference wrote moments in several forms, and any of its rows may have been edited by hand.
    names = ("request_id", "event_type", "user_id", "product_id", "user_context_hash", "metadata", "created_at")
    old = sa.table(_REFERENCE, sa.column("id", sa.Integer), *(sa.column(name, sa.Text) for name in names))
    connection = op.get_bind()
    now, last = datetime.now(UTC), -(2**63)
    some = sa.select(old).order_by(old.c.id).limit(_ROWS_AT_A_TIME)
    while rows := connection.execute(some.where(old.c.id > last)).mappings().all():
        connection.execute(events.insert(), [_moved(row, now) for row in rows])
        last = rows[-1]["id"]


def _moved(row: sa.RowMapping, now: datetime) -> dict[str, Any]:
    """A row of the reference, whole: what cannot be read is kept as text in its metadata."""
    values: dict[str, Any] = {name: row[name] for name in row if name not in {"metadata", "created_at"}}
    extra: dict[str, Any] = {}
    try:
        created_at = _moment(str(row["created_at"]))
    except (ValueError, OverflowError):
        created_at = now
        extra["reference_created_at"] = row["created_at"]
    metadata = _object(row["metadata"], extra)
    # The reference stored what was sent twice twice: equal rows stay apart.
    return values | {"event_id": f"reference-{row['id']}", "metadata": metadata, "created_at": created_at}


def _moment(text: str) -> datetime:
    """SQLite's ``CURRENT_TIMESTAMP`` is in UTC, and so is taken what names no time zone."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _object(text: Any, extra: dict[str, Any]) -> dict[str, Any] | None:  # noqa: ANN401 - SQLite gives what is there
    if text is None:
        return extra or None
    try:
        parsed = json.loads(text)
    except (TypeError, ValueError):
        parsed = None
    if not isinstance(parsed, dict):
        return {"reference_metadata": str(text), **extra}
    return parsed | extra
