"""The feedback store as the service uses it: opened and watched in the background, asked by threads of its own."""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from lit_rec.core.errors import FeedbackStoreError, OutcomeUnknownError
from lit_rec.service.batching import BatchingQueue, OverloadedError
from lit_rec.service.monitoring import Monitoring
from lit_rec.store.database import FeedbackStore

logger = logging.getLogger(__name__)

T = TypeVar("T")

_THREADS = 4
_LOOK_EVERY, _LOOK_AGAIN_AFTER = 5.0, 1.0  # seconds, while the store answers and while it does not


class StoreAccess:
    """Nothing but feedback waits for a store that is away or slow, and that no longer than a request may.

    Args:
        url: of the store.
        monitoring: counts what waits, and says whether the store answers.
        deadline_seconds: of a request; a statement may take half of it, so that its outcome is known in time.
        max_waiting: calls that may wait for a thread.

    Raises:
        SettingError: the URL is none, or of another database.
    """

    def __init__(self, url: str, monitoring: Monitoring, *, deadline_seconds: float, max_waiting: int) -> None:
        self.store = FeedbackStore(url, timeout_seconds=deadline_seconds / 2, open_now=False)
        self.is_answering = False
        self._monitoring, self._deadline_seconds = monitoring, deadline_seconds
        self._calls: BatchingQueue[Callable[[], Any], Any] = BatchingQueue(
            "store", lambda: lambda calls: [call() for call in calls], n_threads=_THREADS, max_waiting=max_waiting
        )
        monitoring.waiting.labels("store").set_function(lambda: self._calls.n_waiting)
        self._was_tried: Future[None] = Future()
        self._closing = threading.Event()
        self._watching = threading.Thread(target=self._watch, name="watch-store", daemon=True)

    def start(self) -> None:
        """Open the store in the background."""
        self._calls.start()
        self._watching.start()

    async def run(self, call: Callable[[], T]) -> T:
        """What a call gives that asks the store, made in a thread.

        Raises:
            OutcomeUnknownError: it took too long, and may still be done.
            FeedbackStoreError: the store is not open, or nothing was asked of it in time.
        """
        made: Future[T] | None = None
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await asyncio.shield(asyncio.wrap_future(self._was_tried))
                if not self.store.is_open:
                    raise FeedbackStoreError("The feedback database is asked", "it is not open", "See the log")
                made = self._calls.submit(call)
                return await asyncio.wrap_future(made)
        except FeedbackStoreError as error:
            self._note(str(error))
            raise
        except OverloadedError as error:
            raise FeedbackStoreError("Too many wait for the feedback database", str(error)) from error
        except TimeoutError:
            late = f"nothing came of it within {self._deadline_seconds:g} s"
            if made is None or made.cancel():
                raise FeedbackStoreError("The feedback database is asked", late) from None
            raise OutcomeUnknownError("The feedback database is asked", late, "Try again") from None

    def close(self) -> None:
        """End the threads, but those that a store keeps waiting."""
        self._closing.set()
        self._calls.close(_LOOK_AGAIN_AFTER)
        self._watching.join(_LOOK_AGAIN_AFTER)
        self.store.close()

    def _watch(self) -> None:
        while True:
            try:
                self.store.check()
                self._note("")
            except Exception as error:  # whatever it is, the next look may find it gone
                self._note(str(error))
            if not self._was_tried.done():
                self._was_tried.set_result(None)
            if self._closing.wait(_LOOK_EVERY if self.is_answering else _LOOK_AGAIN_AFTER):
                return

    def _note(self, trouble: str) -> None:
        if trouble and (self.is_answering or not self._was_tried.done()):
            logger.error("feedback_store_away", extra={"reason": trouble})
        elif not trouble and not self.is_answering:
            logger.info("feedback_store_answers")
        self.is_answering = not trouble
        self._monitoring.feedback_store_up.set(self.is_answering)
