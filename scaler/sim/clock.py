"""Discrete events: time jumps from one to the next."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

__all__ = ["Clock"]


class Clock:
    """Runs events in the order of their times; of equal times, in the order of asking."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds."""
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._asked = 0

    def at(self, when: float, what: Callable[..., None], *args: Any) -> None:
        """Have something done at a time; at once if that is over."""
        self._asked += 1
        heapq.heappush(self._events, (max(when, self.now), self._asked, what, args))

    def after(self, seconds: float, what: Callable[..., None], *args: Any) -> None:
        """Have something done later."""
        self.at(self.now + seconds, what, *args)

    def every(self, seconds: float, what: Callable[[], None]) -> None:
        """Have something done again and again, first after so many seconds."""

        def again() -> None:
            what()
            self.after(seconds, again)

        self.after(seconds, again)

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._events and self._events[0][0] <= until:
            self.now, _, what, args = heapq.heappop(self._events)
            what(*args)
        self.now = until
