"""From nothing, from the reference's database, and from a version that is not known yet."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, select, text

from lit_rec.core.errors import FeedbackStoreError
from lit_rec.store.database import Exposure, FeedbackStore, url_of
from lit_rec.store.events import FeedbackEvent
from lit_rec.store.migrate import VERSION_TABLE, migrate
from lit_rec.store.tables import exposed_products, exposures, feedback_events, metadata

REFERENCE_SCHEMA = """
CREATE TABLE feedback_events(id INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT, event_type TEXT NOT NULL,
    user_id TEXT, product_id TEXT NOT NULL, user_context_hash TEXT, metadata TEXT,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP);
CREATE INDEX idx_feedback_request ON feedback_events(request_id);
CREATE INDEX idx_feedback_event_type ON feedback_events(event_type);
CREATE INDEX idx_feedback_created ON feedback_events(created_at);
"""


def reference_database(file, rows):
    connection = sqlite3.connect(file)
    connection.executescript(REFERENCE_SCHEMA)
    names = "request_id, event_type, user_id, product_id, user_context_hash, metadata, created_at"
    connection.executemany(f"INSERT INTO feedback_events({names}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()


def test_the_migrations_make_the_tables_that_the_code_reads(store):
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_a_second_migration_changes_nothing(store):
    store.record([FeedbackEvent(event_type="click", request_id="r", product_id="1")])
    migrate(store.engine)
    assert store.funnel()["click"] == 1


def test_the_references_rows_are_all_there_afterwards(tmp_path):
    file = tmp_path / "feedback.db"
    reference_database(
        file,
        [
            ("r1", "impression", "u", "1", "h", '{"position": 1, "ü": null}', "2026-02-20 10:00:00"),
            ("r1", "impression", "u", "1", "h", '{"position": 1, "ü": null}', "2026-02-20 10:00:00"),
            ("r1", "click", None, "1", None, None, "2026-02-20T12:00:00+02:00"),
            (None, "purchase", None, "2", None, "broken", "2026-02-20T10:00:00.5"),
            ("r2", "click", None, "3", None, "[1]", "yesterday"),
            ("r2", "seen", None, "4", None, "{}", None),
        ],
    )
    store = FeedbackStore(url_of(file))
    rows = store.rows(select(feedback_events).order_by(feedback_events.c.id))
    assert [row.id for row in rows] == [1, 2, 3, 4, 5, 6]
    assert len({row.event_id for row in rows}) == 6
    assert rows[0][2:8] == ("r1", "impression", "u", "1", "h", {"position": 1, "ü": None})
    noon = datetime(2026, 2, 20, 10, tzinfo=UTC)
    assert [row.created_at for row in rows[:4]] == [noon, noon, noon, noon.replace(microsecond=500_000)]
    assert rows[3].request_id is None
    kept = [row._mapping["metadata"] for row in rows[2:]]
    assert kept[:2] == [None, {"reference_metadata": "broken"}]
    assert kept[2] == {"reference_metadata": "[1]", "reference_created_at": "yesterday"}
    assert kept[3] == {"reference_created_at": None}
    new = FeedbackEvent(event_type="click", request_id="r1", product_id="9")
    assert store.record([new]) == ["accepted"]
    assert store.rows(select(feedback_events.c.id).where(feedback_events.c.event_id == new.event_id)) == [(7,)]
    store.close()


def test_more_rows_than_are_read_at_a_time(tmp_path):
    file = tmp_path / "feedback.db"
    rows = [(f"r{n}", "click", None, "1", None, None, "2026-02-20 10:00:00") for n in range(10_001)]
    reference_database(file, rows)
    store = FeedbackStore(url_of(file))
    assert store.funnel()["click"] == 10_001
    store.close()


def test_a_migration_that_fails_leaves_the_references_database_as_it_was(tmp_path, monkeypatch):
    file = tmp_path / "feedback.db"
    reference_database(file, [("r1", "click", None, "1", None, None, "2026-02-20 10:00:00")])

    def fails(*_, **__):
        raise OSError("the disk is full")

    monkeypatch.setattr("alembic.operations.base.Operations.create_index", fails)
    with pytest.raises(OSError, match="disk is full"):
        FeedbackStore(url_of(file))
    monkeypatch.undo()
    connection = sqlite3.connect(file)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    assert tables.fetchall() == [("feedback_events",)]
    connection.close()
    store = FeedbackStore(url_of(file))
    assert store.funnel()["click"] == 1
    store.close()


def test_a_database_of_a_newer_version_is_refused(store):
    with store.engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(FeedbackStoreError, match=r"newer lit_rec: its tables are at revision 9999"):
        migrate(store.engine)


def test_what_was_served_before_is_among_the_exposures(store):
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__code__.co_filename).parent / "migrations"))
    store.record_exposures([Exposure("r1", ["7", "5"], [0.5, 0.25], "m-1", user_id="u")])
    before = store.rows(select(exposures)), store.rows(select(exposed_products))
    with store.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
        assert connection.execute(text("SELECT request_id FROM served_lists")).all() == [("r1",)]
    migrate(store.engine)
    assert (store.rows(select(exposures)), store.rows(select(exposed_products))) == before
    with store.engine.begin() as connection:
        assert {each["name"] for each in inspect(connection).get_indexes("exposures")} == {"ix_exposures_served_at"}
        connection.execute(exposures.delete())
    assert store.rows(select(exposed_products)) == [], "products still go with what they were shown for"
