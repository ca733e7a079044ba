"""A bento as others get it: built, started by its tag with nothing but serving requirements, and asked over HTTP."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from lit_rec.packaging.bundle import Bundle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
ROOT = Path(__file__).parents[2]
CONTEXT = "[+7d w4h14] milk, bread."


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("bentoml_home")


@pytest.fixture(scope="module")
def tag(home, tiny_model, processed_dir):
    """Of a bento with the tiny model by ONNX, packaged by the command line."""
    command = [sys.executable, "-m", "lit_rec", "package", "--model_dir", str(tiny_model)]
    command += ["--corpus", str(processed_dir / "eval_corpus.json"), "--backend", "onnx", "--allow_unmeasured", "true"]
    environment = os.environ | {"BENTOML_HOME": str(home)}
    made = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return next(line.split()[-1] for line in made.stdout.splitlines() if "bentoml serve" in line)


@pytest.fixture(scope="module")
def python(tmp_path_factory, require):
    """Of an environment with the serving requirements alone."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    requirements = ROOT / "bento" / "requirements" / "onnx.txt"
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(requirements)]
    installed = subprocess.run(command, check=False, capture_output=True, text=True)
    require(installed.returncode == 0, f"a package index: {installed.stderr[-300:]}")
    return folder / "bin" / "python"


@contextmanager
def served(python, home, tag, folder):
    """The base URL of a bento that runs, from an empty folder and with an environment of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"PATH": f"{python.parent}:/usr/bin:/bin", "HOME": str(folder), "BENTOML_HOME": str(home)}
    environment |= {"BENTOML_DO_NOT_TRACK": "True"}
    command = [str(python), "-m", "bentoml", "serve", tag, "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield f"http://127.0.0.1:{port}", process, folder / "log"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def ready(url, process, log):
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{url}/ready", timeout=5) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    pytest.fail(log.read_text())


def recommend(url, **body):
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/recommend", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def bundle_of(home):
    return Bundle.load(next(home.glob("models/lit_rec/*/manifest.json")).parent)


def test_it_answers_over_http_what_its_bundle_recommends(home, tag, python, tmp_path):
    bundle = bundle_of(home)
    with served(python, home, tag, tmp_path) as (url, process, log):
        assert ready(url, process, log)["status"] == "ready"
        answer = recommend(url, user_context=CONTEXT, top_k=5)
        expected = bundle.recommender().recommend(CONTEXT, 5)
        assert [item["product_id"] for item in answer["recommendations"]] == [item.product_id for item in expected]
        assert answer["model_version"] == bundle.manifest["model_version"]
        user_id = next(iter(json.loads(bundle.users_file.read_text())))
        assert recommend(url, user_id=user_id, top_k=5)["recommendations"]
    assert (tmp_path / "data" / "feedback.db").is_file(), "paths are those of the folder it was started in"
    assert process.returncode == 0, log.read_text()


def test_a_bento_whose_source_was_changed_does_not_start(home, tag, python, tmp_path):
    source = next(home.glob("bentos/lit_rec/*/src/lit_rec/data/contexts.py"))
    before = source.read_text()
    source.write_text(before + "\n# changed\n")
    try:
        with served(python, home, tag, tmp_path) as (_, process, log):
            assert process.wait(60) != 0
            assert "packaged with another lit_rec" in log.read_text()
    finally:
        source.write_text(before)
