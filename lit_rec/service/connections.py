"""Connections of the server: how many there may be, and how long one may take to say what it wants.

Uvicorn limits neither: half-sent headers stay open for good, and descriptors run out.
"""

import asyncio
import logging
import resource
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

logger = logging.getLogger(__name__)

_DESCRIPTORS = 65_536
_TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class LimitedProtocol(H11Protocol):
    """Ends connections that take too long to ask; where there are too many, first the one that has asked least lately.

    A flood of connections that ask for nothing so keeps nobody out, probes least of all.
    """

    max_connections: ClassVar[int] = 1_000
    header_timeout_seconds: ClassVar[float] = 10.0
    reading_timeout_seconds: ClassVar[float] = 30.0
    """For a caller to read what was sent; it is sent in pieces of at most 64 kB."""

    idle_seconds: ClassVar[int] = 75
    """Longer than clients and load balancers keep a connection (5 to 60 s): the one who closes first must be they.

    Uvicorn's 5 s are also those of httpx: a request that was sent at that moment was answered by a reset.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Take a connection, perhaps in the place of another."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that any answer that is not read calls pause_writing
        self._unread: asyncio.TimerHandle | None = None
        self.timeout_keep_alive = self.idle_seconds
        self._waits_since = self.loop.time()
        self._patience = self._wait()
        if len(self.connections) > self.max_connections:
            idle = [each for each in self.connections if isinstance(each, LimitedProtocol) and not each.is_answering]
            min(idle, key=lambda each: each._waits_since).end(_TOO_MANY)

    @property
    def is_answering(self) -> bool:
        """Whether a request has arrived that is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Take what came; headers have to be whole in time."""
        super().data_received(data)
        if self.is_answering:
            self._patience.cancel()
        elif self._patience.cancelled():
            self._patience = self._wait()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._waits_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._patience.cancel()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for the caller to read, for some time."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.reading_timeout_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the caller has read."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def end(self, answer: bytes) -> None:
        """Say why, and close."""
        self.transport.write(answer)
        self.transport.close()
        self.connections.discard(self)

    def _wait(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.header_timeout_seconds, self.end, _TOO_SLOW)


def allow_many_descriptors() -> None:
    """Raise the limit of open files, which shells often set low; where that is refused, a line in the log says so."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, _DESCRIPTORS)
    if now == resource.RLIM_INFINITY or now >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    except (OSError, ValueError) as error:  # macOS has a limit of its own below an unlimited one
        logger.warning("few_descriptors", extra={"descriptors": now, "reason": str(error)})
