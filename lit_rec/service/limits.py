"""Rate limits and keys: who asks, and whether that is one request too many."""

import hashlib
import hmac
import logging
import time
from collections.abc import Sequence
from typing import Any

from limits import RateLimitItem, parse_many
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from lit_rec.core.errors import SettingError

logger = logging.getLogger(__name__)

IN_MEMORY = "memory://"

_SECONDS_WITHOUT_REDIS = 5.0
_REDIS_TIMEOUT = 0.5  # seconds that a request waits for it


class Keys:
    """The keys that are accepted; compared in constant time, whichever of them it is.

    Args:
        keys: any number; none accepts everybody.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def name_of(self, key: str) -> str | None:
        """A name that stands for an accepted key and does not tell it; None for any other key."""
        digest = _digest(key)
        matches = [hmac.compare_digest(digest, each) for each in self._digests]
        return digest.hex()[:16] if any(matches) else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()


def _in_redis(url: str) -> tuple[Any, SlidingWindowCounterRateLimiter]:
    """A pool of connections, which are opened when first needed, and the limiter that uses it."""
    try:
        from redis.asyncio import ConnectionPool
    except ModuleNotFoundError as error:
        raise SettingError(
            "LIT_REC_RATE_LIMIT_STORAGE needs a client of Redis", str(error), "pip install redis"
        ) from error
    pool = ConnectionPool.from_url(url, socket_timeout=_REDIS_TIMEOUT, socket_connect_timeout=_REDIS_TIMEOUT)
    options: dict[str, Any] = {"connection_pool": pool}
    storage = RedisStorage(f"async+{url}", implementation="redispy", **options)
    return pool, SlidingWindowCounterRateLimiter(storage)


class RateLimits:
    """Counts requests in a sliding window, in memory or in Redis.

    Where Redis does not answer, this process counts by itself for a while: a limit that is not quite exact is better
    than a service that is down, or one without limits.

    Args:
        rate_limit: such as ``60/minute``, several separated by ``;``; empty for no limit.
        storage: ``memory://``, or the URL of Redis.
    """

    def __init__(self, rate_limit: str, storage: str) -> None:
        self._items: list[RateLimitItem] = parse_many(rate_limit) if rate_limit else []
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._without_redis_until = 0.0

        self._pool: Any = None
        self._shared: SlidingWindowCounterRateLimiter | None = None
        if storage != IN_MEMORY:
            self._pool, self._shared = _in_redis(storage)

    async def seconds_to_wait(self, *caller: str) -> float | None:
        """None where the request is within the limits, else how long to wait for the next.

        Args:
            caller: what the requests are counted by.
        """
        if self._shared is not None and time.monotonic() >= self._without_redis_until:
            try:
                return await self._hit(self._shared, caller)
            except Exception as error:  # each client raises its own
                logger.warning("rate_limit_storage_failed", extra={"reason": str(error)})
                self._without_redis_until = time.monotonic() + _SECONDS_WITHOUT_REDIS
        return await self._hit(self._own, caller)

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._pool is not None:
            await self._pool.aclose()

    async def _hit(self, limiter: SlidingWindowCounterRateLimiter, caller: tuple[str, ...]) -> float | None:
        for item in self._items:
            if not await limiter.hit(item, *caller):
                stats = await limiter.get_window_stats(item, *caller)
                return max(stats.reset_time - time.time(), 1.0)
        return None
