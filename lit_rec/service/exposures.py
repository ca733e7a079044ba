"""Exposures go to the feedback store, off the way of the answer."""

import logging
import threading
from collections.abc import Sequence
from itertools import islice

from lit_rec.core.errors import FeedbackStoreError, UnstorableError
from lit_rec.service.monitoring import Monitoring
from lit_rec.store.database import Exposure, FeedbackStore

logger = logging.getLogger(__name__)

_BATCH, _MAX_WAITING, _MAX_BYTES = 200, 10_000, 64 * 2**20
_PAUSE = 1.0  # seconds from one try to the next
_A_LIST, _AN_ORDER, _A_PRODUCT = 2_000, 500, 100  # bytes in memory, about, without their texts


class ExposureRecorder:
    """Stores exposures in a thread of its own, many in one transaction where many come.

    While the store is away they wait, as many as there is room for. One that cannot be stored costs a count and a
    line in the log, never an answer, and no other exposure.

    Args:
        store: where to.
        monitoring: counts what was lost.
        max_waiting: exposures that may wait.
        max_bytes: of those, about.
    """

    def __init__(
        self,
        store: FeedbackStore,
        monitoring: Monitoring,
        *,
        max_waiting: int = _MAX_WAITING,
        max_bytes: int = _MAX_BYTES,
    ) -> None:
        self._store, self._lost = store, monitoring.exposures_lost
        self._max_waiting, self._max_bytes = max_waiting, max_bytes
        self._waiting: dict[str, Exposure] = {}
        self._bytes = 0
        self._changed = threading.Condition()
        self._is_closing = False
        self._is_away, self._wait_metric = False, monitoring.exposures_wait
        monitoring.waiting.labels("record").set_function(lambda: len(self._waiting))
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)
        self._thread.start()

    def record(self, served: Exposure) -> None:
        """Store an exposure soon."""
        size = _size(served)
        with self._changed:
            has_room = len(self._waiting) < self._max_waiting and self._bytes + size <= self._max_bytes
            if has_room and not self._is_closing:
                self._waiting[served.request_id] = served
                self._bytes += size
                self._changed.notify_all()
                return
        self._lose(1, "too many wait already" if not has_room else "the service is going away")

    @property
    def is_away(self) -> bool:
        """Whether the store did not take the newest lists, though it may still answer reads."""
        return self._is_away

    def has_waiting(self, request_id: str, product_id: str) -> bool:
        """Whether an exposure that is still to be stored holds a product."""
        served = self._waiting.get(request_id)
        return served is not None and product_id in served.product_ids

    def close(self, timeout_seconds: float | None = None) -> None:
        """Store what waits.

        Args:
            timeout_seconds: what is not stored by then is lost; None: any time.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join(timeout_seconds)
        with self._changed:
            left = len(self._waiting)
            self._waiting.clear()
        self._lose(left, "the store did not take them in time")

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closing)
                batch, is_last_try = list(islice(self._waiting.values(), _BATCH)), self._is_closing
            if not batch:
                return
            self._keep(batch, is_last_try)

    def _keep(self, batch: Sequence[Exposure], is_last_try: bool) -> None:
        """Store a batch, or leave it where it waits for the next turn."""
        try:
            self._store.record_exposures(batch)
        except Exception as error:
            if isinstance(error, FeedbackStoreError) and not isinstance(error, UnstorableError):  # the store's fault
                if is_last_try:
                    self._lose(self._forget(batch), str(error))
                else:
                    self._note_away(str(error))
                    with self._changed:
                        self._changed.wait_for(lambda: self._is_closing, _PAUSE)
            elif len(batch) > 1:  # the fault of one of them
                for each in batch:
                    self._keep([each], is_last_try)
            else:
                self._lose(self._forget(batch), str(error))
        else:
            self._note_away("")
            self._forget(batch)

    def _note_away(self, reason: str) -> None:
        if reason and not self._is_away:
            logger.error("exposures_wait", extra={"reason": reason})
        self._is_away = bool(reason)
        self._wait_metric.set(self._is_away)

    def _forget(self, batch: Sequence[Exposure]) -> int:
        """How many of them were still waited for."""
        with self._changed:
            found = [each for each in batch if self._waiting.pop(each.request_id, None) is not None]
            self._bytes -= sum(map(_size, found))
        return len(found)

    def _lose(self, count: int, why: str) -> None:
        if count:
            self._lost.inc(count)
            logger.error("exposure_lost", extra={"count": count, "reason": why})


def _size(served: Exposure) -> int:
    orders = served.history["orders"] if served.history else []
    ids = [served.product_ids, *(order["product_ids"] for order in orders)]
    of_products = sum(_A_PRODUCT * len(each) + sum(map(len, each)) for each in ids)
    return _A_LIST + _AN_ORDER * len(orders) + of_products + 4 * len(served.context or "")
