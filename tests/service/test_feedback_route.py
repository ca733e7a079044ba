"""POST /feedback: one event or many, each stored once, good ones beside bad ones."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import func, select

from lit_rec.core.errors import FeedbackStoreError, UnstorableError
from lit_rec.service.schemas import MAX_EVENTS
from lit_rec.store.events import FeedbackEvent
from lit_rec.store.tables import feedback_events

EVENT = {"event_type": "click", "request_id": "r1", "product_id": "7"}


def n_stored(app):
    return app.state.store.rows(select(func.count()).select_from(feedback_events))[0][0]


@pytest.fixture
def own(start):
    """A service with a store of the test's own."""
    with start() as one:
        yield one


def post(client, body):
    return client.post("/feedback", json=body)


def test_the_reference_s_event_is_accepted_and_there_when_the_answer_comes(own):
    reference = {**EVENT, "user_id": "u", "user_context_hash": "abc", "metadata": {"position": 3}}
    response = post(own, reference)
    assert response.status_code == 202
    assert response.json()["status"] == "accepted"
    assert response.json()["count"] == 1
    row = own.app.state.store.rows(select(feedback_events))[0]
    assert (row.event_type, row.request_id, row.product_id, row.user_id) == ("click", "r1", "7", "u")


def test_a_batch_is_stored_together(own):
    events = [{**EVENT, "event_type": kind} for kind in ("impression", "click", "add_to_cart", "purchase")]
    response = post(own, {"events": events})
    assert (response.status_code, response.json()["count"]) == (202, 4)
    assert n_stored(own.app) == 4
    assert own.app.state.store.funnel() == {
        "requests": 1, "impression": 1, "click": 1, "add_to_cart": 1, "purchase": 1,
    }  # fmt: skip


def test_of_both_shapes_the_batch_wins(own):
    assert post(own, {**EVENT, "events": [EVENT, {**EVENT, "product_id": "8"}]}).json()["count"] == 2
    assert n_stored(own.app) == 2


def test_sent_again_it_is_counted_and_not_stored_again(own):
    assert post(own, EVENT).json()["duplicates"] == 0
    again = post(own, EVENT)
    assert again.status_code == 202
    assert (again.json()["count"], again.json()["duplicates"]) == (1, 1)
    assert post(own, {**EVENT, "event_id": "mine"}).json()["duplicates"] == 0
    assert post(own, {**EVENT, "product_id": "other", "event_id": "mine"}).json()["duplicates"] == 1
    assert post(own, {"events": [{**EVENT, "product_id": "9"}] * 3}).json()["duplicates"] == 2
    assert n_stored(own.app) == 3


def test_some_bad_events_do_not_cost_the_good_ones(own):
    events = [EVENT, {**EVENT, "event_type": "zap"}, {**EVENT, "product_id": "8"}, 7, EVENT]
    response = post(own, {"events": events})
    assert response.status_code == 207
    answer = response.json()
    assert (answer["status"], answer["count"], answer["duplicates"]) == ("partial", 3, 1)
    assert [each["status"] for each in answer["results"]] == [
        "accepted", "rejected", "accepted", "rejected", "duplicate",
    ]  # fmt: skip
    assert [each["index"] for each in answer["results"]] == list(range(5))
    assert answer["results"][1]["fields"][0]["loc"] == ["event_type"]
    assert answer["results"][0]["event_id"] == answer["results"][4]["event_id"]
    assert n_stored(own.app) == 2


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({**EVENT, "event_type": "zap"}, ["body", "event_type"]),
        ({"event_type": "click", "request_id": "r"}, ["body", "product_id"]),
        ({**EVENT, "created_at": "2026-01-01T00:00:00"}, ["body", "created_at"]),
        ({**EVENT, "metadata": {"x": "y" * 5_000}}, ["body", "metadata"]),
        ({**EVENT, "metadata": "text"}, ["body", "metadata"]),
        ({**EVENT, "product_id": ""}, ["body", "product_id"]),
        ({"events": [{**EVENT, "event_type": "zap"}]}, ["body", "events", 0, "event_type"]),
        ({"events": "all"}, ["body", "events"]),
        ({"events": [EVENT] * (MAX_EVENTS + 1)}, ["body", "events"]),
        ([EVENT], ["body"]),
        ("click", ["body"]),
    ],
)
def test_what_cannot_be_used_is_named_and_not_stored(client, body, where):
    before = n_stored(client.app)
    response = post(client, body)
    assert response.status_code == 422
    assert response.json()["error"]["fields"][0]["loc"] == where
    assert n_stored(client.app) == before


def test_half_a_character_is_the_callers_fault(client):
    raw = b'{"event_type": "click", "request_id": "r", "product_id": "\\ud800"}'
    response = client.post("/feedback", content=raw, headers={"content-type": "application/json"})
    assert response.status_code == 422


def test_no_events_at_all(client):
    response = post(client, {"events": []})
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "No feedback events provided."


def test_events_of_what_was_never_served_are_taken_and_flagged(own, until, metric):
    served = own.post("/recommend", json={"user_context": "milk", "top_k": 1}).json()
    product_id, request_id = served["recommendations"][0]["product_id"], served["request_id"]
    own.app.state.recorder.close()  # waits for what it has
    good = {**EVENT, "request_id": request_id, "product_id": product_id}
    assert post(own, good).json()["unattributed"] == 0
    assert post(own, {**good, "product_id": "another"}).json()["unattributed"] == 1
    assert post(own, {**good, "request_id": "another"}).json()["unattributed"] == 1
    assert metric(own, "feedback_unattributed_total") == 2


def test_events_are_counted_by_the_names_of_the_reference(own, metric):
    post(own, {"events": [EVENT, EVENT, {**EVENT, "event_type": "purchase"}, {"event_type": "zap"}]})
    assert metric(own, "feedback_events_total", event_type="click") == 1
    assert metric(own, "feedback_events_total", event_type="purchase") == 1
    assert metric(own, "feedback_duplicates_total") == 1
    assert metric(own, "feedback_rejected_total") == 1
    assert metric(own, "feedback_ingest_latency_seconds_count") == 1


def test_what_is_on_its_way_to_the_store_was_served(own, monkeypatch, metric):
    store, stored, go = own.app.state.store, own.app.state.store.record_exposures, threading.Event()
    monkeypatch.setattr(store, "record_exposures", lambda served: (go.wait(30), stored(served)))
    served = own.post("/recommend", json={"user_context": "milk", "top_k": 1}).json()
    good = {**EVENT, "request_id": served["request_id"], "product_id": served["recommendations"][0]["product_id"]}
    assert post(own, good).json()["unattributed"] == 0
    go.set()
    assert metric(own, "feedback_unattributed_total") == 0


def test_what_is_stored_is_said_to_be_stored_whatever_comes_after(own, monkeypatch):
    def fails(_):
        raise FeedbackStoreError("It went away")

    monkeypatch.setattr(own.app.state.store, "rows", fails)
    response = post(own, EVENT)
    monkeypatch.undo()
    assert (response.status_code, response.json()["count"]) == (202, 1)
    assert "unattributed" not in response.json()
    assert n_stored(own.app) == 1


def test_an_event_that_the_database_refuses_costs_no_other(own, monkeypatch):
    validate = FeedbackEvent.model_validate

    def lax(sent):
        event = validate(sent)
        event.product_id = None if event.product_id == "refused" else event.product_id
        return event

    monkeypatch.setattr(FeedbackEvent, "model_validate", lax)
    bad = {**EVENT, "product_id": "refused"}
    response = post(own, {"events": [EVENT, bad, {**EVENT, "product_id": "8"}]})
    assert (response.status_code, response.json()["count"]) == (207, 2)
    assert [each["status"] for each in response.json()["results"]] == ["accepted", "rejected", "accepted"]
    assert n_stored(own.app) == 2
    assert post(own, bad).status_code == 422


def test_a_store_that_goes_away_after_some_events_leaves_it_open_what_was_stored(own, monkeypatch):
    store, record = own.app.state.store, own.app.state.store.record
    bad, good = {**EVENT, "product_id": "bad"}, [{**EVENT, "product_id": f"{n}"} for n in range(3)]

    def one_by_one(events, away_at):
        if len(events) > 1 or events[0].product_id == "bad":
            raise UnstorableError("One of them")
        if events[0].product_id == away_at:
            raise FeedbackStoreError("It went away")
        return record(events)

    monkeypatch.setattr(store, "record", lambda events: one_by_one(events, "1"))
    response = post(own, {"events": [bad, *good]})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "outcome_unknown")
    assert "event_id" in response.json()["error"]["message"]
    assert n_stored(own.app) == 1
    monkeypatch.setattr(store, "record", lambda events: one_by_one(events, "0"))
    response = post(own, {"events": [bad, *good]})
    assert response.json()["error"]["code"] == "store_unavailable", "nothing was stored by this call"


def test_a_store_that_hangs_is_waited_for_no_longer_than_a_request_may(start, monkeypatch, until):
    go = threading.Event()
    with start(request_deadline_seconds=1) as one, ThreadPoolExecutor(8) as pool:
        record = one.app.state.store.record
        monkeypatch.setattr(one.app.state.store, "record", lambda events: (go.wait(30), record(events))[1])
        asked = list(pool.map(lambda n: post(one, {**EVENT, "event_id": f"e{n}"}), range(8)))
        assert {response.status_code for response in asked} == {503}
        codes = sorted(response.json()["error"]["code"] for response in asked)
        assert codes == ["outcome_unknown"] * 4 + ["store_unavailable"] * 4, "a thread had taken the first four"
        assert one.get("/metrics").status_code == 200
        go.set()
        events = {"events": [{**EVENT, "event_id": f"e{n}"} for n in range(8)]}
        until(lambda: post(one, events).status_code == 202)
        assert n_stored(one.app) == 8


def test_without_its_database_it_says_so(own, lines):
    own.app.state.store.rows(select(1))
    with own.app.state.store.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE feedback_events")
    response = post(own, EVENT)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "store_unavailable"
    assert "sqlite" not in response.text
    assert "sqlite" in lines("feedback_store_failed")[0]["reason"]
    assert int(response.headers["Retry-After"]) >= 1


def test_the_same_event_from_many_at_once_is_stored_once(serve):
    with serve() as (url, app):
        ready = threading.Barrier(16)

        def send(number):
            ready.wait()
            return httpx.post(f"{url}/feedback", json={**EVENT, "event_id": f"e{number % 4}"}).json()

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(send, range(16)))
        assert sum(answer["duplicates"] for answer in answers) == 12
        assert n_stored(app) == 4
