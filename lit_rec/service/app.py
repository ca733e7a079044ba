"""The service as an ASGI app: routes, what they share, and how it starts and ends."""

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

from fastapi import FastAPI, Request, Response, Security
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi_offline import FastAPIOffline

from lit_rec import __version__
from lit_rec.service.body_reader import BodyReader
from lit_rec.service.engine import Engine
from lit_rec.service.exposures import ExposureRecorder
from lit_rec.service.http_errors import ApiError, ErrorBody, add_error_handlers
from lit_rec.service.limits import Keys, RateLimits
from lit_rec.service.logs import configure_logging, restore_logging
from lit_rec.service.middleware import METRICS, RequestMiddleware
from lit_rec.service.monitoring import CONTENT_TYPE_PLAIN_0_0_4, Monitoring
from lit_rec.service.routes.feedback import add_feedback
from lit_rec.service.routes.recommend import RECOMMEND, add_recommend, check_room
from lit_rec.service.schemas import Health, Ready
from lit_rec.service.settings import ServiceSettings
from lit_rec.service.store_access import StoreAccess
from lit_rec.store.database import url_of

logger = logging.getLogger(__name__)

_DESCRIPTION = "From a user's past orders, the products of the next one; and what the user did with them."
_NOT_READY = {
    "loading": "The models are being loaded.",
    "failed": "The models could not be loaded; the log says why.",
    "draining": "The service is going away.",
    "closed": "The service is going away.",
}


def create_app(settings: ServiceSettings, engine: Engine | None = None) -> FastAPI:
    """Build the app; models are loaded once it starts.

    ``app.state`` holds ``settings``, ``monitoring``, ``engine``, ``users`` and, while the app runs, ``store_access``
    with its ``store``, and the ``recorder``.

    Args:
        settings: of the service.
        engine: models; by default those that the settings name.
    """
    monitoring = engine.monitoring if engine else Monitoring()
    app = _documented_app(settings)
    state = app.state
    state.settings, state.monitoring = settings, monitoring
    state.engine = engine or Engine(settings, monitoring)
    state.users = state.engine.users
    state.store_access = state.store = state.recorder = None
    state.is_draining = False
    state.rate_limits = RateLimits(settings.rate_limit, settings.rate_limit_storage)
    add_error_handlers(app)
    add_recommend(app)
    add_feedback(app)
    _add_probes(app)
    if settings.serve_page:
        from lit_rec.service.routes.page import add_page

        add_page(app)
    app.add_middleware(
        RequestMiddleware,
        routes=app.router.routes,
        monitoring=monitoring,
        keys=Keys([key.get_secret_value() for key in settings.api_key]),
        metrics_keys=Keys([settings.metrics_key.get_secret_value()] if settings.metrics_key else []),
        rate_limits=state.rate_limits,
        check_load=lambda route: check_room(state.engine) if route == RECOMMEND else None,
        bodies=BodyReader(
            max_body_bytes=settings.max_body_bytes,
            max_held_bytes=settings.max_held_bytes,
            timeout_seconds=settings.body_timeout_seconds,
            origins=settings.cors_origins,
        ),
    )
    if settings.cors_origins:  # outermost, so that a page of another site can read refusals too
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )
    return app


def _documented_app(settings: ServiceSettings) -> FastAPI:
    # For the documentation alone: the middleware has asked for the key before the body was read.
    schemes = [
        Security(APIKeyHeader(name="X-API-Key", scheme_name="key", auto_error=False)),
        Security(HTTPBearer(scheme_name="bearer", auto_error=False)),
    ]
    about: dict[str, Any] = {
        "title": "lit_rec",
        "version": __version__,
        "description": _DESCRIPTION,
        "lifespan": _lifespan,
        "dependencies": schemes if settings.api_key else [],
    }
    if not settings.serve_docs:
        return FastAPI(**about, openapi_url=None)
    # Wherever the document is, below a proxy's prefix too, "." is where the service is.
    app = FastAPIOffline(docs_url=None, redoc_url=None, **about, servers=[{"url": "."}], static_url="/docs-static")
    _add_docs(app)
    return app


def _add_docs(app: FastAPI) -> None:
    """Pages whose addresses are relative, so that they may live below a proxy's prefix; nothing from elsewhere."""
    favicon = "docs-static/favicon.png"

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url="docs-static/swagger-ui-bundle.js",
            swagger_css_url="docs-static/swagger-ui.css",
            swagger_favicon_url=favicon,
        )

    @app.get("/redoc", include_in_schema=False)
    async def redoc() -> HTMLResponse:
        return get_redoc_html(
            openapi_url="openapi.json",
            title=app.title,
            redoc_js_url="docs-static/redoc.standalone.js",
            redoc_favicon_url=favicon,
            with_google_fonts=False,
        )


def _add_probes(app: FastAPI) -> None:
    @app.get("/health", summary="Whether the process answers", tags=["operation"])
    async def health() -> Health:
        return Health()

    @app.get(
        "/ready",
        summary="Whether recommendations can be had",
        responses={503: {"model": ErrorBody, "description": "Loading, failed to load, or draining"}},
        tags=["operation"],
    )
    async def ready(request: Request) -> Ready:
        state = request.app.state
        now = "draining" if state.is_draining else state.engine.state
        if now != "ready":
            raise ApiError(503, now, _NOT_READY[now], retry_after=5)
        models = {name: arm.model_version for name, arm in state.engine.arms.items()}
        stores = state.store_access.is_answering and not (state.recorder and state.recorder.is_away)
        return Ready(models=models, degraded=[] if stores else ["feedback_store"])

    @app.get(METRICS, summary="Counters for Prometheus", tags=["operation"], response_class=Response)
    async def metrics(request: Request) -> Response:  # in no thread that something slow could hold
        return Response(request.app.state.monitoring.exposition(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state = app.state
    handler = configure_logging(state.settings.log_level)
    state.store_access = StoreAccess(
        url_of(state.settings.feedback_db_path),
        state.monitoring,
        deadline_seconds=state.settings.request_deadline_seconds,
        max_waiting=state.settings.max_waiting,
    )
    state.store = state.store_access.store
    state.store_access.start()
    if state.settings.store_exposures:
        state.recorder = ExposureRecorder(state.store, state.monitoring)
    state.engine.start()
    try:
        with _draining_on_sigterm(app):
            yield
    finally:
        state.is_draining = True
        await state.rate_limits.close()
        await asyncio.to_thread(_close, app)
        restore_logging(handler)


def _close(app: FastAPI) -> None:
    app.state.engine.close()
    if app.state.recorder is not None:
        app.state.recorder.close(app.state.settings.request_deadline_seconds)
    app.state.store_access.close()


@contextmanager
def _draining_on_sigterm(app: FastAPI) -> Iterator[None]:
    """Say so at ``/ready`` before the server is told to stop, for as long as load balancers need to notice."""
    loop, stop = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(stop):
        yield  # no server handles the signal, so there is nobody to wait with
        return
    stop_server = stop

    def drain(number: int, frame: FrameType | None) -> None:
        delay = 0 if app.state.is_draining else app.state.settings.drain_seconds
        app.state.is_draining = True
        logger.info("draining", extra={"seconds": delay})
        loop.call_soon_threadsafe(loop.call_later, delay, stop_server, number, frame)

    signal.signal(signal.SIGTERM, drain)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, stop)
