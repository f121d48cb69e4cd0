"""How a call whose connection broke goes on: when to try, what to say, and when to give up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from trunkline.backoff import Backoff, Throttle
from trunkline.errors import CallFailed, ConnectionLost, Refused, TrunklineError

NEVER: Final = frozenset({1003, 1007, 1008, 1009, 1010, 4408, 4409})
"""Close codes after which the same would happen again, or somebody else has the call."""

PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that another try may not meet."""

_THROTTLES: Final[dict[str, Throttle]] = {}


@dataclass(slots=True)
class Absence:
    """One loss of a connection, until the call goes on or is given up.

    Args:
        longest_s: How long the server keeps the call, in seconds.
        server: Address, shared by all calls to it.
        reason: What broke the connection.
        chance: Returns a number from 0 to 1.
    """

    longest_s: float
    server: str
    reason: str
    chance: Callable[[], float] = random.random
    at_least_s: float = 0.0
    """What the server asked for last."""
    _began: float = field(init=False)
    _backoff: Backoff = field(init=False)

    def __post_init__(self) -> None:
        self._began = asyncio.get_running_loop().time()
        self._backoff = Backoff(self.chance)

    @property
    def tries(self) -> int:
        """How many waits there have been."""
        return self._backoff.tries

    def next_s(self) -> float:
        """Return how long to wait now, in seconds.

        Raises:
            ConnectionLost: If the call will be gone by then.
        """
        now = asyncio.get_running_loop().time()
        wait_s = self._backoff.next_s(self.at_least_s)
        while self._throttle.holds_back(self.chance(), now) and wait_s < self.longest_s:
            wait_s += self._backoff.next_s()
        self.at_least_s = 0.0
        if now - self._began + wait_s > self.longest_s:
            raise ConnectionLost(f"the call could not be resumed within {self.longest_s:g} s: {self.reason}")
        return wait_s

    def succeeded(self) -> None:
        """Take note that the server took the call back."""
        self._throttle.answered(taken=True, now=asyncio.get_running_loop().time())

    def failed(self, problem: TrunklineError) -> None:
        """Take note of a try that did not go through.

        Raises:
            CallFailed: If another try would meet the same.
        """
        self.reason = str(problem)
        self._throttle.answered(taken=False, now=asyncio.get_running_loop().time())
        if isinstance(problem, Refused):
            self.at_least_s = problem.retry_after_s or 0.0
            if problem.retry_after_s is None and problem.status not in PASSING:
                raise CallFailed(problem.code, f"the call could not be resumed: {problem.message}") from problem

    @property
    def _throttle(self) -> Throttle:
        return _THROTTLES.setdefault(self.server, Throttle())
