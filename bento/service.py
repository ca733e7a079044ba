"""The service as BentoML serves it: in this repository, from a built bento, and in a container.

A built bento brings its bundle; in the repository the newest one that was packaged is served, unless ``MODEL_DIR`` and
``CORPUS_PATH`` (or ``BUNDLE``, or ``ARMS``) say what is. All settings: ``docs/settings.md``.
"""

import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import bentoml
from bentoml.exceptions import BentoMLConfigException

from bento.image import bundle_tag, check_source, serving_image
from lit_rec import schema
from lit_rec.errors import SettingError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

    from lit_rec.service.settings import ServiceSettings

# uvicorn believes 127.0.0.1 whatever it says of the caller's address; limits go by that address.
os.environ.setdefault("FORWARDED_ALLOW_IPS", "none")
# With it prometheus_client would keep counters in files, one more thing to write for a container that may not.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

_TAG = bundle_tag()
_FOLDER = "LIT_REC_FOLDER"  # that `bentoml serve` was said in; a worker of a built bento starts inside the bento
_NAMES_OF_MODELS = ("BUNDLE", "MODEL_DIR", "ARMS")


def _settings() -> "ServiceSettings":
    from lit_rec.service.settings import load_settings  # not needed by a build

    if _TAG is not None and not any(os.environ.get(name) for name in _NAMES_OF_MODELS):
        os.environ["BUNDLE"] = bentoml.models.get(_TAG).path
    try:
        return load_settings()
    except SettingError as error:
        raise BentoMLConfigException(str(error)) from error


class _WholeApp:
    """Answers every path: BentoML would answer those that a mounted FastAPI does not know, in a form of its own."""

    app: "FastAPI"

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        await self.app(scope, receive, send)


_whole_app = _WholeApp()


@bentoml.asgi_app(_whole_app, path="/")
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

        os.chdir(os.environ.get(_FOLDER, "."))  # for .env, and for files that settings name
        _whole_app.app = create_app(_settings())
        self._running = AsyncExitStack()
        await self._running.enter_async_context(_whole_app.app.router.lifespan_context(_whole_app.app))

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Finish what waits."""
        await self._running.aclose()

    def __is_ready__(self) -> bool:
        state = _whole_app.app.state
        return state.engine.is_ready and not state.is_draining
