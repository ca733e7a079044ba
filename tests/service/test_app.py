"""How the service starts, says how it is, and ends; and its documentation."""

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from lit_rec.core.errors import FeedbackStoreError, SettingError
from lit_rec.service.app import create_app

ROOT = Path(__file__).parents[2]


def test_it_is_alive_before_it_is_ready(make_app, monkeypatch, until):
    from lit_rec.service.engine import Arm

    go, load = threading.Event(), Arm.load
    monkeypatch.setattr(Arm, "load", lambda self: (go.wait(30), load(self)))
    with TestClient(make_app()) as one:
        assert one.get("/health").json() == {"status": "ok"}
        for method, path in (("GET", "/ready"), ("POST", "/recommend")):
            response = one.request(method, path, json={"user_context": "milk"})
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "loading"
            assert int(response.headers["Retry-After"]) >= 1
        assert "\nmodel_loaded 0.0" in one.get("/metrics").text
        go.set()
        until(lambda: one.get("/ready").status_code == 200)
        assert one.get("/ready").json()["status"] == "ready"
        assert one.post("/recommend", json={"user_context": "milk"}).status_code == 200


def test_feedback_is_taken_while_models_are_loading(make_app, monkeypatch):
    from lit_rec.service.engine import Arm

    go = threading.Event()
    monkeypatch.setattr(Arm, "load", lambda _: go.wait(30))
    with TestClient(make_app()) as one:
        event = {"event_type": "click", "request_id": "r", "product_id": "1"}
        assert one.post("/feedback", json=event).status_code == 202
        go.set()


def test_a_model_that_cannot_be_loaded_is_not_ready_and_says_no_more(make_app, tmp_path):
    with TestClient(make_app(model_dir=tmp_path / "no model")) as one:
        assert one.app.state.engine.wait(60) == "failed"
        response = one.get("/ready")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "failed")
        assert str(tmp_path) not in response.text
        assert one.get("/health").status_code == 200


def test_while_draining_it_is_not_ready_and_still_answers(start):
    with start() as one:
        one.app.state.is_draining = True
        response = one.get("/ready")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "draining")
        assert one.post("/recommend", json={"user_context": "milk"}).status_code == 200


def test_the_documentation_describes_every_call(client):
    document = client.get("/openapi.json").json()
    assert {"/recommend", "/feedback", "/health", "/ready", "/metrics"} <= set(document["paths"])
    schemas = document["components"]["schemas"]
    references = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert references <= set(schemas), "every reference leads somewhere"
    body = document["paths"]["/feedback"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {each["$ref"].rpartition("/")[2] for each in body["anyOf"]} == {"FeedbackEvent", "FeedbackBatch"}
    assert document["paths"]["/recommend"]["post"]["responses"]["429"]


def test_with_keys_the_documentation_asks_for_one(start):
    with start(api_key=("k",)) as one:
        document = one.get("/openapi.json").json()
        assert document["paths"]["/recommend"]["post"]["security"] == [{"key": []}, {"bearer": []}]
        assert document["components"]["securitySchemes"].keys() == {"key", "bearer"}


def test_the_documentation_can_be_left_out(start):
    with start(serve_docs=False) as one:
        assert [one.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json")] == [404] * 3


def test_what_was_served_need_not_be_stored(start):
    with start(store_exposures=False) as one:
        assert one.post("/recommend", json={"user_context": "milk"}).status_code == 200
        assert one.app.state.recorder is None


def test_others_are_answered_while_texts_are_encoded(serve, monkeypatch):
    from lit_rec.inference.backends import TorchBackend

    encode, is_busy, go = TorchBackend.encode, threading.Event(), threading.Event()

    def held(self, texts, **options):
        if texts[0].startswith("milk"):
            is_busy.set()
            assert go.wait(60)
        return encode(self, texts, **options)

    monkeypatch.setattr(TorchBackend, "encode", held)
    event = {"event_type": "click", "request_id": "r", "product_id": "1"}
    with serve(encoder_threads=1, request_deadline_seconds=60) as (url, _), ThreadPoolExecutor(1) as pool:
        asked = pool.submit(httpx.post, f"{url}/recommend", json={"user_context": "milk"}, timeout=60)
        try:
            assert is_busy.wait(60)
            assert httpx.get(f"{url}/health", timeout=20).status_code == 200
            assert httpx.get(f"{url}/metrics", timeout=20).status_code == 200
            assert httpx.post(f"{url}/feedback", json=event, timeout=20).status_code == 202
            assert not asked.done()
        finally:
            go.set()
        assert asked.result().status_code == 200


def test_more_than_it_can_do_is_refused_with_a_time_to_come_back(serve, monkeypatch):
    from lit_rec.inference.backends import TorchBackend

    encode, go = TorchBackend.encode, threading.Event()

    def held(self, texts, **options):
        if texts[0].startswith("milk"):
            go.wait(30)
        return encode(self, texts, **options)

    monkeypatch.setattr(TorchBackend, "encode", held)
    settings = {"encoder_threads": 1, "max_batch_size": 1, "max_waiting": 1, "request_deadline_seconds": 0.5}
    with serve(**settings) as (url, app), ThreadPoolExecutor(6) as pool:
        asked = list(
            pool.map(lambda n: httpx.post(f"{url}/recommend", json={"user_context": f"milk {n}"}, timeout=30), range(6))
        )
        assert {each.status_code for each in asked} == {503}
        assert {each.json()["error"]["code"] for each in asked} == {"overloaded"}
        assert all(int(each.headers["Retry-After"]) >= 1 for each in asked)
        go.set()
        assert httpx.post(f"{url}/recommend", json={"user_context": "milk"}, timeout=30).status_code == 200
        assert app.state.monitoring.registry.get_sample_value("requests_refused_total", {"reason": "overload"}) == 6


def test_on_sigterm_it_says_so_and_finishes_what_it_has(tiny_model, corpus_path, tmp_path, until):
    program = (
        "import sys, time, uvicorn\n"
        "from lit_rec.inference.backends import TorchBackend\n"
        "from lit_rec.service.app import create_app\n"
        "from lit_rec.service.settings import load_settings\n"
        "encode = TorchBackend.encode\n"
        "def slowly(self, texts, **options):\n"
        "    time.sleep(3 * (texts[0] == 'milk'))\n"
        "    return encode(self, texts, **options)\n"
        "TorchBackend.encode = slowly\n"
        "uvicorn.run(create_app(load_settings()), port=int(sys.argv[1]), log_config=None)\n"
    )
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "LIT_REC_MODEL_DIR": str(tiny_model), "LIT_REC_CORPUS_PATH": str(corpus_path), "LIT_REC_DRAIN_SECONDS": "120",
        "LIT_REC_FEEDBACK_DB_PATH": str(tmp_path / "feedback.db"), "LIT_REC_RATE_LIMIT": "off",
        "LIT_REC_SERVE_PAGE": "no", "LIT_REC_REQUEST_DEADLINE_SECONDS": "60",
    }  # fmt: skip
    command, url = [sys.executable, "-c", program, str(port)], f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        command, env=os.environ | settings, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            until(lambda: httpx.get(f"{url}/ready").status_code == 200)
            body = {"user_context": "milk"}
            process.send_signal(signal.SIGTERM)
            until(lambda: httpx.get(f"{url}/ready", timeout=30).json().get("error", {}).get("code") == "draining")
            assert httpx.post(f"{url}/recommend", json=body, timeout=60).status_code == 200, "it still answers"
            with ThreadPoolExecutor(8) as pool:
                asked = [pool.submit(httpx.post, f"{url}/recommend", json=body, timeout=60) for _ in range(8)]
                in_progress = "\nhttp_requests_in_progress 9.0"  # with the one that asks
                until(lambda: in_progress in httpx.get(f"{url}/metrics", timeout=30).text)
                process.send_signal(signal.SIGTERM)  # told again, it waits for load balancers no longer
                assert [each.result().status_code for each in asked] == [200] * 8
            _, log = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode in {0, -signal.SIGTERM}, log
    from sqlalchemy import func, select

    from lit_rec.store.database import FeedbackStore, url_of
    from lit_rec.store.tables import exposures

    store = FeedbackStore(url_of(tmp_path / "feedback.db"))
    assert store.rows(select(func.count()).select_from(exposures))[0][0] == 9, "what was served is stored too"
    store.close()


def test_serving_imports_nothing_of_training():
    program = (
        "import sys; import lit_rec.service.app, lit_rec.service.routes.page\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    heavy = {"torch", "lightning", "torchmetrics", "wandb", "datasets", "polars", "matplotlib", "sentence_transformers"}
    assert not heavy & set(loaded.stdout.split())


def test_with_a_store_of_another_kind_it_does_not_start(make_app):
    with pytest.raises(SettingError), TestClient(make_app(feedback_db_path="mysql://x/y")):
        pass


@pytest.mark.parametrize("store", ["postgresql://someone:secret@127.0.0.1:1/nothing", "/proc/none/feedback.db"])
def test_without_its_store_it_recommends_and_says_what_is_missing(start, store):
    with start(feedback_db_path=store) as one:
        event = {"event_type": "click", "request_id": "r", "product_id": "1"}
        response = one.post("/feedback", json=event)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "store_unavailable")
        assert int(response.headers["Retry-After"]) >= 1
        assert one.post("/recommend", json={"user_context": "milk"}).status_code == 200
        ready = one.get("/ready")
        assert (ready.status_code, ready.json()["degraded"]) == (200, ["feedback_store"])
        assert "\nfeedback_store_up 0.0" in one.get("/metrics").text


def test_a_store_that_can_only_be_read_is_missing_too(start, monkeypatch, until):
    def refuses(_):
        raise FeedbackStoreError("It cannot be written", "attempt to write a readonly database")

    with start() as one:
        monkeypatch.setattr(one.app.state.store, "record_exposures", refuses)
        assert one.get("/ready").json()["degraded"] == []
        one.post("/recommend", json={"user_context": "milk"})
        until(lambda: one.get("/ready").json()["degraded"] == ["feedback_store"])


def test_a_store_that_comes_later_is_opened_and_takes_what_was_served_before(start, tmp_path, until):
    file = tmp_path / "feedback.db"
    file.write_text("not a database, but longer than a header of one hundred bytes is " * 3)
    with start(feedback_db_path=str(file)) as one:
        until(lambda: one.get("/ready").json()["degraded"] == ["feedback_store"])
        served = one.post("/recommend", json={"user_context": "milk"}).json()
        file.unlink()
        until(lambda: one.get("/ready").json()["degraded"] == [])
        product = served["recommendations"][0]["product_id"]
        event = {"event_type": "click", "request_id": served["request_id"], "product_id": product}
        response = one.post("/feedback", json=event)
        assert (response.status_code, response.json()["unattributed"]) == (202, 0)


def test_a_store_whose_file_was_deleted_is_missed(start, tmp_path):
    with start() as one:
        event = {"event_type": "click", "request_id": "r", "product_id": "1"}
        assert one.post("/feedback", json=event).status_code == 202
        (tmp_path / "feedback.db").unlink()
        assert one.post("/feedback", json=event | {"product_id": "2"}).status_code == 503
        assert one.get("/ready").json()["degraded"] == ["feedback_store"]
        assert one.post("/recommend", json={"user_context": "milk"}).status_code == 200
        assert not (tmp_path / "feedback.db").exists()


def test_an_engine_of_ones_own_may_be_brought(make_app):
    from lit_rec.service.engine import Engine
    from lit_rec.service.monitoring import Monitoring

    settings = make_app().state.settings
    engine = Engine(settings, Monitoring())
    own = create_app(settings, engine)
    assert own.state.engine is engine
    assert own.state.monitoring is engine.monitoring
