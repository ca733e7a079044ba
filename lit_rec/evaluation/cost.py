"""What a method costs: seconds, and the memory it grew by."""

import ctypes
import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import nan
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"  # of the values of clear_refs, see proc(5)


@dataclass
class Cost:
    """Seconds and memory of a block of work; filled in when the block ends.

    Args:
        seconds: wall clock.
        peak_gb: the highest resident memory of the whole process during the block above what was resident when it
            began, in 10^9 bytes. Freed memory that the process still holds is given back to the system before (glibc
            can), but some pieces stay and are used again: read it as good to about 0.01. NaN where the system does not
            tell (Linux does).
    """

    seconds: float = nan
    peak_gb: float = nan


@contextmanager
def measured_cost() -> Iterator[Cost]:
    """Measure what the block costs.

    >>> with measured_cost() as cost:
    ...     pass
    >>> cost.seconds >= 0
    True
    """
    cost = Cost()
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        _CLEAR.write_text(_FORGET_PEAK, encoding="ascii")
    before, begin = _resident("VmRSS"), time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - begin
        cost.peak_gb = max(0.0, _resident("VmHWM") - before) / 1e9


def _resident(field: str) -> float:
    """Bytes of resident memory, now (VmRSS) or at most (VmHWM)."""
    if sys.platform != "linux":
        return nan
    status = _STATUS.read_text(encoding="ascii", errors="replace")
    return next((float(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field)), nan)
