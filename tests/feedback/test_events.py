"""The reference's form is accepted; what no database stores is refused; equal content has an equal id."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from lit_rec.store.events import MAX_METADATA_BYTES, EventType, FeedbackEvent


def event_of(**changed):
    return FeedbackEvent(**({"event_type": "click", "request_id": "r1", "product_id": "7"} | changed))


def test_the_references_form_is_accepted():
    event = event_of(user_id="u", user_context_hash="h", metadata={"position": 3}, something_else=1)
    assert (event.event_type, event.user_id, event.metadata) == (EventType.CLICK, "u", {"position": 3})
    assert event.created_at is None


def test_an_id_that_is_given_is_kept():
    assert event_of(event_id="mine").event_id == "mine"


def test_equal_content_has_an_equal_id_whatever_the_order_of_the_metadata():
    assert event_of(metadata={"a": 1, "b": 2}).event_id == event_of(metadata={"b": 2, "a": 1}).event_id
    assert len(event_of().event_id) == 32


@pytest.mark.parametrize(
    "changed",
    [
        {"event_type": "purchase"},
        {"request_id": "r2"},
        {"product_id": "8"},
        {"user_id": "u"},
        {"user_context_hash": "h"},
        {"metadata": {"position": 1}},
        {"created_at": datetime(2026, 1, 1, tzinfo=UTC)},
    ],
)
def test_other_content_has_another_id(changed):
    assert event_of(**changed).event_id != event_of().event_id


def test_the_same_moment_in_two_time_zones_is_one_event_in_utc():
    here = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    event = event_of(created_at=here)
    assert event.created_at == here
    assert event.created_at.tzinfo is UTC
    assert event.event_id == event_of(created_at="2026-01-01T10:00:00Z").event_id


def test_a_clock_may_be_wrong_by_a_time_zone():
    ahead = datetime.now(UTC) + timedelta(hours=23)
    assert event_of(created_at=ahead).created_at == ahead


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"event_type": "view"}, "impression"),
        ({"request_id": ""}, "at least 1 character"),
        ({"product_id": 7}, "valid string"),
        ({"product_id": "x" * 257}, "at most 256"),
        ({"product_id": "\ud800"}, "unicode|surrogate"),
        ({"user_id": "a\0b"}, "NUL"),
        ({"metadata": {"a": "\0"}}, "NUL"),
        ({"metadata": {"a": "\ud800"}}, "surrogate"),
        ({"metadata": {"a": float("nan")}}, "JSON"),
        ({"metadata": {"a": "é" * (MAX_METADATA_BYTES // 2)}}, "at most 4,096 bytes"),
        ({"metadata": [1]}, "dictionary"),
        ({"created_at": "2026-01-01T10:00:00"}, "timezone"),
        ({"created_at": "0001-01-01T00:00:00+10:00"}, "between 2000-01-01 and a day from now"),
        ({"created_at": "1999-12-31T23:59:59Z"}, "between 2000-01-01 and a day from now"),
        ({"created_at": "2999-01-01T00:00:00Z"}, "between 2000-01-01 and a day from now"),
    ],
)
def test_what_cannot_be_stored_is_refused(changed, complaint):
    with pytest.raises(ValidationError, match=complaint):
        event_of(**changed)
