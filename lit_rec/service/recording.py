"""What was served goes to the feedback store, off the way of the answer."""

import logging
from collections.abc import Sequence
from concurrent.futures import Future

from lit_rec.feedback.store import FeedbackStore, ServedList
from lit_rec.service.batching import BatchingQueue, OverloadedError
from lit_rec.service.monitoring import Monitoring

logger = logging.getLogger(__name__)

_BATCH, _WAITING = 200, 10_000


class Recorder:
    """Stores served lists in a thread of its own, many in one transaction where many come.

    A list that cannot be stored costs a count and a line in the log, never an answer.

    Args:
        store: where to.
        monitoring: counts what was lost.
    """

    def __init__(self, store: FeedbackStore, monitoring: Monitoring) -> None:
        self._store, self._lost = store, monitoring.served_lists_lost
        self._queue: BatchingQueue[ServedList, None] = BatchingQueue(
            "record", lambda: self._record, max_batch_size=_BATCH, max_waiting=_WAITING
        )
        monitoring.waiting.labels("record").set_function(lambda: self._queue.n_waiting)
        self._queue.start()

    def record(self, served: ServedList) -> None:
        """Store a list soon."""
        try:
            self._queue.submit(served).add_done_callback(self._count)
        except OverloadedError as error:
            self._lose(error)

    def close(self) -> None:
        """Store what waits."""
        self._queue.close()

    def _record(self, served: Sequence[ServedList]) -> list[None]:
        self._store.record_served(served)
        return [None] * len(served)

    def _count(self, done: "Future[None]") -> None:
        if (error := done.exception()) is not None:
            self._lose(error)

    def _lose(self, error: BaseException) -> None:
        self._lost.inc()
        logger.error("served_list_lost", extra={"reason": str(error)})
