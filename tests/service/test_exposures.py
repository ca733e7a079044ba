"""Exposures are stored off the way of the answer, many at a time, and a failure is counted."""

import time

import pytest
from sqlalchemy import func, select

from lit_rec.core.errors import FeedbackStoreError
from lit_rec.service.exposures import ExposureRecorder
from lit_rec.service.monitoring import Monitoring
from lit_rec.store.database import Exposure, FeedbackStore, url_of
from lit_rec.store.tables import exposures


@pytest.fixture
def store(tmp_path):
    store = FeedbackStore(url_of(tmp_path / "feedback.db"))
    yield store
    store.close()


def served(number):
    return Exposure(f"r{number}", ["1"], [0.5], "m-1")


def lost(monitoring):
    return monitoring.registry.get_sample_value("exposures_lost_total")


def test_closing_stores_what_waits(store):
    monitoring = Monitoring()
    recorder = ExposureRecorder(store, monitoring)
    for number in range(500):
        recorder.record(served(number))
    recorder.close()
    assert store.rows(select(func.count()).select_from(exposures))[0][0] == 500
    assert lost(monitoring) == 0


def test_what_cannot_be_stored_is_counted_and_costs_nobody_an_answer(store, caplog):
    monitoring = Monitoring()
    recorder = ExposureRecorder(store, monitoring)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE exposed_products")
        connection.exec_driver_sql("DROP TABLE exposures")
    with pytest.raises(FeedbackStoreError):
        store.record_exposures([served(1)])
    recorder.record(served(1))
    recorder.close()
    recorder.record(served(2))
    assert lost(monitoring) == 2
    assert [record.getMessage() for record in caplog.records].count("exposure_lost") == 2


@pytest.fixture
def away(store, monkeypatch):
    """The store answers nobody until ``away.clear()``."""
    away, record_exposures = {"is": True}, store.record_exposures

    def record(served):
        if away:
            raise FeedbackStoreError("It is away")
        record_exposures(served)

    monkeypatch.setattr(store, "record_exposures", record)
    monkeypatch.setattr("lit_rec.service.exposures._PAUSE", 0.01)
    return away


def stored(store):
    return {row.request_id for row in store.rows(select(exposures.c.request_id))}


def test_what_was_served_while_the_store_was_away_is_stored_later(store, away, until):
    monitoring = Monitoring()
    recorder = ExposureRecorder(store, monitoring)
    for number in range(300):
        recorder.record(served(number))
    assert monitoring.registry.get_sample_value("requests_waiting", {"queue": "record"}) == 300
    away.clear()
    until(lambda: len(stored(store)) == 300)
    recorder.close()
    assert lost(monitoring) == 0


def test_it_says_so_while_the_store_takes_nothing(store, away, until, caplog):
    monitoring = Monitoring()
    recorder = ExposureRecorder(store, monitoring)
    assert not recorder.is_away
    recorder.record(served(1))
    until(lambda: recorder.is_away)
    assert monitoring.registry.get_sample_value("exposures_wait") == 1
    away.clear()
    until(lambda: not recorder.is_away)
    assert monitoring.registry.get_sample_value("exposures_wait") == 0
    recorder.close()
    assert caplog.messages.count("exposures_wait") == 1


def test_while_there_is_room(store, away):
    monitoring = Monitoring()
    recorder = ExposureRecorder(store, monitoring, max_waiting=3)
    for number in range(5):
        recorder.record(served(number))
    away.clear()
    recorder.close()
    assert stored(store) == {"r0", "r1", "r2"}
    assert lost(monitoring) == 2


def test_large_histories_take_more_of_the_room(store, away):
    monitoring = Monitoring()
    recorder = ExposureRecorder(store, monitoring, max_bytes=300_000)
    orders = [{"product_ids": ["32553"] * 100}] * 20
    for number in range(5):
        recorder.record(Exposure(f"r{number}", ["1"], [0.5], "m-1", history={"orders": orders}))
    away.clear()
    recorder.close()
    assert stored(store) == {"r0"}
    recorder = ExposureRecorder(store, monitoring, max_bytes=300_000)
    recorder.record(Exposure("r9", ["1"], [0.5], "m-1", history={"orders": orders}))
    recorder.close()
    assert stored(store) == {"r0", "r9"}, "what is stored makes room"
    assert lost(monitoring) == 4


def test_a_list_that_cannot_be_stored_costs_no_other(store, caplog):
    monitoring = Monitoring()
    recorder = ExposureRecorder(store, monitoring)
    refused = Exposure("r-bad", ["1"], [0.5], None)
    torn = Exposure("r-torn", ["1", "2"], [0.5], "m-1")
    for each in (served(1), refused, served(2), torn, served(3)):
        recorder.record(each)
    recorder.close()
    assert stored(store) == {"r1", "r2", "r3"}
    assert lost(monitoring) == 2


def test_a_store_that_hangs_does_not_hold_up_the_end(store, monkeypatch):
    monitoring = Monitoring()
    recorder = ExposureRecorder(store, monitoring)
    monkeypatch.setattr(store, "record_exposures", lambda _: time.sleep(1.5))
    recorder.record(served(1))
    recorder.close(0.1)
    assert lost(monitoring) == 1
