"""A bounded queue before a few threads, which take what has gathered while they were busy."""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")

_STOP = None
_SHARE_OF_THE_NEWEST = 0.2  # batch, in the estimate of what an item takes


class OverloadedError(Exception):
    """Too many wait already, or this one waited too long.

    Args:
        why: for people.
        retry_after: seconds until there may be room.
    """

    def __init__(self, why: str, retry_after: float = 1.0) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class BatchingQueue(Generic[In, Out]):
    """Hands items to threads in batches: a lone item goes at once, under load a batch is what came meanwhile.

    Args:
        name: of the threads.
        make_work: called once in each thread, which then keeps what it loaded; returns the function from a batch to
            its results, one for each item.
        n_threads: how many.
        max_batch_size: items of a batch.
        max_waiting: items that may wait; :meth:`submit` refuses more.
    """

    def __init__(
        self,
        name: str,
        make_work: Callable[[], Callable[[Sequence[In]], Sequence[Out]]],
        *,
        n_threads: int = 1,
        max_batch_size: int = 1,
        max_waiting: int = 128,
    ) -> None:
        self._make_work, self._max_batch_size = make_work, max_batch_size
        self._items: queue.Queue[tuple[In, Future[Out]] | None] = queue.Queue(max_waiting)
        self._started: list[Future[None]] = [Future() for _ in range(n_threads)]
        self._seconds_each = 0.0
        self._closing = threading.Lock()
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._run, args=(started,), name=f"{name}-{number}", daemon=True)
            for number, started in enumerate(self._started)
        ]

    def start(self) -> None:
        """Start the threads, and wait until each has made its work.

        Raises:
            Exception: what ``make_work`` raised first.
        """
        for thread in self._threads:
            thread.start()
        for started in self._started:
            started.result()

    @property
    def n_waiting(self) -> int:
        """Items that wait for a thread."""
        return self._items.qsize()

    @property
    def expected_wait(self) -> float:
        """Seconds until a thread would take an item that came now, by what the newest items took."""
        return self._items.qsize() * self._seconds_each / len(self._threads)

    def check_room(self, deadline_seconds: float) -> None:
        """Make sure that an item that came now would be done in time.

        Raises:
            OverloadedError: too many wait, or by all appearances it would wait too long.
        """
        wait = self.expected_wait
        if self._items.full():
            raise OverloadedError(f"{self._items.maxsize} wait already", wait)
        if wait + self._seconds_each > deadline_seconds and self._items.qsize():
            raise OverloadedError(f"it would not be done within {deadline_seconds:g} s", wait)

    def submit(self, item: In) -> "Future[Out]":
        """Put an item in line.

        Raises:
            OverloadedError: too many wait, or the queue is closed.
        """
        future: Future[Out] = Future()
        with self._closing:
            if self._is_closed:
                raise OverloadedError("the queue is closed")
            try:
                self._items.put_nowait((item, future))
            except queue.Full:
                raise OverloadedError(f"{self._items.maxsize} wait already") from None
        return future

    async def run(self, item: In, deadline_seconds: float) -> Out:
        """The result of an item.

        Args:
            item: what.
            deadline_seconds: given up after so long; where no thread has taken the item by then, none will.

        Raises:
            OverloadedError: too many wait, the deadline passed, or by all appearances will.
        """
        self.check_room(deadline_seconds)
        future = self.submit(item)
        try:
            async with asyncio.timeout(deadline_seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise OverloadedError(f"not done within {deadline_seconds:g} s", self.expected_wait) from None

    def close(self, timeout_seconds: float | None = None) -> None:
        """Take nothing new, finish what waits, and end the threads.

        Args:
            timeout_seconds: for a thread to do so; one that hangs is left to end with the process. None: any time.
        """
        with self._closing:
            was_closed, self._is_closed = self._is_closed, True
        if was_closed:
            return
        for thread in self._threads:
            if thread.is_alive():
                with contextlib.suppress(queue.Full):
                    self._items.put(_STOP, timeout=timeout_seconds)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout_seconds)

    def _run(self, started: Future[None]) -> None:
        try:
            work = self._make_work()
        except BaseException as error:  # handed to start()
            started.set_exception(error)
            return
        started.set_result(None)
        while (batch := self._next_batch()) is not None:
            # A request that was given up meanwhile costs nothing more.
            if wanted := [(item, future) for item, future in batch if future.set_running_or_notify_cancel()]:
                began = time.perf_counter()
                _finish(work, wanted)
                each = (time.perf_counter() - began) / len(wanted)
                share = _SHARE_OF_THE_NEWEST if self._seconds_each else 1.0
                self._seconds_each += share * (each - self._seconds_each)

    def _next_batch(self) -> list[tuple[In, Future[Out]]] | None:
        first = self._items.get()
        if first is _STOP:
            return None
        batch = [first]
        while len(batch) < self._max_batch_size:
            try:
                item = self._items.get_nowait()
            except queue.Empty:
                break
            if item is _STOP:
                self._items.put(_STOP)  # for the next turn, or another thread
                break
            batch.append(item)
        return batch


def _finish(work: Callable[[Sequence[In]], Sequence[Out]], batch: Sequence[tuple[In, Future[Out]]]) -> None:
    try:
        results = work([item for item, _ in batch])
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)
    except Exception as error:  # each of the callers gets it
        for _, future in batch:
            if not future.done():
                future.set_exception(error)
