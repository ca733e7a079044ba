"""The service as BentoML serves it: in this repository, from a built bento, and in a container.

A built bento brings its bundle; in the repository the newest one that was packaged is served, unless
``LIT_REC_MODEL_DIR`` and ``LIT_REC_CORPUS_PATH`` (or ``LIT_REC_BUNDLE``, or ``LIT_REC_ARMS``) say what is. All
settings: ``docs/settings.md``.
"""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import bentoml
import uvicorn.config
from bentoml.exceptions import BentoMLConfigException

from bento.image import bundle_tag, check_source, serving_image
from lit_rec.core import schema
from lit_rec.core.errors import SettingError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

    from lit_rec.service.settings import ServiceSettings

# Before numpy is imported. One thread of its own for each thread that ranks: more would only wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# uvicorn believes 127.0.0.1 whatever it says of the caller's address; limits go by that address.
os.environ.setdefault("FORWARDED_ALLOW_IPS", "none")
# With it prometheus_client would keep counters in files, one more thing to write for a container that may not.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

# BentoML makes the server, and lets nobody choose its protocol.
uvicorn.config.HTTP_PROTOCOLS["auto"] = "lit_rec.service.connections:LimitedProtocol"

_TAG = bundle_tag()
_FOLDER = "LIT_REC_FOLDER"  # that `bentoml serve` was said in; a worker of a built bento starts inside the bento


def _settings() -> "ServiceSettings":
    from lit_rec.service.settings import load_settings  # not needed by a build

    try:
        return load_settings(None if _TAG is None else bentoml.models.get(_TAG).path)
    except SettingError as error:
        raise BentoMLConfigException(str(error)) from error


class _OursAlone:
    """Has our app answer every path: BentoML would answer some itself, past keys and limits, in a form of its own."""

    app: "FastAPI"

    def __init__(self, bentos: "ASGIApp") -> None:
        self._bentos = bentos

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        await (self._bentos if scope["type"] == "lifespan" else self.app)(scope, receive, send)


async def _end_with_parent() -> None:
    """A worker whose parent was killed would serve old code, and keep the port from a new one."""
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(1)
    signal.raise_signal(signal.SIGTERM)


@bentoml.service(
    name=schema.BENTO_NAME,
    image=serving_image(_TAG),
    envs=[{"name": "BENTOML_DO_NOT_TRACK", "value": "True"}],  # a container reaches no network by itself
    workers=1,  # limits and queues are the process's own; more workers need Redis, see docs/settings.md
    traffic={"timeout": 120},  # behind the service's own deadlines
    metrics={"enabled": False},  # /metrics is the service's own
    logging={"access": {"enabled": False}},  # and so is the log
    endpoints={"livez": "/health", "readyz": "/ready"},
)
class LitRec:
    """POST /recommend, POST /feedback; see /docs."""

    if _TAG is not None:
        bundle = bentoml.models.BentoModel(_TAG)

    @bentoml.on_deployment
    def check_settings() -> None:  # type: ignore[misc] # called without an instance, once, before any worker
        """Refuse wrong settings before a worker is started, and started again."""
        os.environ[_FOLDER] = str(Path.cwd())
        check_source(_TAG)
        _settings()

    @bentoml.on_startup
    async def start(self) -> None:
        """Open the store, and load the models in the background."""
        from lit_rec.service.app import create_app
        from lit_rec.service.connections import LimitedProtocol, allow_many_descriptors

        os.chdir(os.environ.get(_FOLDER, "."))  # for .env, and for files that settings name
        settings = _settings()
        allow_many_descriptors()
        LimitedProtocol.max_connections = settings.max_connections
        LimitedProtocol.header_timeout_seconds = settings.header_timeout_seconds
        _OursAlone.app = create_app(settings)
        self._running = AsyncExitStack()
        await self._running.enter_async_context(_OursAlone.app.router.lifespan_context(_OursAlone.app))
        self._watch = asyncio.create_task(_end_with_parent())

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Finish what waits."""
        self._watch.cancel()
        await self._running.aclose()


LitRec.add_asgi_middleware(_OursAlone)
