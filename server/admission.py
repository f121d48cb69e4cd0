"""Whether a call may come in, and into which slot: the boundary to whoever decides, and the decision by counting."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from server.directory import Directory
from streaming.call import CallSpec

SPREAD: Final = 2.0
"""How many times longer than others some refused callers are told to wait: those who are refused together must not all
come back together."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The call lives in this slot."""

    slot: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The call cannot come in now."""

    status: int
    """HTTP status where the connection is not open yet: 409, 429 or 503."""
    retry_after_s: float | None
    """When it is worth trying again; None where it is not."""
    code: str
    """``overloaded`` or ``duplicate_call``."""
    message: str


class Admission(Protocol):
    """Decides at once, from what is known: it waits for nobody."""

    def room(self, tenant: str, now: float) -> Refused | None:
        """Return why a tenant's next call could not come in, before anything else is known about it."""
        ...

    def decide(self, spec: CallSpec, now: float) -> Accepted | Refused:
        """Find a place for a call; the caller puts it into the directory."""
        ...


class CountingAdmission:
    """Admits up to a number of calls, spread evenly over the slots.

    Args:
        directory: Counts the calls.
        slots: Returns the slots that are served and have room.
        max_calls: Calls of all tenants together.
        max_calls_per_tenant: Calls of one tenant.
        retry_after_s: The least that refused callers are told, in seconds; ``SPREAD`` times as much is the most.
        rng: Spreads them.
    """

    def __init__(
        self,
        directory: Directory,
        slots: Callable[[], Collection[int]],
        max_calls: int,
        max_calls_per_tenant: int,
        retry_after_s: float,
        *,
        rng: random.Random,
    ) -> None:
        self._directory = directory
        self._slots = slots
        self._max_calls = max_calls
        self._max_calls_per_tenant = max_calls_per_tenant
        self._retry_after_s = retry_after_s
        self._rng = rng

    def room(self, tenant: str, now: float) -> Refused | None:
        """Return why a tenant's next call could not come in."""
        del now
        if not self._slots():
            return self._later(503, "calls cannot be served at the moment; try again")
        if self._directory.live >= self._max_calls:
            return self._later(503, "the server is full; try again")
        if self._directory.live_of(tenant) >= self._max_calls_per_tenant:
            return self._later(429, "your limit of calls is reached; try again")
        return None

    def decide(self, spec: CallSpec, now: float) -> Accepted | Refused:
        """Find the emptiest slot for a call."""
        if self._directory.find(spec.call) is not None:  # a transcript that is over stays as it is
            return Refused(409, None, "duplicate_call", "a call of this id exists or did lately; choose another id")
        return self.room(spec.tenant, now) or Accepted(self._directory.emptiest(self._slots()))

    def _later(self, status: int, message: str) -> Refused:
        wait_s = self._retry_after_s * self._rng.uniform(1.0, SPREAD)
        return Refused(status, round(wait_s, 1), "overloaded", message)
