"""What every request passes before its route: request id, keys, rate limits and size, all before a body is parsed."""

import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lit_rec.service.body_reader import BodyReader, DisconnectedError, as_json
from lit_rec.service.http_errors import ApiError
from lit_rec.service.limits import Keys, RateLimits
from lit_rec.service.logs import request_id_of_context
from lit_rec.service.monitoring import Monitoring

logger = logging.getLogger(__name__)

OPEN_ROUTES = frozenset({"/", "/static", "/health", "/ready", "/docs", "/docs-static", "/redoc", "/openapi.json"})
"""Templates that anybody may read."""

METRICS = "/metrics"
_KEY_REQUIRED = "Send a key, as X-API-Key or as Authorization: Bearer."
_UNKNOWN = "unknown"
_UNNAMED = "other"
_NOT_COUNTED = frozenset({"/health", "/ready", METRICS, "/static", "/docs-static"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_FROM_HERE_ALONE = "default-src 'self' 'unsafe-inline'; img-src 'self' data:; worker-src 'self' blob:"


class RequestMiddleware:
    """Answers a request that may not pass; counts and logs every one. Pure ASGI, so that no body is read too far.

    Args:
        app: what comes after.
        routes: of the whole app: what a path is called in metrics.
        monitoring: counts.
        keys: of callers.
        metrics_keys: of ``/metrics``; none leaves it open.
        rate_limits: of a caller to a route.
        check_load: raises an error where a route, by its template, has too much to do for one more request.
        bodies: what reads them.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: Iterable[BaseRoute],
        monitoring: Monitoring,
        keys: Keys,
        metrics_keys: Keys,
        rate_limits: RateLimits,
        check_load: Callable[[str], None],
        bodies: BodyReader,
    ) -> None:
        self._app, self._routes, self._monitoring = app, routes, monitoring
        self._keys, self._metrics_keys, self._rate_limits = keys, metrics_keys, rate_limits
        self._check_load, self._bodies = check_load, bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = Headers(scope=scope)
        sent_id = headers.get("x-request-id", "")
        token = request_id_of_context.set(sent_id if _REQUEST_ID.fullmatch(sent_id) else str(uuid.uuid4()))
        asked = {**scope, "path": _path(scope), "method": "GET" if scope["method"] == "HEAD" else scope["method"]}
        route = self._route(asked)
        answer = _Answer(send, request_id_of_context.get())
        try:
            with self._monitoring.in_progress.track_inprogress():
                await self._answer(asked, receive, answer, headers, route)
        finally:
            seconds = time.perf_counter() - began
            self._count(scope, route, answer.status, seconds)
            request_id_of_context.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, answer: "_Answer", headers: Headers, route: str) -> None:
        try:
            await self._check_caller(scope, headers, route)
            self._check_load(route)
            if route != _UNKNOWN and scope["method"] == "POST":
                self._bodies.check_headers(headers)
            async with self._bodies.read(headers, receive) as body:
                await self._app(as_json(scope, body), _replayed(body, receive), answer)
        except DisconnectedError:
            # Nobody reads it; but BentoML's time-out waits for an answer, and the server's end for that.
            await Response(status_code=499)(scope, receive, answer)
        except ApiError as error:
            if error.refused:
                self._monitoring.refused.labels(error.refused).inc()
            await error.response()(scope, receive, answer)
        except Exception:
            logger.exception("request_failed", extra={"route": route})
            if answer.status is not None:  # too late for another answer: the connection is all that is left to break
                raise
            message = "Something went wrong here; the log has it under this request_id."
            await ApiError(500, "internal_error", message).response()(scope, receive, answer)

    def _route(self, scope: Scope) -> str:
        """The path of the request's route as it was declared, ``/page/users/{user_id}``, for metrics and limits."""
        partial = _UNKNOWN
        for route in self._routes:
            match, _ = route.matches(scope)
            template: str = getattr(route, "path", _UNNAMED) or "/"
            if match == Match.FULL:
                return template
            if match == Match.PARTIAL and partial == _UNKNOWN:
                partial = template
        return partial

    async def _check_caller(self, scope: Scope, headers: Headers, route: str) -> None:
        accepted = self._metrics_keys if route == METRICS else self._keys
        sent = _key_of(headers)
        name = accepted.name_of(sent) if sent else None
        if route not in _NOT_COUNTED:
            client = scope.get("client")
            caller = f"key {name}" if name else f"address {client[0] if client else ''}"
            if (seconds := await self._rate_limits.seconds_to_wait(caller, route)) is not None:
                message = "Too many requests; wait before the next."
                raise ApiError(429, "rate_limited", message, retry_after=seconds, refused="rate")
        if accepted and name is None and route not in OPEN_ROUTES and route != _UNKNOWN:
            code, message = ("invalid_key", "This key is not accepted.") if sent else ("key_required", _KEY_REQUIRED)
            raise ApiError(401, code, message, headers={"WWW-Authenticate": "Bearer"}, refused="key")

    def _count(self, scope: Scope, route: str, status: int | None, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._monitoring.requests.labels(method, route, status or 500).inc()
        self._monitoring.request_seconds.labels(route).observe(seconds)
        level = logging.DEBUG if route in _NOT_COUNTED else logging.INFO
        extra = {"method": method, "path": scope["path"], "route": route, "status": status or 500}
        logger.log(level, "request", extra=extra | {"latency_ms": round(seconds * 1_000, 2)})


class _Answer:
    """Sends, with the request id on it, and remembers the status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._request_id = send, request_id
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._request_id
            headers["X-Content-Type-Options"] = "nosniff"
            if headers.get("content-type", "").startswith("text/html"):
                headers.setdefault("Content-Security-Policy", _FROM_HERE_ALONE)
        await self._send(message)


def _path(scope: Scope) -> str:
    """Without scheme and host, which proxies may send along with it."""
    path: str = scope["path"]
    return "/" + path.partition("://")[2].partition("/")[2] if "://" in path and path[0] != "/" else path


def _key_of(headers: Headers) -> str:
    if key := headers.get("x-api-key", "").strip():
        return key
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body that was read, once, and then what comes after it."""
    is_sent = False

    async def replay() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
