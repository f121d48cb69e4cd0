"""What a piece of work takes, by the clock and by the processor."""

from __future__ import annotations

import time
from collections.abc import Callable


def took(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock and of this process's processor time until the work is done.

    On a machine with other work only the second can be compared.
    """
    started, cpu_started = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - cpu_started
