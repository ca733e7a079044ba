"""bento/service.py under ``bentoml serve`` in this repository; packaging has the tests of the built bento."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow  # two processes of BentoML


@pytest.fixture
def environment(tiny_model, corpus_path, tmp_path):
    settings = {
        "LIT_REC_MODEL_DIR": str(tiny_model), "LIT_REC_CORPUS_PATH": str(corpus_path),
        "BENTOML_HOME": str(tmp_path / "home"),
        "LIT_REC_FEEDBACK_DB_PATH": str(tmp_path / "feedback.db"), "BENTOML_DO_NOT_TRACK": "True",
    }  # fmt: skip
    return os.environ | settings


def command(port):
    bentoml = Path(sys.executable).with_name("bentoml")
    return [str(bentoml), "serve", str(ROOT), "--port", str(port), "--host", "127.0.0.1"]


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@contextmanager
def served(environment, port, until):
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command(port), env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: httpx.get(f"{url}/ready", timeout=30).status_code == 200, 120)
            yield url, process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def test_wrong_settings_end_it_before_a_worker_starts(environment, port):
    ended = subprocess.run(
        command(port), env=environment | {"LIT_REC_RATE_LIMIT": "lots"}, cwd=ROOT, check=False,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode != 0
    assert "LIT_REC_RATE_LIMIT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_whole_service_is_there_and_answers_in_one_form(environment, port, until):
    with served(environment | {"LIT_REC_RATE_LIMIT": "6/minute"}, port, until) as (url, process):
        answer = httpx.post(f"{url}/recommend", json={"user_context": "milk", "top_k": 2}, timeout=30)
        assert len(answer.json()["recommendations"]) == 2
        # All but the first are BentoML's own where an app leaves it room.
        for path in ("/nowhere", "/docs.json", "/livez", "/readyz", "/healthz", "/schema.json"):
            missing = httpx.get(url + path)
            assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
            assert missing.json()["error"]["request_id"] == missing.headers["X-Request-ID"]
        assert "\nrecommendation_requests_total" in httpx.get(f"{url}/metrics").text
        assert "bentoml" not in httpx.get(f"{url}/docs").text.lower()
        forged = [
            httpx.post(f"{url}/feedback", json={}, headers={"X-Forwarded-For": f"10.0.0.{n}"}).status_code
            for n in range(7)
        ]
        assert forged == [422] * 6 + [429], "nobody says himself where he comes from"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_a_worker_ends_with_the_process_that_started_it(environment, port, until):
    with served(environment, port, until) as (_, process):
        process.kill()

        def is_free():
            with socket.socket() as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    one.bind(("127.0.0.1", port))
                except OSError:
                    return False
            return True

        until(is_free, 60)


def test_half_sent_headers_do_not_stay_open(environment, port, until):
    with (
        served(environment | {"LIT_REC_HEADER_TIMEOUT_SECONDS": "0.5"}, port, until),
        socket.create_connection(("127.0.0.1", port), timeout=60) as connection,
    ):
        connection.sendall(b"GET /health HTTP/1.1\r\nHos")
        assert b" 408 " in connection.recv(4_096)
