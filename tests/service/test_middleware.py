"""The gate: ids, keys, limits and sizes, each before a body is parsed, and one form for every error."""

import asyncio
import http.client
import json
import re
import time
import uuid
from urllib.parse import urlsplit

import httpx
import pytest

from lit_rec.service.batching import OverloadedError

BODY = {"user_context": "milk", "top_k": 1}


def error_of(response):
    assert set(response.json()) == {"error"}
    error = response.json()["error"]
    assert {"code", "message", "request_id"} <= set(error)
    assert error["request_id"] == response.headers["X-Request-ID"]
    return error


def test_a_caller_s_request_id_is_kept_everywhere(client, lines, caplog):
    caplog.set_level("INFO", "lit_rec.service")
    response = client.post("/recommend", json=BODY, headers={"X-Request-ID": "mine-1.2_3"})
    assert response.headers["X-Request-ID"] == "mine-1.2_3"
    wrong = client.post("/recommend", json={}, headers={"X-Request-ID": "mine-1.2_3"})
    assert wrong.headers["X-Request-ID"] == error_of(wrong)["request_id"] == "mine-1.2_3"


@pytest.mark.parametrize("sent", ["", "with space", "x" * 129, "a/b", 'a"b', "ä".encode()])
def test_any_other_is_replaced(client, sent):
    made = client.get("/health", headers={"X-Request-ID": sent}).headers["X-Request-ID"]
    assert str(uuid.UUID(made)) == made


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/recommend", 405, "method_not_allowed"),
        ("DELETE", "/feedback", 405, "method_not_allowed"),
        ("POST", "/recommend", 422, "invalid_request"),
    ],
)
def test_every_error_has_one_form(client, method, path, status, code):
    response = client.request(method, path)
    assert response.status_code == status
    assert error_of(response)["code"] == code
    assert status != 405 or response.headers["Allow"] == "POST"


def test_what_nobody_expected_tells_nothing(start, monkeypatch, lines, caplog):
    with start() as one:
        monkeypatch.setattr(one.app.state.engine, "arm_of", lambda _: 1 / 0)
        response = one.post("/recommend", json=BODY)
        assert response.status_code == 500
        assert error_of(response)["code"] == "internal_error"
        assert "division" not in response.text


KEYS = {"api_key": ("first-key", "second-key")}


def test_any_of_several_keys_opens_in_either_header(start):
    with start(**KEYS) as one:
        for headers in (
            {"X-API-Key": "first-key"},
            {"X-API-Key": " second-key "},
            {"Authorization": "Bearer second-key"},
            {"Authorization": "bearer first-key"},
        ):
            assert one.post("/recommend", json=BODY, headers=headers).status_code == 200
        for headers, code in (
            ({}, "key_required"),
            ({"X-API-Key": "third-key"}, "invalid_key"),
            ({"X-API-Key": "first-key,second-key"}, "invalid_key"),
            ({"X-API-Key": "ключ".encode()}, "invalid_key"),
            ({"Authorization": "Basic first-key"}, "key_required"),
        ):
            response = one.post("/recommend", json=BODY, headers=headers)
            assert response.status_code == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert error_of(response)["code"] == code


def test_keys_come_before_bodies(start):
    with start(**KEYS) as one:
        assert one.post("/feedback", content=b"{").status_code == 401
        assert one.post("/recommend", content=b"x" * 2_000_000).status_code == 401


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/docs", "/redoc", "/openapi.json"])
def test_what_is_open_stays_open(start, path):
    with start(**KEYS) as one:
        assert one.get(path).status_code == 200
        assert one.get("/nowhere").status_code == 404


def test_metrics_may_have_a_key_of_their_own(start):
    with start(**KEYS, metrics_key="for-prometheus") as one:
        assert one.get("/metrics").status_code == 401
        assert one.get("/metrics", headers={"X-API-Key": "first-key"}).status_code == 401
        assert one.get("/metrics", headers={"Authorization": "Bearer for-prometheus"}).status_code == 200
        assert one.post("/recommend", json=BODY, headers={"X-API-Key": "for-prometheus"}).status_code == 401


def test_a_caller_has_so_many_requests_to_each_route(start):
    with start(**KEYS, rate_limit="3/minute") as one:
        mine, other = {"X-API-Key": "first-key"}, {"X-API-Key": "second-key"}
        statuses = [one.post("/recommend", json=BODY, headers=mine).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        refused = one.post("/recommend", json=BODY, headers=mine)
        assert error_of(refused)["code"] == "rate_limited"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert one.post("/feedback", json={}, headers=mine).status_code == 422, "routes are counted apart"
        assert one.post("/recommend", json=BODY, headers=other).status_code == 200, "and so are keys"


def test_guessing_keys_is_limited_by_address(start):
    with start(**KEYS, rate_limit="3/minute") as one:
        guesses = [one.post("/recommend", json=BODY, headers={"X-API-Key": f"{n}"}).status_code for n in range(5)]
        assert guesses == [401, 401, 401, 429, 429]
        assert one.post("/recommend", json=BODY, headers={"X-API-Key": "first-key"}).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
def test_probes_are_not_limited(start, path):
    with start(rate_limit="1/minute") as one:
        assert [one.get(path).status_code for _ in range(3)] == [200] * 3


def test_a_large_body_is_refused_however_it_comes(serve):
    with serve(max_body_bytes=2_000) as (url, _):
        whole = httpx.post(f"{url}/recommend", content=b"x" * 2_001)
        assert whole.status_code == 413
        assert error_of(whole)["code"] == "body_too_large"
        chunked = httpx.post(f"{url}/recommend", content=iter([b"x" * 500] * 5))
        assert chunked.status_code == 413
        just = json.dumps({**BODY, "user_id": ""})
        just = (json.dumps({**BODY, "user_id": ""}) + " " * (2_000 - len(just))).encode()
        assert len(just) == 2_000
        headers = {"content-type": "application/json"}
        assert httpx.post(f"{url}/recommend", content=just, headers=headers).status_code == 200
        assert httpx.post(f"{url}/recommend", content=iter([just]), headers=headers).status_code == 200


def test_a_body_that_never_ends_is_not_waited_for(serve):
    with serve(body_timeout_seconds=0.2) as (url, _):
        address = urlsplit(url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
        connection.putrequest("POST", "/recommend")
        connection.putheader("Content-Length", "10")
        connection.endheaders(b"{")
        began = time.monotonic()
        response = connection.getresponse()
        assert response.status == 408
        assert time.monotonic() - began < 5
        connection.close()


def test_a_caller_who_leaves_costs_no_error(serve, until):
    with serve() as (url, app):
        address = urlsplit(url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
        connection.putrequest("POST", "/recommend")
        connection.putheader("Content-Length", "10")
        connection.endheaders(b"{")
        connection.close()
        labels = {"method": "POST", "route": "/recommend", "status": "499"}
        value = app.state.monitoring.registry.get_sample_value
        until(lambda: value("http_requests_total", labels) == 1)


def test_odd_paths_and_methods_add_no_series(client):
    for number in range(5):
        client.get(f"/odd/{number}")
        client.request(f"ODD{number}", "/recommend")
    routes = set(re.findall(r'http_requests_total{method="(\w+)",route="([^"]*)"', client.get("/metrics").text))
    assert {route for _, route in routes} <= {"unknown", "/recommend", "/feedback", "/metrics", "/health", "/ready"}
    assert {method for method, _ in routes} <= {"GET", "POST", "DELETE", "other"}


def test_html_may_load_nothing_from_elsewhere(client):
    for path in ("/docs", "/redoc"):
        page = client.get(path)
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', page.text)
        files = re.findall(r"""(?:src|href|url)(?:=|: ?)["']([^"']+)""", page.text.replace("spec-url", "src"))
        assert len(files) >= 3
        for file in files:
            assert not file.startswith("/"), "below a proxy's prefix it would not be found"
            assert client.get(f"/{file}").status_code == 200, file
    assert client.get("/openapi.json").json()["servers"] == [{"url": "."}]


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/docs", "/redoc", "/openapi.json"])
def test_a_head_is_answered_as_a_get_without_the_body(client, path):
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert client.head("/recommend").status_code == 405


def test_an_address_with_scheme_and_host_leads_to_the_same(serve):
    with serve(api_key=("k",)) as (url, _):
        address = urlsplit(url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
        for path, status in (("/health", 200), ("/recommend", 401), ("/nowhere", 404)):
            connection.request("GET", url + path)
            response = connection.getresponse()
            assert (response.status, response.getheader("X-Request-ID") is not None) == (status, True)
            response.read()
        connection.close()


def test_what_would_wait_in_vain_is_refused_before_its_body(serve, monkeypatch):
    with serve() as (url, app):
        address = urlsplit(url)

        def check_room():
            raise OverloadedError("too many", retry_after=3.2)

        monkeypatch.setattr(app.state.engine, "check_room", check_room)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
        connection.putrequest("POST", "/recommend")
        connection.putheader("Content-Length", "1000")
        connection.endheaders()
        response = connection.getresponse()
        assert (response.status, response.getheader("Retry-After")) == (503, "4")
        connection.close()
        assert httpx.get(f"{url}/health").status_code == 200


def test_a_header_says_what_kind_of_file_it_is(client):
    assert client.get("/health").headers["X-Content-Type-Options"] == "nosniff"


def test_a_caller_who_leaves_does_not_hold_up_bentoml(make_app):
    from bentoml._internal.server.http.traffic import TimeoutMiddleware

    scope = {"type": "http", "method": "POST", "path": "/recommend", "query_string": b"", "headers": [], "client": None}
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    app = make_app()
    asyncio.run(asyncio.wait_for(TimeoutMiddleware(app, timeout=120)(scope, receive, send), 10))
    assert sent[0]["status"] == 499
