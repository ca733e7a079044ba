"""What was shown and what came of it, one row for each product of a request: what reports and pairs are made from."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from sqlalchemy import Subquery, and_, case, func, literal, select
from sqlalchemy.engine import make_url

from lit_rec.errors import FeedbackStoreError, SettingError
from lit_rec.feedback.events import EventType
from lit_rec.feedback.store import FeedbackStore, url_of
from lit_rec.feedback.tables import feedback_events, served_lists, served_products

ACTIONS = (EventType.CLICK, EventType.ADD_TO_CART, EventType.PURCHASE)

_UTC = pl.Datetime("us", "UTC")
_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "request_id": pl.String,
    "product_id": pl.String,
    "shown_at": _UTC,
    "acted_at": _UTC,
    **{action.value: pl.Boolean for action in ACTIONS},
    "event_user": pl.String,
    "event_hash": pl.String,
    "event_position": pl.String,
    "rank": pl.Int64,
    "score": pl.Float64,
    "user_id": pl.String,
    "user_context_hash": pl.String,
    "model_version": pl.String,
    "arm": pl.String,
}


def open_for_reading(db_path: str | Path) -> FeedbackStore:
    """Open a database that is there already.

    Args:
        db_path: a file of SQLite, or a URL.

    Raises:
        FeedbackStoreError: there is no such file, or the database does not answer.
    """
    url = make_url(url_of(db_path))
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise FeedbackStoreError(
            f"No feedback database at {url.database}",
            "there is no such file",
            "Name another --db_path, or collect some: python -m lit_rec feedback simulate",
        )
    return FeedbackStore(url_of(db_path))


def read_products(store: FeedbackStore) -> pl.DataFrame:
    """Every product of a request that an event is about.

    Returns:
        ``request_id``, ``product_id``; ``shown_at``, the time of its first impression, null where none was sent;
        ``acted_at``, of its last event; ``click``, ``add_to_cart`` and ``purchase``, booleans; ``position`` as it was
        served, else as the impression says, from 1, or null; ``score``; ``user``, who it was: the user's id, else the
        hash of the context, else the request; ``user_id``; ``model_version`` and ``arm``, null where nothing is known.
    """
    events = _by_product()
    served, lists = served_products.c, served_lists.c
    query = (
        select(
            events, served.rank, served.score, lists.user_id, lists.user_context_hash, lists.model_version, lists.arm
        )
        .outerjoin(
            served_products,
            and_(served.request_id == events.c.request_id, served.product_id == events.c.product_id),
        )
        .outerjoin(served_lists, lists.request_id == events.c.request_id)
        .order_by(events.c.request_id, events.c.product_id)
    )
    table = pl.DataFrame([tuple(row) for row in store.rows(query)], schema=_COLUMNS, orient="row")
    sent_position = pl.col("event_position").cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)
    user_id = pl.coalesce("user_id", pl.col("event_user").max().over("request_id"))
    user_hash = pl.coalesce("user_context_hash", pl.col("event_hash").max().over("request_id"))
    return table.with_columns(
        position=pl.coalesce("rank", pl.when(sent_position >= 1).then(sent_position)),
        user=pl.coalesce(user_id, user_hash, "request_id"),
        user_id=user_id,
    ).drop("rank", "event_user", "event_hash", "event_position", "user_context_hash")


def within(table: pl.DataFrame, since: datetime | None, until: datetime | None) -> pl.DataFrame:
    """The products first shown in a span of time, whatever came of them later; without an impression, acted on in it.

    Args:
        table: of :func:`read_products`.
        since: from this moment on.
        until: up to this moment, without it.
    """
    when = pl.coalesce("shown_at", "acted_at")
    table = table if since is None else table.filter(when >= since)
    return table if until is None else table.filter(when < until)


def moment(text: str | None) -> datetime | None:
    """A date or a moment as it is typed; without a time zone it is in UTC.

    Raises:
        SettingError: it is neither.
    """
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingError(
            "A moment must be a date or a time in ISO 8601", f"got {text!r}", "Write 2026-01-31 or 2026-01-31T10:00Z"
        ) from error
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def _by_product() -> Subquery:
    """Events of one product of one request in one row; those without a request stand each for itself."""
    events = feedback_events.c
    is_impression = events.event_type == EventType.IMPRESSION.value
    request_id = func.coalesce(events.request_id, literal("unknown-") + events.event_id).label("request_id")
    of_impression = case((is_impression, events.metadata["position"].as_string()))
    known = [kind.value for kind in EventType]
    return (
        select(
            request_id,
            events.product_id,
            func.min(case((is_impression, events.created_at))).label("shown_at"),
            func.max(events.created_at).label("acted_at"),
            *(func.max(case((events.event_type == each.value, 1), else_=0)).label(each.value) for each in ACTIONS),
            func.max(events.user_id).label("event_user"),
            func.max(events.user_context_hash).label("event_hash"),
            func.min(of_impression).label("event_position"),
        )
        .where(events.event_type.in_(known))
        .group_by(request_id, events.product_id)
        .subquery()
    )
