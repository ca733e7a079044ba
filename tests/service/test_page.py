"""The page over HTTP: its files, its headers, and the JSON that it reads."""

import hashlib
import re
from datetime import UTC, datetime, timedelta

import pytest

from lit_rec.core.files import write_json
from lit_rec.data.contexts import product_name
from lit_rec.service.routes.page import STATIC, _quantile
from lit_rec.store.events import PAGE

VENDORED = re.compile(r"^\| (\S+) \| ([0-9a-f]{64}) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def users(corpus, tmp_path_factory):
    ids = list(corpus)
    first = {"product_ids": [ids[0], ids[1], "gone"], "days_since_prior_order": None, "order_dow": 2}
    second = {"product_ids": [ids[0]], "days_since_prior_order": 5, "order_dow": None, "order_hour_of_day": 9}
    file = tmp_path_factory.mktemp("users") / "users.json"
    record = {"context": "[w2h8] x.", "orders": [first, second], "days_since_prior_order": 3, "next": ids[:3]}
    write_json(file, {"held/out 1": record, "new": {"context": None, "orders": [], "next": []}})
    return file


@pytest.fixture
def page(start, users, ranked_model):
    with start(model_dir=ranked_model, users_path=users, serve_page=True) as client:
        yield client


@pytest.fixture
def text_page(start):
    """Of a model without a ranker, whose users are known by their contexts alone."""
    with start(serve_page=True) as client:
        yield client


def test_the_page_and_all_it_loads_come_from_here_with_a_strict_policy(page):
    answer = page.get("/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert policy.pop("default-src") == "'none'"
    assert set(policy.values()) == {"'self'", "'none'"}
    assert policy["script-src"] == "'self'"
    loaded = re.findall(r'(?:src|href)="(static[^"]+)"', answer.text)
    assert len(loaded) >= 6
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", answer.text)
    for path in loaded:
        assert page.get(path).status_code == 200, path


def test_the_page_is_asked_for_anew_and_sent_once(page):
    first = page.get("/")
    assert first.headers["Cache-Control"] == "no-cache"
    again = page.get("/", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert page.get("/", headers={"If-None-Match": '"another"'}).status_code == 200
    head = page.head("/")
    assert (head.status_code, head.content) == (200, b"")


def test_files_of_this_version_are_kept_for_good_others_are_asked_for_anew(page):
    path = re.search(r'src="(static/v-[0-9a-f]{12}/app\.mjs)"', page.get("/").text)[1]
    mine = page.get(path)
    assert mine.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert mine.headers["Content-Type"].partition(";")[0] in {"text/javascript", "application/javascript"}
    for other in ("static/app.mjs", "static/v-0123456789ab/app.mjs"):
        answer = page.get(other)
        assert (answer.headers["Cache-Control"], answer.content) == ("no-cache", mine.content)
        assert page.get(other, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    missing = page.get("static/v-0123456789ab/none.mjs")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert page.get("static/v-0123456789ab/..%2f..%2fpage.py").status_code == 404


def test_every_module_names_only_files_that_are_there():
    for file in [*STATIC.glob("*.mjs"), *STATIC.glob("vendor/*.mjs")]:
        for name in re.findall(r'(?:from|import) ?"([^"]+)"', file.read_text(encoding="utf-8")):
            assert (file.parent / name).is_file(), f"{file.name} imports {name}"


def test_the_page_marks_its_events_as_reports_look_for_them():
    assert f'source: "{PAGE}"' in (STATIC / "api.mjs").read_text(encoding="utf-8")


def test_libraries_are_those_that_were_written_down_and_small():
    vendor = STATIC / "vendor"
    recorded = dict(VENDORED.findall((vendor / "VENDORED.md").read_text(encoding="utf-8")))
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in vendor.iterdir()}
    del found["VENDORED.md"]
    assert found == recorded
    sent = [file for file in STATIC.rglob("*") if file.is_file() and file.suffix not in {".LICENSE", ".md"}]
    assert sum(file.stat().st_size for file in sent) < 150_000


def test_the_page_can_be_switched_off(start):
    with start(serve_page=False) as client:
        assert [client.get(path).status_code for path in ("/", "/page/about", "/static/app.mjs")] == [404] * 3


def test_users_and_one_of_them(page, corpus):
    known = page.get("/page/users").json()
    assert known == {
        "total": 2,
        "users": [
            {"user_id": "held/out 1", "n_orders": 2, "n_next": 3},
            {"user_id": "new", "n_orders": 0, "n_next": 0},
        ],
    }
    assert len(page.get("/page/users?limit=1").json()["users"]) == 1
    user = page.get("/page/users/held%2Fout%201").json()
    ids, names = list(corpus), [product_name(text) for text in corpus.values()]
    first, second = user["orders"]
    assert [product["product_id"] for product in first["products"]] == ids[:2], "what the catalogue lacks is left out"
    assert (first["days_ago"], first["order_dow"], first["order_hour_of_day"]) == (8, 2, None)
    assert (second["days_ago"], second["order_dow"], second["order_hour_of_day"]) == (3, None, 9)
    assert [product["name"] for product in user["next"]] == names[:3]
    assert all(product["aisle"] and product["department"] for product in user["next"])
    assert page.get("/page/users/new").json() == {"user_id": "new", "orders": [], "next": []}
    for path in ("/page/users", "/page/users/new"):
        assert page.get(path.replace("users", "shoppers")).json() == page.get(path).json(), "as version 0.1 named them"
    unknown = page.get("/page/users/nobody")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_user")


def test_users_are_found_by_a_part_of_their_id(page):
    known = [("NEW", "new"), ("d/o", "held/out 1"), (" 1 ", "held/out 1")]
    for typed, user_id in known:
        found = page.get("/page/users", params={"q": typed}).json()
        assert (found["total"], [each["user_id"] for each in found["users"]]) == (1, [user_id])
    both = page.get("/page/users", params={"q": "ne"}).json()
    assert both["total"] == 1
    begins = page.get("/page/users", params={"q": "e", "limit": 1}).json()
    assert (begins["total"], len(begins["users"])) == (2, 1)
    assert page.get("/page/users", params={"q": "nobody"}).json() == {"total": 0, "users": []}


def test_nobodys_history_is_shown_where_that_is_switched_off(start, users):
    with start(serve_page=True, users_path=users, serve_users=False) as client:
        assert client.get("/page/users").json() == {"total": 0, "users": []}
        assert client.get("/page/users/new").status_code == 404
        assert client.get("/page/about").json()["n_users"] == 0
        assert client.post("/recommend", json={"user_id": "held/out 1"}).status_code == 200


def test_every_answer_of_the_pages_routes_is_documented(page):
    paths = page.get("/openapi.json").json()["paths"]
    assert "404" in paths["/page/users/{user_id}"]["get"]["responses"]
    assert "404" not in paths["/page/users"]["get"]["responses"]


def test_users_known_by_their_context_have_orders_too(text_page, queries):
    user_id, context = next((user_id, text) for user_id, text in queries.items() if text.startswith("["))
    assert text_page.get("/page/users").json()["total"] == len(queries)
    user = text_page.get(f"/page/users/{user_id}").json()
    assert user["next"] == []
    assert user["orders"]
    for order in user["orders"]:
        assert all(product["name"] in context for product in order["products"])


def test_search(page, corpus):
    name = product_name(next(iter(corpus.values())))
    products = page.get("/page/products", params={"q": name.upper(), "limit": 3}).json()["products"]
    assert products[0]["name"] == name
    assert 1 <= len(products) <= 3
    for wrong in ({}, {"q": "a" * 201}, {"q": "a", "limit": 51}):
        assert page.get("/page/products", params=wrong).status_code == 422


def test_what_is_served(page, corpus):
    about = page.get("/page/about").json()
    assert (about["n_products"], about["n_users"]) == (len(corpus), 2)
    assert about["models"] == page.get("/ready").json()["models"]


def test_the_funnel_grows_with_feedback_and_can_begin_later(page, corpus):
    assert set(page.get("/page/funnel").json().values()) == {0}
    product_id = next(iter(corpus))
    now = datetime.now(UTC)
    for event_type, ago in (("impression", 60), ("click", 1)):
        event = {"event_type": event_type, "request_id": "r", "product_id": product_id}
        page.post("/feedback", json=event | {"created_at": (now - timedelta(minutes=ago)).isoformat()})
    counts = {"requests": 1, "impression": 1, "click": 1, "add_to_cart": 0, "purchase": 0}
    assert page.get("/page/funnel").json() == counts
    later = page.get("/page/funnel", params={"since": (now - timedelta(minutes=5)).isoformat()}).json()
    assert later == counts | {"impression": 0}
    assert page.get("/page/funnel", params={"since": "2026-01-01T00:00:00"}).status_code == 422, "no time zone"


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00Z"])
def test_a_funnel_since_a_moment_that_cannot_be_is_refused_as_the_callers_mistake(page, since):
    answer = page.get("/page/funnel", params={"since": since})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert "between 2000-01-01 and a day from now" in str(answer.json()["error"]["fields"])


def test_latencies_are_those_of_the_answers(page):
    none = {"count": 0, "mean_ms": None, "p50_ms": None, "p95_ms": None}
    assert page.get("/page/latencies").json()["total"] == none
    took = [page.post("/recommend", json={"user_id": "held/out 1"}).json()["stats"] for _ in range(5)]
    latencies = page.get("/page/latencies").json()
    assert latencies["total"]["count"] == 5
    assert latencies["total"]["mean_ms"] == pytest.approx(sum(each["total_latency_ms"] for each in took) / 5)
    assert 0 < latencies["rank"]["p50_ms"] <= latencies["rank"]["p95_ms"]
    assert latencies["encode"] == none, "history alone was enough"


def test_quantiles_are_interpolated_in_their_bucket():
    buckets = [(1.0, 2.0), (3.0, 6.0), (float("inf"), 8.0)]
    assert _quantile(buckets, 1) == pytest.approx(0.5)
    assert _quantile(buckets, 4) == pytest.approx(2.0)
    assert _quantile(buckets, 7.6) == 3.0, "beyond the last bound nothing is known but the bound"


def test_data_of_the_page_needs_the_key_and_the_page_itself_does_not(start, users):
    with start(serve_page=True, users_path=users, api_key="secret") as client:
        assert client.get("/").status_code == 200
        assert client.get("/static/app.mjs").status_code == 200
        for path in ("about", "users", "users/new", "products?q=a", "funnel", "latencies"):
            assert client.get(f"/page/{path}").status_code == 401, path
            assert client.get(f"/page/{path}", headers={"X-API-Key": "secret"}).status_code == 200, path


def test_while_models_are_loading_the_page_is_there_and_its_data_says_when(make_app, monkeypatch):
    import threading

    from fastapi.testclient import TestClient

    from lit_rec.service.engine import Arm

    go = threading.Event()
    monkeypatch.setattr(Arm, "load", lambda _: go.wait(30))
    with TestClient(make_app(serve_page=True)) as client:
        assert client.get("/").status_code == 200
        answer = client.get("/page/about")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "loading")
        assert int(answer.headers["Retry-After"]) >= 1
        go.set()
