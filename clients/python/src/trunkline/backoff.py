"""When to try again: later each time, at random, and seldom where a server refuses most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FIRST_S: Final = 0.25
LONGEST_S: Final = 8.0
FORGET_S: Final = 60.0
"""Seconds in which a server's past answers lose half their weight."""


class Backoff:
    """Waits with full jitter: anything between nothing and a bound that doubles, so that clients do not come at once.

    Args:
        chance: Returns a number from 0 to 1.
    """

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self.tries = 0
        """How many waits there have been."""

    def next_s(self, at_least_s: float = 0.0) -> float:
        """Return how long to wait before the next try, in seconds.

        Args:
            at_least_s: What the server asked for; the jitter comes on top.
        """
        bound = min(LONGEST_S, FIRST_S * 2.0**self.tries)
        self.tries += 1
        return at_least_s + bound * self._chance()


class Throttle:
    """Keeps a client from asking a server that refuses: the more of its requests fail, the fewer it makes.

    Google's rule for overloaded services: of ``n`` requests of which ``k`` were taken, the next is held back with
    the probability ``(n - 2k) / (n + 1)``. One is shared by all calls of a process to one server.
    """

    def __init__(self) -> None:
        self._requests = 0.0
        self._taken = 0.0
        self._at = 0.0

    def holds_back(self, chance: float, now: float) -> bool:
        """Tell whether the next request should wait.

        Args:
            chance: A random number, 0..1.
            now: Monotonic seconds.
        """
        self._fade(now)
        return chance < (self._requests - 2 * self._taken) / (self._requests + 1)

    def answered(self, *, taken: bool, now: float) -> None:
        """Take note of an answer."""
        self._fade(now)
        self._requests += 1
        self._taken += taken

    def _fade(self, now: float) -> None:
        kept = 0.5 ** (max(0.0, now - self._at) / FORGET_S)
        self._at = now
        self._requests *= kept
        self._taken *= kept
