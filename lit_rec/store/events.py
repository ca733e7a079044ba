"""What a user did with a recommendation, as the service is told it."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, model_validator

MAX_METADATA_BYTES = 4_096

PAGE = "lit_rec_page"
"""``source`` in the metadata of the events of the service's own page: somebody tried it, nobody shopped."""

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_AHEAD = timedelta(days=1)  # for clocks that are wrong by a time zone


class EventType(StrEnum):
    """The steps of the funnel, widest first."""

    IMPRESSION = "impression"
    CLICK = "click"
    ADD_TO_CART = "add_to_cart"
    PURCHASE = "purchase"


def _storable(text: str) -> str:
    """Refuse what no database stores: half of a surrogate pair, and NUL."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("must be valid Unicode; it holds half of a surrogate pair") from error
    if "\0" in text:
        raise ValueError("must not hold the character NUL")
    return text


def _small_object(metadata: dict[str, Any]) -> dict[str, Any]:
    try:
        written = json.dumps(metadata, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"must be an object of plain JSON values: {error}") from error
    if (size := len(_storable(written).encode())) > MAX_METADATA_BYTES:
        raise ValueError(f"must be at most {MAX_METADATA_BYTES:,} bytes as JSON; it has {size:,}")
    if "\\u0000" in written:
        raise ValueError("must not hold the character NUL")
    return metadata


def latest() -> datetime:
    """No event that is believed is later."""
    return datetime.now(UTC) + _AHEAD


def _plausible(moment: datetime) -> datetime:
    """In UTC; refused where it can only come from a clock that is wrong."""
    try:
        moment = moment.astimezone(UTC)
        is_plausible = EARLIEST <= moment <= latest()
    except OverflowError:
        is_plausible = False
    if not is_plausible:
        raise ValueError(f"must lie between {EARLIEST.date()} and a day from now")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_plausible)]
"""With a time zone, kept in UTC."""

STORABLE = AfterValidator(_storable)
"""Refuses text that no database takes; it stands after the limits of length, which else count "items"."""

_Id = Annotated[str, Field(min_length=1, max_length=256), STORABLE]


class FeedbackEvent(BaseModel):
    """One event; what instacart_seed's service accepts is accepted as it is.

    Args:
        event_type: impression, click, add_to_cart or purchase.
        request_id: the recommendation that it is about.
        product_id: the product that it is about.
        event_id: idempotency key: an event of the same id is stored once. Made from the content where it is absent.
        user_id: who did it.
        user_context_hash: stands for who did it where that is not to be known.
        metadata: anything else, at most 4 KiB as JSON.
        created_at: when it happened, with a time zone, kept in UTC; None for the moment it is stored.
    """

    event_type: EventType
    request_id: _Id
    product_id: _Id
    event_id: _Id = ""
    user_id: _Id | None = None
    user_context_hash: _Id | None = None
    metadata: Annotated[dict[str, Any], AfterValidator(_small_object)] | None = None
    created_at: Moment | None = None

    @model_validator(mode="after")
    def _with_event_id(self) -> "FeedbackEvent":
        self.event_id = self.event_id or self.content_id()
        return self

    def content_id(self) -> str:
        """32 hexadecimal digits that events of equal content share, whatever the order of their metadata."""
        content = self.model_dump(mode="json", exclude={"event_id"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
