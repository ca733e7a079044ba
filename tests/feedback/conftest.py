"""A database of each kind, empty at the start of every test; the real service with a tiny model, over HTTP."""

import os
import socket
import threading
import time
import uuid
from contextlib import contextmanager

import httpx
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from lit_rec.store.database import FeedbackStore, url_of

SERVER = os.environ.get("LIT_REC_TEST_POSTGRESQL", "postgresql+psycopg://postgres@127.0.0.1:5432/test")


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL server that tests may make schemas in."""
    engine = create_engine(SERVER, connect_args={"connect_timeout": 3}, isolation_level="AUTOCOMMIT")
    try:
        engine.connect().close()
    except OperationalError as error:
        reason = f"needs PostgreSQL at {SERVER} (or LIT_REC_TEST_POSTGRESQL): {error.orig}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    yield engine
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield url_of(tmp_path / "feedback.db")
        return
    engine = request.getfixturevalue("postgresql")
    schema = f"lit_rec_{uuid.uuid4().hex[:12]}"
    with engine.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield f"{SERVER}?options=-csearch_path%3D{schema}"
    with engine.connect() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))


@pytest.fixture
def store(database_url):
    opened = FeedbackStore(database_url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(tmp_path):
    opened = FeedbackStore(url_of(tmp_path / "feedback.db"))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def serve(tiny_model, processed_dir, tmp_path_factory):
    """Serves the tiny model over HTTP with a database of its own: ``with serve(...) as (url, store)``."""
    uvicorn = pytest.importorskip("uvicorn")
    from lit_rec.service.app import create_app
    from lit_rec.service.settings import ServiceSettings

    @contextmanager
    def serving(**settings):
        folder = tmp_path_factory.mktemp("served")
        values = {
            "model_dir": str(tiny_model),
            "corpus_path": processed_dir / "eval_corpus.json",
            "feedback_db_path": str(folder / "feedback.db"),
            "inference_device": "cpu",
            "rate_limit": "off",
            "serve_page": False,
            "log_level": "ERROR",
        }
        app = create_app(ServiceSettings(**(values | settings)))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="on"))
        thread = threading.Thread(target=server.run)
        thread.start()
        url = f"http://127.0.0.1:{port}"
        try:
            with httpx.Client(base_url=url) as client:
                deadline = time.monotonic() + 60
                while not server.started or client.get("/ready").status_code != 200:
                    assert thread.is_alive()
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            yield url, app.state.store
        finally:
            server.should_exit = True
            thread.join()

    return serving


@pytest.fixture(scope="module")
def service(serve):
    """One service that asks for no key; ended with the module, since it keeps the package's log to itself."""
    with serve() as served:
        yield served
