"""Served lists are stored off the way of the answer, many at a time, and a failure is counted."""

import pytest
from sqlalchemy import func, select

from lit_rec.errors import FeedbackStoreError
from lit_rec.feedback.store import FeedbackStore, ServedList, url_of
from lit_rec.feedback.tables import served_lists
from lit_rec.service.monitoring import Monitoring
from lit_rec.service.recording import Recorder


@pytest.fixture
def store(tmp_path):
    store = FeedbackStore(url_of(tmp_path / "feedback.db"))
    yield store
    store.close()


def served(number):
    return ServedList(f"r{number}", ["1"], [0.5], "m-1")


def lost(monitoring):
    return monitoring.registry.get_sample_value("served_lists_lost_total")


def test_closing_stores_what_waits(store):
    monitoring = Monitoring()
    recorder = Recorder(store, monitoring)
    for number in range(500):
        recorder.record(served(number))
    recorder.close()
    assert store.rows(select(func.count()).select_from(served_lists))[0][0] == 500
    assert lost(monitoring) == 0


def test_what_cannot_be_stored_is_counted_and_costs_nobody_an_answer(store, caplog):
    monitoring = Monitoring()
    recorder = Recorder(store, monitoring)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE served_products")
        connection.exec_driver_sql("DROP TABLE served_lists")
    with pytest.raises(FeedbackStoreError):
        store.record_served([served(1)])
    recorder.record(served(1))
    recorder.close()
    recorder.record(served(2))
    assert lost(monitoring) == 2
    assert [record.getMessage() for record in caplog.records].count("served_list_lost") == 2
