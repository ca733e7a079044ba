"""What was shown and what came of it: the table, a row for each product of a request, behind reports and pairs."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import ColumnElement, Subquery, and_, case, func, literal, not_, or_, select
from sqlalchemy.engine import make_url

from lit_rec.core.errors import FeedbackStoreError
from lit_rec.feedback.settings import Selection
from lit_rec.store.database import FeedbackStore, url_of
from lit_rec.store.events import EARLIEST, PAGE, EventType, latest
from lit_rec.store.tables import exposed_products, exposures, feedback_events

LEFT_OUT = {
    "page": "of the service's own page (--include_page true counts them)",
    "impossible_times": f"dated before {EARLIEST.date()} or after tomorrow",
}
"""Why an event is left out of reports and pairs."""

EVERYTHING = Selection()
"""All feedback but that of the service's own page."""

ACTIONS = (EventType.CLICK, EventType.ADD_TO_CART, EventType.PURCHASE)

_BETWEEN = "\x1f"  # positions
_OF_EXPOSURE = ("user_id", "user_context_hash", "model_version", "arm")
_COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("request_id", "product_id"), pl.String),
    **dict.fromkeys(("shown_at", "acted_at"), pl.Datetime("us", "UTC")),
    **{action.value: pl.Boolean for action in ACTIONS},
    **dict.fromkeys(("event_user", "event_hash", "event_positions"), pl.String),
    "rank": pl.Int64,
    "score": pl.Float64,
    **dict.fromkeys(_OF_EXPOSURE, pl.String),
}
"""Columns of the query below, in its order."""


def open_for_reading(db_path: str | Path) -> FeedbackStore:
    """A store on a database that is there already; an SQLite file may be one that cannot be written.

    Args:
        db_path: a file of SQLite, or a URL.

    Raises:
        FeedbackStoreError: there is no such file, or the database does not answer.
    """
    url = url_of(db_path)
    if not url.startswith("sqlite"):
        return FeedbackStore(url)
    file = Path(make_url(url).database or "")
    if not file.is_file():
        raise FeedbackStoreError(
            f"No feedback database at {file}",
            "there is no such file",
            "Name another --db_path, or collect some: python -m lit_rec feedback simulate",
        )
    is_writable = os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)
    try:
        return FeedbackStore(url, read_only=not is_writable)
    except FeedbackStoreError as error:
        if is_writable:
            raise
        raise FeedbackStoreError(
            f"The feedback database {file} cannot be read where nothing can be written",
            error.found,
            f"Copy it, with {file.name}-wal if that is there, to a folder of your own, and name the copy in --db_path",
        ) from error


def read_products(store: FeedbackStore, selection: Selection = EVERYTHING) -> pl.DataFrame:
    """The products of each request that events are about, with what was done with them.

    Those first shown in the span of the selection are read; without an impression the last action counts. Events with
    an impossible time are left out.

    Args:
        store: the database.
        selection: which feedback.

    Returns:
        ``request_id``, ``product_id``; ``shown_at``, the time of its first impression, null where none was sent;
        ``acted_at``, of its last event; ``click``, ``add_to_cart`` and ``purchase``, booleans; ``position`` as it was
        served, else as the impression says, from 1, or null; ``score``; ``user``, who it was: the user's id, else the
        hash of the context, else the request; ``user_id``; ``model_version`` and ``arm``, null where nothing is known.
    """
    events = _by_product(selection)
    recommended = exposed_products.c
    is_recommended = and_(recommended.request_id == events.c.request_id, recommended.product_id == events.c.product_id)
    query = (
        select(events, recommended.rank, recommended.score, *(exposures.c[name] for name in _OF_EXPOSURE))
        .outerjoin(exposed_products, is_recommended)
        .outerjoin(exposures, exposures.c.request_id == events.c.request_id)
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
    table = table if selection.begin is None else table.filter(when >= selection.begin)
    return table if selection.end is None else table.filter(when < selection.end)


def left_out(store: FeedbackStore, selection: Selection) -> dict[str, int]:
    """How many events :func:`read_products` leaves out, by a reason of :data:`LEFT_OUT`.

    Args:
        store: the database.
        selection: which feedback; of the page's events, those of its span are counted.
    """
    which = {"impossible_times": not_(_in(EVERYTHING))}
    if not selection.include_page:
        which["page"] = and_(_is_of_page(), _in(selection))
    return {reason: int(store.rows(select(func.count()).where(those))[0][0]) for reason, those in which.items()}


def left_out_in_words(counts: Mapping[str, int]) -> list[str]:
    """The counts of :func:`left_out`, as the end of a sentence for each reason that has any."""
    return [f"{count:,} events {LEFT_OUT[reason]}" for reason, count in counts.items() if count]


def _in(selection: Selection) -> ColumnElement[bool]:
    """Condition that an event lies in the selection's span and has a possible time."""
    when, end = feedback_events.c.created_at, selection.end
    return and_(when >= (selection.begin or EARLIEST), when < end if end else when <= latest())


def _is_of_page() -> ColumnElement[bool]:
    return func.coalesce(feedback_events.c.metadata["source"].as_string(), "") == PAGE


def _by_product(selection: Selection) -> Subquery:
    """Query of one row for each product of a request, from its events; an event without a request is its own.

    Requests without any event in the span are not read.
    """
    events = feedback_events.c
    chosen = [events.event_type.in_([kind.value for kind in EventType]), _in(EVERYTHING)]
    if not selection.include_page:
        chosen.append(not_(_is_of_page()))
    if selection.begin or selection.end:
        in_span = select(events.request_id).where(_in(selection))
        chosen.append(or_(_in(selection), events.request_id.in_(in_span)))
    is_impression = events.event_type == EventType.IMPRESSION.value
    request_id = func.coalesce(events.request_id, literal("unknown-") + events.event_id).label("request_id")
    position = case((is_impression, events.metadata["position"].as_string()))
    return (
        select(
            request_id,
            events.product_id,
            func.min(case((is_impression, events.created_at))).label("shown_at"),
            func.max(events.created_at).label("acted_at"),
            *(func.max(case((events.event_type == each.value, 1), else_=0)).label(each.value) for each in ACTIONS),
            func.max(events.user_id).label("event_user"),
            func.max(events.user_context_hash).label("event_hash"),
            func.aggregate_strings(position, _BETWEEN).label("event_positions"),
        )
        .where(*chosen)
        .group_by(request_id, events.product_id)
        .subquery()
    )
