"""The service with a tiny real model, with and without a ranker."""

import shutil
import socket
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
from fastapi.testclient import TestClient

from lit_rec.core import schema
from lit_rec.core.files import read_json, write_json
from lit_rec.service.settings import PREFIX, SETTINGS_FILE, ServiceSettings


@pytest.fixture(scope="session")
def corpus_path(processed_dir):
    return processed_dir / schema.EVAL_CORPUS


@pytest.fixture(scope="session")
def ranked_model(tiny_model, processed_dir, tmp_path_factory):
    """The tiny model with a ranker that fit_ranker trained."""
    from lit_rec.data.processed import ProcessedFolder
    from lit_rec.ranking.settings import RankerSettings
    from lit_rec.ranking.training import fit_ranker

    folder = tmp_path_factory.mktemp("ranked") / "final"
    shutil.copytree(tiny_model, folder)
    write_json(folder / schema.MODEL_RECORD, {"data": {}})
    fit_ranker(ProcessedFolder(processed_dir), folder, RankerSettings(hidden_size=8, ensemble_size=1, max_epochs=1))
    return folder


@pytest.fixture(scope="session")
def queries(processed_dir):
    return read_json(processed_dir / schema.EVAL_QUERIES)


@pytest.fixture(scope="session")
def corpus(corpus_path):
    return read_json(corpus_path)


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch, tmp_path_factory):
    for name in (SETTINGS_FILE, *ServiceSettings.model_fields):
        for prefix in ("", PREFIX):
            monkeypatch.delenv(f"{prefix}{name.upper()}", raising=False)


def settings_of(folder, tiny_model, corpus_path, **others):
    values = {
        "model_dir": str(others.pop("model_dir", tiny_model)),
        "corpus_path": corpus_path,
        "feedback_db_path": str(folder / "feedback.db"),
        "serve_page": False,
        "rate_limit": "off",
    }
    if others.keys() & {"arms", "bundle"}:
        del values["model_dir"], values["corpus_path"]
    return ServiceSettings(_env_file=None, **{**values, **others})


@contextmanager
def running(settings):
    """A client of an app whose models are loaded."""
    from lit_rec.service.app import create_app

    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as client:
        assert app.state.engine.wait(60) == "ready"
        yield client


@pytest.fixture(scope="module")
def client(tiny_model, corpus_path, tmp_path_factory):
    """Of a model without a ranker."""
    with running(settings_of(tmp_path_factory.mktemp("text"), tiny_model, corpus_path)) as one:
        yield one


@pytest.fixture(scope="module")
def ranked_client(ranked_model, corpus_path, tmp_path_factory):
    """Of a model with a ranker."""
    with running(settings_of(tmp_path_factory.mktemp("ranked"), ranked_model, corpus_path)) as one:
        yield one


@pytest.fixture
def start(tiny_model, corpus_path, tmp_path):
    """Start a service with settings of a test's own: a context manager that gives a client whose models are loaded."""
    return lambda **others: running(settings_of(tmp_path, tiny_model, corpus_path, **others))


@pytest.fixture
def make_app(tiny_model, corpus_path, tmp_path):
    """An app with settings of a test's own, which has not started."""
    from lit_rec.service.app import create_app

    return lambda **others: create_app(settings_of(tmp_path, tiny_model, corpus_path, **others))


@pytest.fixture
def serve(tiny_model, corpus_path, tmp_path):
    """Start one behind a real socket: a context manager that gives its address and its app."""
    import uvicorn

    from lit_rec.service.app import create_app

    @contextmanager
    def served(model_dir=tiny_model, **others):
        app = create_app(settings_of(tmp_path, model_dir, corpus_path, **others))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()
            try:
                url = f"http://127.0.0.1:{listening.getsockname()[1]}"
                wait_until(lambda: httpx.get(f"{url}/ready").status_code == 200)
                yield url, app
            finally:
                server.should_exit = True
                thread.join()

    return served


def wait_until(is_so, seconds=60):
    end = time.monotonic() + seconds
    while True:
        try:
            if is_so():
                return
        except (httpx.TransportError, ConnectionError):
            pass
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


@pytest.fixture
def until():
    return wait_until


@pytest.fixture
def lines(caplog):
    """Log records of the service by message, with what ``extra`` held."""
    return lambda message: [vars(record) for record in caplog.records if record.getMessage() == message]


@pytest.fixture
def metric():
    """A sample of /metrics; 0 where there is none."""

    def value(client, name, **labels):
        registry = client.app.state.monitoring.registry
        return registry.get_sample_value(name, labels) or 0

    return value
