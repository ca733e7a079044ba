"""The same promises on SQLite and on PostgreSQL."""

import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import OperationalError

from lit_rec.core.errors import FeedbackStoreError, OutcomeUnknownError, SettingError, UnstorableError
from lit_rec.store.database import Exposure, FeedbackStore, url_of
from lit_rec.store.events import FeedbackEvent
from lit_rec.store.tables import exposed_products, exposures, feedback_events


def event_of(product="1", kind="impression", request="r1", **more):
    return FeedbackEvent(event_type=kind, request_id=request, product_id=product, **more)


def test_an_event_comes_back_as_it_was(store):
    when = datetime(2026, 3, 1, 12, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    bought = event_of("7", "purchase", user_id="u", user_context_hash="h", metadata={"n": [1, "ü"]}, created_at=when)
    assert store.record([bought]) == ["accepted"]
    (row,) = store.rows(select(feedback_events))
    assert row._mapping["metadata"] == {"n": [1, "ü"]}
    assert (row.event_id, row.request_id, row.event_type, row.product_id) == (bought.event_id, "r1", "purchase", "7")
    assert (row.user_id, row.user_context_hash) == ("u", "h")
    assert row.created_at == when
    assert row.created_at.utcoffset() == timedelta(0)


def test_an_event_without_a_time_gets_the_stores(store):
    before = datetime.now(UTC)
    store.record([event_of()])
    ((created,),) = store.rows(select(feedback_events.c.created_at))
    assert before <= created <= datetime.now(UTC)


def test_an_id_is_stored_once(store):
    a, b = event_of("1"), event_of("2")
    assert store.record([b, a, b]) == ["accepted", "accepted", "duplicate"]
    assert store.record([a, event_of("3"), b]) == ["duplicate", "accepted", "duplicate"]
    assert len(store.rows(select(feedback_events))) == 3
    assert store.record([]) == []


def test_an_id_of_the_callers_own_stands_for_the_event(store):
    assert store.record([event_of("1", event_id="x"), event_of("2", event_id="x")]) == ["accepted", "duplicate"]
    assert [row.product_id for row in store.rows(select(feedback_events))] == ["1"]


def test_nothing_of_a_call_that_fails_is_stored(store):
    good, bad = event_of("1", event_id="a"), event_of("2", event_id="b")
    bad.product_id = None
    with pytest.raises(UnstorableError, match="cannot be written"):
        store.record([good, bad])
    assert store.rows(select(feedback_events)) == []


def test_exposures_are_stored_with_ranks_and_scores(store):
    history = {"orders": [{"product_ids": ["5"], "order_dow": 3}], "order_dow": 4}
    when = datetime(2026, 1, 2, tzinfo=UTC)
    of_context = Exposure(
        "r1", ["7", "5"], [0.5, 0.25], "m-1", "a", "u", "h", "[w1h2] Milk.", latency_ms=3.5, served_at=when
    )
    store.record_exposures([of_context, Exposure("r2", [], [], "m-1", history=history)])
    first, second = store.rows(select(exposures).order_by(exposures.c.request_id))
    assert first == ("r1", "u", "h", "[w1h2] Milk.", None, "m-1", "a", 3.5, when)
    assert second.history == history
    products = store.rows(select(exposed_products).order_by(exposed_products.c.rank))
    assert products == [("r1", 1, "7", 0.5), ("r1", 2, "5", 0.25)]


def test_of_two_exposures_of_one_request_the_first_is_kept(store):
    first, second = Exposure("r1", ["1"], [0.5], "m"), Exposure("r1", ["2", "3"], [0.4, 0.3], "m")
    store.record_exposures([first, second])
    store.record_exposures([second])
    assert [row.product_id for row in store.rows(select(exposed_products))] == ["1"]
    store.record_exposures([])


def test_an_exposure_with_more_products_than_scores_is_refused_whole(store):
    with pytest.raises(ValueError, match="shorter"):
        store.record_exposures([Exposure("r1", ["1", "2"], [0.5], "m")])
    assert store.rows(select(exposures)) == []


def test_the_funnel_counts_each_product_of_a_request_once(store):
    old, new = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    store.record(
        [
            event_of("1", created_at=old),
            event_of("1", created_at=new),
            event_of("2", created_at=new),
            event_of("1", "click", created_at=new),
            event_of("1", request="r2", created_at=old),
        ]
    )
    assert store.funnel() == {"requests": 2, "impression": 3, "click": 1, "add_to_cart": 0, "purchase": 0}
    assert store.funnel(new) == {"requests": 1, "impression": 2, "click": 1, "add_to_cart": 0, "purchase": 0}


def test_threads_may_share_a_store(store):
    outcomes = []

    def write(thread):
        for number in range(10):
            outcomes.extend(store.record([event_of(f"{number}"), event_of(f"{number}", request=f"of {thread}")]))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("accepted") == 10 + 4 * 10
    assert outcomes.count("duplicate") == 30


_WRITER = """
import sys
from lit_rec.store.events import FeedbackEvent
from lit_rec.store.database import FeedbackStore, Exposure
url, process = sys.argv[1:]
sys.stdin.readline()  # all begin at once
store = FeedbackStore(url)
accepted = 0
for number in range(20):
    own = FeedbackEvent(event_type="click", request_id=process, product_id=str(number))
    everyones = FeedbackEvent(event_type="click", request_id="all", product_id=str(number))
    accepted += store.record([own, everyones] if int(process) % 2 else [everyones, own]).count("accepted")
    store.record_exposures([Exposure(f"{process}/{number}", ["1"], [0.5], "m")])
sys.stdout.write(str(accepted))
"""


def test_processes_that_start_on_an_empty_database_lose_and_double_nothing(database_url):
    command = [sys.executable, "-c", _WRITER, database_url]
    processes = [
        subprocess.Popen([*command, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for n in range(4)
    ]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    accepted = [int(process.communicate(timeout=120)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sum(accepted) == 4 * 20 + 20
    store = FeedbackStore(database_url)
    assert store.funnel()["click"] == 100
    assert store.rows(select(func.count()).select_from(exposed_products)) == [(80,)]
    store.close()


def test_sqlite_is_written_ahead_and_waits(sqlite_store):
    with sqlite_store.engine.connect() as connection:
        values = [connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")]
        assert values == ["wal", 2]
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == 30_000


def test_readers_of_sqlite_do_not_wait_for_a_writer(sqlite_store):
    sqlite_store.record([event_of()])
    with sqlite_store.engine.begin() as connection:
        connection.execute(feedback_events.delete())
        assert sqlite_store.funnel()["impression"] == 1


def test_a_database_that_is_gone_is_not_reachable(store):
    store.check()
    with store.engine.begin() as connection:
        connection.execute(text("DROP TABLE feedback_events"))
    for ask in (store.check, store.funnel):
        with pytest.raises(FeedbackStoreError, match="cannot be read"):
            ask()


def test_a_file_that_is_no_longer_the_one_that_was_opened_is_noticed(sqlite_store, tmp_path):
    file, elsewhere = tmp_path / "feedback.db", tmp_path / "elsewhere.db"
    sqlite_store.record([event_of("1")])
    file.rename(elsewhere)
    for ask in (lambda: sqlite_store.record([event_of("2")]), lambda: sqlite_store.record_exposures([])):
        with pytest.raises(FeedbackStoreError, match="no longer the file that was opened"):
            ask()
    assert not file.exists(), "none is made in its place"
    FeedbackStore(url_of(tmp_path / "other.db")).close()
    (tmp_path / "other.db").rename(file)
    with pytest.raises(FeedbackStoreError, match="no longer the file that was opened"):
        sqlite_store.funnel()  # with the old one's log beside it, SQLite would mix the two
    elsewhere.rename(file)
    assert sqlite_store.record([event_of("1"), event_of("2")]) == ["duplicate", "accepted"], "it is put back"


def test_a_database_without_its_tables_is_not_the_fault_of_a_value(store):
    with store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE feedback_events RENAME TO elsewhere"))
    with pytest.raises(FeedbackStoreError) as raised:
        store.record([event_of("1")])
    assert not isinstance(raised.value, UnstorableError | OutcomeUnknownError)


def test_after_a_commit_that_fails_nobody_says_that_nothing_was_stored(sqlite_store):
    def fails(_):
        raise OperationalError("COMMIT", {}, Exception("the connection is lost"))

    event.listen(sqlite_store.engine, "commit", fails)
    with pytest.raises(OutcomeUnknownError, match="the connection is lost"):
        sqlite_store.record([event_of()])
    event.remove(sqlite_store.engine, "commit", fails)
    assert sqlite_store.record([event_of()]) == ["accepted"]


def test_a_statement_of_a_service_waits_for_a_while_only(database_url):
    hasty, other = FeedbackStore(database_url, timeout_seconds=0.2), FeedbackStore(database_url)
    with other.engine.begin() as connection:
        if other.engine.dialect.name == "postgresql":
            connection.execute(text("LOCK TABLE feedback_events"))
        with pytest.raises(FeedbackStoreError, match=r"locked|statement timeout"):
            hasty.record([event_of()])
    assert hasty.record([event_of()]) == ["accepted"]
    hasty.close()
    other.close()


def test_a_store_may_be_opened_when_it_is_first_used(database_url):
    store = FeedbackStore(database_url, open_now=False)
    assert not store.is_open
    assert store.record([event_of()]) == ["accepted"]
    assert store.is_open
    store.close()


def test_a_server_that_is_not_there_is_named_without_its_password():
    with pytest.raises(FeedbackStoreError, match="cannot be opened") as raised:
        FeedbackStore("postgresql+psycopg://someone:secret@127.0.0.1:1/nothing")
    assert "secret" not in str(raised.value)


def test_a_file_that_is_no_database_is_left_alone(tmp_path):
    file = tmp_path / "feedback.db"
    file.write_text("not a database, but longer than a header of one hundred bytes is " * 3)
    before = file.read_bytes()
    with pytest.raises(FeedbackStoreError, match="not a database"):
        FeedbackStore(url_of(file))
    assert file.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FeedbackStoreError, match="No folder"):
        FeedbackStore(url_of(tmp_path / "file" / "feedback.db"))


@pytest.mark.parametrize("url", ["sqlite://", "mysql://127.0.0.1/x", "nothing", "sqlite:///:memory:"])
def test_other_databases_are_refused(url):
    with pytest.raises(SettingError, match="feedback database"):
        FeedbackStore(url)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("/tmp/a b/feedback.db", "sqlite:////tmp/a b/feedback.db"),
        ("data/f?x#y.db", "sqlite:///data/f%3Fx%23y.db"),
        ("postgres://u:p@h:1/d?x=1", "postgresql+psycopg://u:p@h:1/d?x=1"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("sqlite:///x.db", "sqlite:///x.db"),
    ],
)
def test_paths_and_urls(given, url):
    assert url_of(given) == url


def test_the_parent_folder_is_made_and_odd_names_are_kept(tmp_path):
    file = tmp_path / "new" / "f?x#y%20.db"
    store = FeedbackStore(url_of(file))
    store.record([event_of()])
    store.close()
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM feedback_events").fetchone() == (1,)
    connection.close()
