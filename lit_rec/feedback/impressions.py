"""What was shown and what came of it, one row for each product of a request: what reports and pairs are made from."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from sqlalchemy import ColumnElement, Subquery, and_, case, func, literal, not_, or_, select
from sqlalchemy.engine import make_url

from lit_rec.core.errors import FeedbackStoreError, SettingError
from lit_rec.store.database import FeedbackStore, url_of
from lit_rec.store.events import EARLIEST, PAGE, EventType, latest
from lit_rec.store.tables import exposed_products, exposures, feedback_events

LEFT_OUT = {
    "page": "of the service's own page (--include_page true counts them)",
    "impossible_times": f"dated before {EARLIEST.date()} or after tomorrow",
}
"""Why an event is left out of reports and pairs."""

ACTIONS = (EventType.CLICK, EventType.ADD_TO_CART, EventType.PURCHASE)

_BETWEEN = "\x1f"  # of positions
_UTC = pl.Datetime("us", "UTC")
_COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {
    "request_id": pl.String,
    "product_id": pl.String,
    "shown_at": _UTC,
    "acted_at": _UTC,
    **{action.value: pl.Boolean for action in ACTIONS},
    "event_user": pl.String,
    "event_hash": pl.String,
    "event_positions": pl.String,
    "rank": pl.Int64,
    "score": pl.Float64,
    "user_id": pl.String,
    "user_context_hash": pl.String,
    "model_version": pl.String,
    "arm": pl.String,
}


def open_for_reading(db_path: str | Path) -> FeedbackStore:
    """Open a database that is there already; a file of SQLite may be one that cannot be written.

    Args:
        db_path: a file of SQLite, or a URL.

    Raises:
        FeedbackStoreError: there is no such file, or the database does not answer.
    """
    url = make_url(url_of(db_path))
    if url.get_backend_name() != "sqlite":
        return FeedbackStore(url_of(db_path))
    file = Path(url.database or "")
    if not file.is_file():
        raise FeedbackStoreError(
            f"No feedback database at {file}",
            "there is no such file",
            "Name another --db_path, or collect some: python -m lit_rec feedback simulate",
        )
    if os.access(file, os.W_OK) and os.access(file.parent, os.W_OK):
        return FeedbackStore(url_of(db_path))
    try:
        return FeedbackStore(url_of(db_path), read_only=True)
    except FeedbackStoreError as error:
        raise FeedbackStoreError(
            f"The feedback database {file} cannot be read where nothing can be written",
            error.found,
            f"Copy it, with {file.name}-wal if that is there, to a folder of your own, and name the copy in --db_path",
        ) from error


def read_products(
    store: FeedbackStore, *, since: datetime | None = None, until: datetime | None = None, include_page: bool = False
) -> pl.DataFrame:
    """Every product of a request that an event is about and that was first shown in a span of time.

    Without an impression it counts when it was last acted on. Events of impossible times are left out.

    Args:
        store: the database.
        since: from this moment on.
        until: up to this moment, without it.
        include_page: with the events of the service's own page.

    Returns:
        ``request_id``, ``product_id``; ``shown_at``, the time of its first impression, null where none was sent;
        ``acted_at``, of its last event; ``click``, ``add_to_cart`` and ``purchase``, booleans; ``position`` as it was
        served, else as the impression says, from 1, or null; ``score``; ``user``, who it was: the user's id, else the
        hash of the context, else the request; ``user_id``; ``model_version`` and ``arm``, null where nothing is known.
    """
    events = _by_product(since, until, include_page=include_page)
    products, of_request = exposed_products.c, exposures.c
    query = (
        select(
            events,
            products.rank,
            products.score,
            of_request.user_id,
            of_request.user_context_hash,
            of_request.model_version,
            of_request.arm,
        )
        .outerjoin(
            exposed_products,
            and_(products.request_id == events.c.request_id, products.product_id == events.c.product_id),
        )
        .outerjoin(exposures, of_request.request_id == events.c.request_id)
        .order_by(events.c.request_id, events.c.product_id)
    )
    nothing = pl.DataFrame(schema=_COLUMNS)
    batches = (pl.DataFrame([tuple(row) for row in rows], _COLUMNS, orient="row") for rows in store.batches(query))
    table = pl.concat([nothing, *batches])
    number = pl.element().cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)
    sent = pl.col("event_positions").str.split(_BETWEEN).list.eval(number.filter(number >= 1)).list.min()
    user_id = pl.coalesce("user_id", pl.col("event_user").max().over("request_id"))
    user_hash = pl.coalesce("user_context_hash", pl.col("event_hash").max().over("request_id"))
    table = table.with_columns(
        position=pl.coalesce("rank", sent),
        user=pl.coalesce(user_id, user_hash, "request_id"),
        user_id=user_id,
    ).drop("rank", "event_user", "event_hash", "event_positions", "user_context_hash")
    when = pl.coalesce("shown_at", "acted_at")
    table = table if since is None else table.filter(when >= since)
    return table if until is None else table.filter(when < until)


def left_out(
    store: FeedbackStore, since: datetime | None, until: datetime | None, *, include_page: bool
) -> dict[str, int]:
    """How many events :func:`read_products` leaves out, by a reason of :data:`LEFT_OUT`.

    Args:
        store: the database.
        since: of the page's events, only those from this moment on.
        until: of the page's events, only those before this moment.
        include_page: the page's are not left out.
    """
    which = {"impossible_times": not_(_in(None, None))}
    if not include_page:
        which["page"] = and_(_is_of_page(), _in(since, until))
    return {reason: int(store.rows(select(func.count()).where(those))[0][0]) for reason, those in which.items()}


def said(left_out: Mapping[str, int]) -> list[str]:
    """What was left out, in words."""
    return [f"{count:,} events {LEFT_OUT[reason]}" for reason, count in left_out.items() if count]


def span(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """A span of time as it is typed: two dates or moments, each in UTC unless it names a time zone.

    Raises:
        SettingError: one is neither, or there is nothing between them.
    """
    begin, end = _moment(since), _moment(until)
    if begin and end and begin >= end:
        raise SettingError(
            "--until must be later than --since", f"got {since} and {until}", "A day ends where the next begins"
        )
    return begin, end


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise SettingError(
            "A moment must be a date or a time in ISO 8601", f"got {text!r}", "Write 2026-01-31 or 2026-01-31T10:00Z"
        ) from error


def _in(since: datetime | None, until: datetime | None) -> ColumnElement[bool]:
    """The events of a span, as far as their times can be."""
    when = feedback_events.c.created_at
    return and_(when >= (since or EARLIEST), when < until if until else when <= latest())


def _is_of_page() -> ColumnElement[bool]:
    return func.coalesce(feedback_events.c.metadata["source"].as_string(), "") == PAGE


def _by_product(since: datetime | None, until: datetime | None, *, include_page: bool) -> Subquery:
    """Events of one product of one request in one row; those without a request stand each for itself.

    Of requests without an event in the span there is none.
    """
    events = feedback_events.c
    is_impression = events.event_type == EventType.IMPRESSION.value
    request_id = func.coalesce(events.request_id, literal("unknown-") + events.event_id).label("request_id")
    of_impression = case((is_impression, events.metadata["position"].as_string()))
    known = [kind.value for kind in EventType]
    in_span = select(events.request_id).where(_in(since, until))
    return (
        select(
            request_id,
            events.product_id,
            func.min(case((is_impression, events.created_at))).label("shown_at"),
            func.max(events.created_at).label("acted_at"),
            *(func.max(case((events.event_type == each.value, 1), else_=0)).label(each.value) for each in ACTIONS),
            func.max(events.user_id).label("event_user"),
            func.max(events.user_context_hash).label("event_hash"),
            func.aggregate_strings(of_impression, _BETWEEN).label("event_positions"),
        )
        .where(events.event_type.in_(known), _in(None, None), *([] if include_page else [not_(_is_of_page())]))
        .where(*([or_(_in(since, until), events.request_id.in_(in_span))] if since or until else []))
        .group_by(request_id, events.product_id)
        .subquery()
    )
