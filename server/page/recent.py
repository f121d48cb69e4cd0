"""The measurements of the last half minute, for percentiles."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

RECENT_S: Final = 30.0
"""Seconds that percentiles look back."""

RECENT: Final = 4096
"""Measurements they look at, at most."""


class Recent:
    """The measurements of the last half minute.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._values: deque[tuple[float, float]] = deque(maxlen=RECENT)

    def add(self, value: float) -> None:
        """Take a measurement."""
        self._values.append((self._clock(), value))

    def __len__(self) -> int:
        self._forget()
        return len(self._values)

    def percentile(self, share: float) -> float | None:
        """Return what a share of the measurements, 0..1, does not exceed; None where there are none."""
        self._forget()
        if not self._values:
            return None
        ordered = sorted(value for _, value in self._values)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    def _forget(self) -> None:
        oldest = self._clock() - RECENT_S
        while self._values and self._values[0][0] < oldest:
            self._values.popleft()
