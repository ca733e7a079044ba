"""Simulated users against the real service with a tiny model, over HTTP."""

import re
import socket
from collections import Counter
from types import SimpleNamespace

import httpx
import pytest
from sqlalchemy import func, select

from lit_rec.core.errors import ServiceError
from lit_rec.data.processed import ProcessedFolder
from lit_rec.feedback import simulate as simulate_module
from lit_rec.feedback.impressions import read_products
from lit_rec.feedback.settings import SimulateSettings
from lit_rec.feedback.simulate import simulate
from lit_rec.feedback.users import User, users_of
from lit_rec.store.database import FeedbackStore, url_of
from lit_rec.store.tables import exposed_products, exposures, feedback_events


@pytest.fixture(scope="module")
def users(processed_dir):
    return {by: users_of(ProcessedFolder(processed_dir), None, by) for by in ("user_id", "context")}


def what_was_done(store):
    """How often each user did what, at which position."""
    events = feedback_events.c
    rows = store.rows(select(events.user_id, events.event_type, events.product_id, events.metadata))
    return Counter((user, kind, product, metadata["position"]) for user, kind, product, metadata in rows)


@pytest.mark.parametrize("request_mode", ["user_id", "context"])
def test_what_was_sent_is_in_the_store(service, users, request_mode):
    url, store = service
    before = store.funnel()
    settings = SimulateSettings(n_requests=6, top_k=5, click_rate=0.6, seed=3)
    found = simulate(url, users[request_mode], settings, show_progress=False)
    assert (found.n_answered, found.failures) == (6, {})
    assert found.events["impression"] == 30
    assert found.events["click"] > 5
    after = store.funnel()
    assert {kind: after[kind] - before[kind] for kind in found.events} == found.events
    assert after["requests"] - before["requests"] == 6


def test_events_are_joined_to_what_was_served(serve, users):
    with serve() as (url, store):
        found = simulate(url, users["context"], SimulateSettings(n_requests=4, top_k=3), show_progress=False)
        path = store.url.database
    store = FeedbackStore(url_of(path))  # what the service had still to write, it has written at its end
    table = read_products(store)
    sent = {key[:3:2]: key[3] for key in what_was_done(store)}
    assert len(table) == 12 == found.events["impression"]
    assert [sent[row["user"], row["product_id"]] for row in table.iter_rows(named=True)] == table["position"].to_list()
    assert table["model_version"].n_unique() == 1
    assert store.rows(select(func.count()).select_from(exposed_products)) == [(12,)]
    contexts = {row.user_id: row.context for row in store.rows(select(exposures))}
    assert contexts == {
        each.user_id: each.asks["user_context"] for each in users["context"] if each.user_id in contexts
    }
    store.close()


def test_the_outcome_depends_on_the_seed_alone(serve, users):
    done = []
    for seed, concurrency in ((1, 1), (1, 4), (2, 4)):
        with serve() as (url, store):
            settings = SimulateSettings(
                n_requests=8, top_k=4, click_model="position_based", click_rate=0.5, seed=seed, concurrency=concurrency
            )
            simulate(url, users["context"], settings, show_progress=False)
            done.append(what_was_done(store))
    assert done[0] == done[1] != done[2]


def test_users_take_turns(service, users):
    url, store = service
    asking = users["context"][:3]
    before = what_was_done(store)
    simulate(url, asking, SimulateSettings(n_requests=7, top_k=1, seed=9), show_progress=False)
    turns = Counter(user for user, kind, _, _ in (what_was_done(store) - before).elements() if kind == "impression")
    assert sorted(turns.values()) == [2, 2, 3]


def test_a_key_is_sent(serve, users):
    with serve(api_key="right") as (url, store):
        settings = SimulateSettings(n_requests=2, top_k=2)
        for key in (None, "wrong"):
            with pytest.raises(ServiceError, match="wants an API key"):
                simulate(url, users["context"], settings, key, show_progress=False)
        assert store.funnel()["requests"] == 0
        assert simulate(url, users["context"], settings, "right", show_progress=False).n_answered == 2


def test_users_that_the_service_does_not_know_are_counted(service, users):
    url, _ = service
    stranger = User("nobody", {"user_id": "nobody"}, frozenset())
    mixed = simulate(url, [stranger, users["context"][0]], SimulateSettings(n_requests=4, top_k=1), show_progress=False)
    assert mixed.n_answered == 2
    ((failure, count),) = mixed.failures.items()
    assert count == 2
    assert failure.startswith("/recommend answered 404")
    with pytest.raises(ServiceError, match=r"None of 3 requests .* came through: 3 times /recommend answered 404"):
        simulate(url, [stranger], SimulateSettings(n_requests=3), show_progress=False)


def test_a_busy_service_is_asked_again_when_it_says(serve, users, monkeypatch):
    waited = []
    monkeypatch.setattr(simulate_module, "time", SimpleNamespace(sleep=waited.append))
    with serve(rate_limit="3/second") as (url, _):
        # The clock of the limit goes on while nobody sleeps, so that the attempts may run out: that is counted.
        found = simulate(
            url, users["context"], SimulateSettings(n_requests=12, top_k=1, concurrency=1), show_progress=False
        )
    assert waited
    assert max(waited) <= 2
    assert found.n_answered + sum(found.failures.values()) == 12
    assert all("answered 429" in failure for failure in found.failures)


def test_no_service_is_said_at_once(users):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ServiceError, match=f"No service answers at {url}"):
        simulate(url, users["context"], SimulateSettings(), show_progress=False)


@pytest.mark.parametrize("url", ["nonsense", "http://", "ftp://127.0.0.1"])
def test_what_is_no_url_is_said_too(users, url):
    with pytest.raises(ServiceError, match="No service answers at"):
        simulate(url, users["context"], SimulateSettings(), show_progress=False)


def transported(monkeypatch, answer):
    """The client talks to a function instead of a socket: a service that misbehaves in a way that ours never does."""
    client = httpx.Client

    def make(**options):
        options.pop("limits")
        return client(**options, transport=httpx.MockTransport(answer))

    monkeypatch.setattr(simulate_module.httpx, "Client", make)


@pytest.mark.parametrize(
    ("recommended", "failure"),
    [
        (httpx.Response(200, json={"items": []}), "in another form"),
        (httpx.Response(200, text="<html>"), "answered no JSON"),
        (httpx.Response(500, text="x" * 1_000), "answered 500: x{200}$"),
    ],
)
def test_answers_of_another_form_are_counted(monkeypatch, users, recommended, failure):
    def answer(request):
        return httpx.Response(200) if request.url.path == "/health" else recommended

    transported(monkeypatch, answer)
    with pytest.raises(ServiceError, match="None of 2 requests") as raised:
        simulate("http://x", users["context"], SimulateSettings(n_requests=2), show_progress=False)
    assert re.search(failure, raised.value.found)


def test_another_server_is_no_recommendation_service(monkeypatch, users):
    transported(monkeypatch, lambda _: httpx.Response(404))
    with pytest.raises(ServiceError, match="GET /health answered 404"):
        simulate("http://x", users["context"], SimulateSettings(), show_progress=False)


def test_a_connection_that_breaks_is_a_failure_of_one_request(monkeypatch, users):
    asked = []

    def answer(request):
        if request.url.path == "/health":
            return httpx.Response(200)
        asked.append(request)
        if len(asked) == 2:
            raise httpx.ReadTimeout("slow")
        if request.url.path == "/feedback":
            return httpx.Response(202, json={"status": "accepted", "count": 1})
        return httpx.Response(200, json={"request_id": str(len(asked)), "recommendations": []})

    transported(monkeypatch, answer)
    found = simulate("http://x", users["context"], SimulateSettings(n_requests=4), show_progress=False)
    assert (found.n_answered, found.failures) == (3, {"/recommend failed: ReadTimeout": 1})
