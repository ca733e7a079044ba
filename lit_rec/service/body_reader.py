"""Bodies of requests, read within limits: of size, of time, and of memory held."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from lit_rec.service.http_errors import ApiError

ANY_ORIGIN = "*"
_PERHAPS_JSON = {"", "text/plain", "application/x-www-form-urlencoded"}  # as curl -d and sendBeacon say of any text
_GZIP = 31  # zlib's number for gzip's header
_OF_THE_BODY = {b"content-type", b"content-length", b"content-encoding", b"transfer-encoding"}


class DisconnectedError(Exception):
    """The caller left before the body was whole."""


class BodyReader:
    """Reads bodies within limits.

    Args:
        max_body_bytes: of one, inflated.
        max_held_bytes: of all requests that are being answered.
        timeout_seconds: for a body to arrive.
        origins: web sites whose pages may send what does not call itself JSON.
    """

    def __init__(
        self,
        *,
        max_body_bytes: int,
        max_held_bytes: int,
        timeout_seconds: float,
        origins: Collection[str] = (),
    ) -> None:
        self._origins = origins
        self._max_body_bytes, self._max_held_bytes = max_body_bytes, max_held_bytes
        self._timeout_seconds = timeout_seconds
        self._held_bytes = 0

    def check_headers(self, headers: Headers) -> None:
        """Refuse a body that is announced as nothing that can be read here.

        Raises:
            ApiError: it is too large, or of another type or encoding.
        """
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._max_body_bytes:
            raise self._too_large()
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        is_json = kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
        if not is_json and (kind not in _PERHAPS_JSON or self._is_of_another_site(headers)):
            # Browsers let any page send text anywhere, but ask first where it is called JSON.
            message = f"Content-Type {kind!r} is not taken here: send application/json."
            raise ApiError(415, "unsupported_media_type", message)
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"identity", "gzip"}:
            message = f"Content-Encoding {encoding!r} is not known: send gzip, or the body as it is."
            raise ApiError(415, "unsupported_media_type", message, headers={"Accept-Encoding": "gzip"})

    @asynccontextmanager
    async def read(self, headers: Headers, receive: Receive) -> AsyncIterator[bytes]:
        """The whole body, counted as held until the request is answered.

        Raises:
            ApiError: it is too large, takes too long, is no whole gzip, or too much is held already.
            DisconnectedError: the caller left.
        """
        held = 0

        def hold(n_bytes: int) -> None:
            nonlocal held
            if self._held_bytes + n_bytes > self._max_held_bytes:
                message = "Too many large requests at once."
                raise ApiError(503, "overloaded", message, retry_after=1, refused="overload")
            self._held_bytes += n_bytes
            held += n_bytes

        try:
            body = await self._received(receive, hold)
            if body and headers.get("content-encoding", "").strip().lower() == "gzip":
                body = self._inflated(body)
                hold(len(body))
            yield body
        finally:
            self._held_bytes -= held

    async def _received(self, receive: Receive, hold: Callable[[int], None]) -> bytes:
        chunks, size, is_whole = [], 0, False
        try:
            async with asyncio.timeout(self._timeout_seconds):
                while not is_whole:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise DisconnectedError
                    chunks.append(message.get("body", b""))
                    size += len(chunks[-1])
                    if size > self._max_body_bytes:
                        raise self._too_large()
                    hold(len(chunks[-1]))
                    is_whole = not message.get("more_body", False)
        except TimeoutError:
            raise ApiError(408, "body_timeout", "The body did not arrive in time.", refused="slow_body") from None
        return b"".join(chunks)

    def _inflated(self, body: bytes) -> bytes:
        inflate = zlib.decompressobj(wbits=_GZIP)
        try:
            plain = inflate.decompress(body, self._max_body_bytes + 1)
        except zlib.error:
            plain = b""
        if len(plain) > self._max_body_bytes:
            raise self._too_large()
        if not inflate.eof or inflate.unused_data:
            raise ApiError(400, "invalid_gzip", "Content-Encoding is gzip, but the body is no whole gzip.")
        return plain

    def _is_of_another_site(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None or origin in self._origins or ANY_ORIGIN in self._origins:
            return False
        return urlsplit(origin).netloc != headers.get("host")

    def _too_large(self) -> ApiError:
        message = f"A body may have at most {self._max_body_bytes:,} bytes."
        return ApiError(413, "body_too_large", message, refused="size")


def as_json(scope: Scope, body: bytes) -> Scope:
    """The request with headers that say what its body is by now, for those who read it next."""
    if not body:
        return scope
    others = [(name, value) for name, value in scope["headers"] if name not in _OF_THE_BODY]
    now = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    return {**scope, "headers": others + now}
