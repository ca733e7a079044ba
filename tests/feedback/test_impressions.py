"""One row a product of a request, joined to what was served; the same on both databases."""

from datetime import UTC, datetime, timedelta

import pytest

from lit_rec.errors import FeedbackStoreError, SettingError
from lit_rec.feedback.events import FeedbackEvent
from lit_rec.feedback.impressions import moment, open_for_reading, read_products, within
from lit_rec.feedback.store import FeedbackStore, ServedList, url_of

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def event_of(kind, request, product, minutes=0, **more):
    when = NOON + timedelta(minutes=minutes)
    return FeedbackEvent(event_type=kind, request_id=request, product_id=product, created_at=when, **more)


def rows_of(store):
    return {(row["request_id"], row["product_id"]): row for row in read_products(store).iter_rows(named=True)}


def test_events_of_a_product_are_one_row(store):
    store.record(
        [
            event_of("impression", "r1", "1", 1),
            event_of("impression", "r1", "1", 0),
            event_of("click", "r1", "1", 5),
            event_of("purchase", "r1", "1", 9),
            event_of("impression", "r1", "2", 0),
            event_of("impression", "r2", "1", 3),
        ]
    )
    rows = rows_of(store)
    assert set(rows) == {("r1", "1"), ("r1", "2"), ("r2", "1")}
    row = rows["r1", "1"]
    assert (row["shown_at"], row["acted_at"]) == (NOON, NOON + timedelta(minutes=9))
    assert (row["click"], row["add_to_cart"], row["purchase"]) == (True, False, True)
    assert not any(rows["r1", "2"][action] for action in ("click", "add_to_cart", "purchase"))


def test_what_was_served_tells_position_score_model_and_arm(store):
    store.record_served([ServedList("r1", ["2", "1"], [0.75, 0.5], "m-1", arm="a")])
    store.record([event_of("impression", "r1", each, metadata={"position": 9}) for each in ("1", "2", "3")])
    rows = rows_of(store)
    assert [rows["r1", each]["position"] for each in ("1", "2", "3")] == [2, 1, 9]
    assert [rows["r1", each]["score"] for each in ("1", "2", "3")] == [0.5, 0.75, None]
    assert {(row["model_version"], row["arm"]) for row in rows.values()} == {("m-1", "a")}


@pytest.mark.parametrize(
    ("sent", "position"), [(3, 3), ("4", 4), (0, None), ("first", None), (None, None), ([1], None), (2.0, 2)]
)
def test_the_reference_sends_positions_with_its_impressions(store, sent, position):
    store.record([event_of("impression", "r1", "1", metadata={"position": sent})])
    assert rows_of(store)["r1", "1"]["position"] == position


def test_who_it_was_is_one_person_a_request(store):
    store.record_served(
        [
            ServedList("r1", ["1"], [0.5], "m", user_id="u1", user_context_hash="h1"),
            ServedList("r2", ["1"], [0.5], "m", user_context_hash="h2"),
        ]
    )
    store.record(
        [
            event_of("impression", "r1", "1", user_id="someone else"),
            event_of("impression", "r2", "1"),
            event_of("impression", "r3", "1"),
            event_of("click", "r3", "2", user_id="u3"),
            event_of("impression", "r4", "1", user_context_hash="h4"),
            event_of("impression", "r5", "1"),
        ]
    )
    found = {key[0]: row["user"] for key, row in rows_of(store).items()}
    assert found == {"r1": "u1", "r2": "h2", "r3": "u3", "r4": "h4", "r5": "r5"}


def test_an_action_without_an_impression_was_not_shown(store):
    store.record([event_of("click", "r1", "1", 4)])
    row = rows_of(store)["r1", "1"]
    assert row["shown_at"] is None
    assert row["acted_at"] == NOON + timedelta(minutes=4)


def test_nothing_is_a_table_without_rows(store):
    table = read_products(store)
    assert len(table) == len(within(table, NOON, NOON)) == 0


def test_a_span_takes_what_was_shown_in_it_whatever_came_later(sqlite_store):
    sqlite_store.record(
        [
            event_of("impression", "r1", "1", 0),
            event_of("click", "r1", "1", 60),
            event_of("impression", "r2", "1", 30),
            event_of("click", "r3", "1", 10),
        ]
    )
    table = read_products(sqlite_store)
    until = within(table, None, NOON + timedelta(minutes=30))
    assert until.select("request_id", "click").rows() == [("r1", True), ("r3", True)]
    assert within(table, NOON + timedelta(minutes=30), None)["request_id"].to_list() == ["r2"]


def test_moments():
    assert moment(None) is None
    assert moment("2026-05-01") == datetime(2026, 5, 1, tzinfo=UTC)
    assert moment("2026-05-01T14:00+02:00") == NOON
    with pytest.raises(SettingError, match=r"'May'\. Write 2026-01-31"):
        moment("May")


def test_a_database_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(FeedbackStoreError, match=r"No feedback database at .*nothing\.db"):
        open_for_reading(tmp_path / "nothing.db")
    assert not list(tmp_path.iterdir())
    FeedbackStore(url_of(tmp_path / "some.db")).close()
    open_for_reading(str(tmp_path / "some.db")).close()
