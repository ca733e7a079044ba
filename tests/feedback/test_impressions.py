"""One row a product of a request, joined to what was served; the same on both databases."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text

from lit_rec.core.errors import FeedbackStoreError
from lit_rec.feedback.impressions import EVERYTHING, left_out, open_for_reading, read_products
from lit_rec.feedback.settings import Selection
from lit_rec.store.database import Exposure, FeedbackStore, url_of
from lit_rec.store.events import PAGE, FeedbackEvent
from lit_rec.store.tables import feedback_events

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=30)


def event_of(kind, request, product, minutes=0, **more):
    when = NOON + timedelta(minutes=minutes)
    return FeedbackEvent(event_type=kind, request_id=request, product_id=product, created_at=when, **more)


def between(since, until):
    return Selection(since and since.isoformat(), until and until.isoformat())


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
    store.record_exposures([Exposure("r1", ["2", "1"], [0.75, 0.5], "m-1", arm="a")])
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


def test_of_several_positions_the_first_is_kept_as_a_number(store):
    for position in (10, "9", "far down", 0, 11):
        store.record([event_of("impression", "r1", "1", metadata={"position": position})])
    assert rows_of(store)["r1", "1"]["position"] == 9


def test_who_it_was_is_one_person_a_request(store):
    store.record_exposures(
        [
            Exposure("r1", ["1"], [0.5], "m", user_id="u1", user_context_hash="h1"),
            Exposure("r2", ["1"], [0.5], "m", user_context_hash="h2"),
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
    assert len(read_products(store)) == len(read_products(store, between(NOON, LATER))) == 0


def test_a_span_takes_what_was_shown_in_it_whatever_came_later(store):
    store.record(
        [
            event_of("impression", "r1", "1", 0),
            event_of("click", "r1", "1", 60),
            event_of("impression", "r2", "1", 30),
            event_of("click", "r3", "1", 10),
        ]
    )
    until = read_products(store, between(None, LATER))
    assert until.select("request_id", "click").rows() == [("r1", True), ("r3", True)]
    assert read_products(store, between(LATER, None))["request_id"].to_list() == ["r2"]
    assert read_products(store, between(NOON, LATER))["request_id"].to_list() == ["r1", "r3"]


def test_a_span_reads_no_other_requests(store):
    store.record([event_of("impression", f"r{number}", "1", number) for number in range(50)])
    read, rows = [], store.batches
    store.batches = lambda query: (read.append(some) or some for some in rows(query))
    found = read_products(store, between(NOON + timedelta(minutes=48), None))
    assert found["request_id"].to_list() == ["r48", "r49"]
    assert sum(map(len, read)) == 2


def test_what_was_done_on_the_services_own_page_is_left_out_and_counted(store):
    of_page = {"source": PAGE, "position": 1}
    kinds = ("impression", "click")
    store.record([event_of(kind, "tried", "1", metadata=of_page) for kind in kinds])
    store.record([event_of(kind, "shop", "1", metadata={"source": "page"}) for kind in kinds])
    store.record([event_of("impression", "shop", "2")])
    assert set(rows_of(store)) == {("shop", "1"), ("shop", "2")}
    assert left_out(store, EVERYTHING) == {"impossible_times": 0, "page": 2}
    assert len(read_products(store, Selection(include_page=True))) == 3
    assert left_out(store, Selection(include_page=True)) == {"impossible_times": 0}
    later = left_out(store, between(NOON + timedelta(minutes=1), None))
    assert later["page"] == 0, "they are not of this span"


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_impossible_times_that_are_stored_already_are_left_out_and_counted(store, zone, monkeypatch):
    monkeypatch.setenv("PGTZ", zone)
    insert = "INSERT INTO feedback_events(event_id, request_id, event_type, product_id, created_at)"
    with store.engine.begin() as connection:
        for year in ("0001-01-01T00", "2026-05-01T12", "2999-12-31T23", "9999-12-31T23"):
            when = f"{year}:00:00.000000+00:00"
            connection.execute(text(f"{insert} VALUES ('{year}', '{year}', 'impression', '1', '{when}')"))
    store.engine.dispose()
    assert read_products(store)["shown_at"].to_list() == [NOON]
    assert left_out(store, EVERYTHING) == {"impossible_times": 3, "page": 0}
    assert len(store.rows(select(feedback_events.c.created_at))) == 4, "and can be read all the same"
    assert store.funnel()["impression"] == 4


def test_a_database_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(FeedbackStoreError, match=r"No feedback database at .*nothing\.db"):
        open_for_reading(tmp_path / "nothing.db")
    assert not list(tmp_path.iterdir())
    FeedbackStore(url_of(tmp_path / "some.db")).close()
    open_for_reading(str(tmp_path / "some.db")).close()


READ = """
import sys
from lit_rec.core.errors import FeedbackStoreError
from lit_rec.feedback.impressions import open_for_reading, read_products
for path in sys.argv[1:]:
    try:
        print(len(read_products(open_for_reading(path))))
    except FeedbackStoreError as error:
        print(error)
"""


def test_what_can_only_be_read_is_read_with_what_a_writer_has_not_put_into_the_file_yet(tmp_path):
    written, copied, closed = (tmp_path / name / "feedback.db" for name in ("100% written", "copied", "closed?"))
    for file in (written, closed):
        FeedbackStore(url_of(file)).close()
    writing = FeedbackStore(url_of(written))
    writing.record([event_of("impression", "r1", "1")])
    copied.parent.mkdir()
    for end in ("", "-wal"):
        shutil.copyfile(f"{written}{end}", f"{copied}{end}")
    command = [sys.executable, "-c", READ, str(written), str(copied), str(closed)]
    if os.geteuid() == 0:  # who may write anywhere, until that is given up
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv of util-linux where root runs the tests")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    folders = [file.parent for file in (written, copied, closed)]
    modes = {path: path.stat().st_mode for folder in folders for path in (folder, *folder.iterdir())}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
        writing.close()
    of_written, of_copied, of_closed = done.stdout.splitlines()
    assert (of_written, of_closed) == ("1", "0")
    assert of_copied.startswith(f"The feedback database {copied} cannot be read where nothing can be written: ")
    assert "Copy it, with feedback.db-wal if that is there, to a folder of your own" in of_copied
    assert [path.name for path in closed.parent.iterdir()] == [closed.name], "nothing was written"
