"""What a body may be: JSON however it is announced, gzip, and no more than fits."""

import gzip
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from lit_rec.service.batching import BatchingQueue

BODY = {"user_context": "milk", "top_k": 1}
TEXT = json.dumps(BODY).encode()


def send(client, content=TEXT, path="/recommend", **headers):
    return client.post(path, content=content, headers={name.replace("_", "-"): each for name, each in headers.items()})


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/vnd.shop+json",
        "application/x-www-form-urlencoded",
        "text/plain;charset=UTF-8",
    ],
)
def test_json_is_taken_under_the_names_that_curl_and_browsers_give_it(client, kind):
    assert send(client, Content_Type=kind).status_code == 200
    event = json.dumps({"event_type": "click", "request_id": "r", "product_id": "1"}).encode()
    assert send(client, event, "/feedback", Content_Type=kind).status_code == 202


def test_json_is_taken_without_a_name(client):
    assert send(client).status_code == 200


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/xml", "application/octet-stream"])
def test_what_is_no_json_is_refused_and_the_header_named(client, kind):
    refused = send(client, Content_Type=kind)
    assert (refused.status_code, refused.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert f"Content-Type '{kind.partition(';')[0]}'" in refused.json()["error"]["message"]


def test_gzip_is_inflated(client):
    assert send(client, gzip.compress(TEXT), Content_Encoding="gzip").status_code == 200
    assert (
        send(client, gzip.compress(TEXT), Content_Encoding="GZIP", Content_Type="application/json").status_code == 200
    )


def test_another_encoding_is_refused_and_the_header_named(client):
    refused = send(client, Content_Encoding="br")
    assert (refused.status_code, refused.headers["Accept-Encoding"]) == (415, "gzip")
    assert "Content-Encoding 'br'" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(TEXT)[:-3], gzip.compress(TEXT) + b"more"], ids=["text", "cut", "more"]
)
def test_what_is_no_whole_gzip_is_the_callers_fault(client, content):
    refused = send(client, content, Content_Encoding="gzip")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_gzip")


def test_the_limit_is_of_the_inflated_body(start):
    with start(max_body_bytes=2_000) as one:
        bomb = gzip.compress(b" " * 100_000_000)
        assert len(bomb) < 100_000
        assert send(one, gzip.compress(b" " * 1_900 + b"{}"), Content_Encoding="gzip").status_code == 400
        assert send(one, gzip.compress(b" " * 2_001), Content_Encoding="gzip").status_code == 413
    with start(max_body_bytes=200_000) as one:
        assert send(one, bomb, Content_Encoding="gzip").status_code == 413


def test_bodies_of_all_requests_together_are_bounded_and_let_go(serve, until, monkeypatch):
    text = json.dumps(BODY).encode() + b" " * 3_000
    with serve(max_held_bytes=5_000) as (url, app), ThreadPoolExecutor(1) as pool:
        run, is_open = BatchingQueue.run, []

        async def held(self, item, deadline_seconds):
            import asyncio

            while not is_open:
                await asyncio.sleep(0.01)
            return await run(self, item, deadline_seconds)

        monkeypatch.setattr(BatchingQueue, "run", held)
        first = pool.submit(httpx.post, f"{url}/recommend", content=text, timeout=30)
        value = app.state.monitoring.registry.get_sample_value
        until(lambda: value("http_requests_in_progress") == 1)
        refused = httpx.post(f"{url}/recommend", content=text, timeout=30)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert int(refused.headers["Retry-After"]) >= 1
        assert httpx.get(f"{url}/health").status_code == 200
        is_open.append(True)
        assert first.result().status_code == 200
        for _ in range(3):
            assert httpx.post(f"{url}/recommend", content=text, timeout=30).status_code == 200


SHOP = "https://shop.example"
ASKS_FIRST = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type, x-api-key"}


def test_by_default_no_page_of_another_site_may_call(client):
    assert client.options("/recommend", headers={"Origin": SHOP, **ASKS_FIRST}).status_code == 405
    refused = send(client, Origin=SHOP, Content_Type="text/plain")
    assert refused.status_code == 415, "what a browser sends without asking first"
    assert send(client, Origin="http://testserver", Content_Type="text/plain").status_code == 200


def test_pages_of_sites_that_are_named_may_call_and_read_refusals(start):
    with start(cors_origins=(SHOP,), api_key=("k",)) as one:
        asked = one.options("/recommend", headers={"Origin": SHOP, **ASKS_FIRST})
        assert (asked.status_code, asked.headers["Access-Control-Allow-Origin"]) == (200, SHOP)
        answer = send(one, Origin=SHOP, Content_Type="text/plain", X_API_Key="k")
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, SHOP)
        refused = send(one, Origin=SHOP)
        assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, SHOP)
        assert one.options("/recommend", headers={"Origin": "https://other.example", **ASKS_FIRST}).status_code == 400
