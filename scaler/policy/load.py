"""What policies are told about a shard, once a second."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

__all__ = ["P95_WINDOW_S", "YOUNG_S", "ShardLoad"]

P95_WINDOW_S: Final = 5.0
"""Seconds of finals that a 95th percentile is taken over: for so long it still tells of the time before a change."""

YOUNG_S: Final = 20.0
"""Seconds until what a call asks for is seen in full: people greet, listen, and only then talk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardLoad:
    """How one shard fares."""

    name: str
    calls: int
    """In progress."""
    room: int
    """Further calls it can take and still serve all of them at its last rung."""
    rung: int
    """In force; 0 is the best."""
    utilisation: tuple[float, ...]
    """By rung, the best first: device time that its calls ask for there, over what its ready devices have. Above 1 it
    cannot keep up."""
    wait_s: float
    """Seconds a final handed over now would wait; infinite while no device is ready."""
    backlog_s: float = 0.0
    """Seconds until the devices have done all they were given, partials included; infinite while none is ready."""
    final_p95_s: float = 0.0
    """95th percentile of the latency of finals over the last ``P95_WINDOW_S``; 0 if there were none."""
    draining: bool = False
    """Whether it wants to be rid of its calls."""
    seen_at: float = 0.0
    """When this was measured or read, in monotonic seconds of whoever decides."""

    @property
    def used(self) -> float:
        """Utilisation at the rung in force."""
        return self.utilisation[self.rung]

    def promising(self, rung: int) -> ShardLoad:
        """Return the same for who asks about what is promised: the rungs above it are as good as that rung.

        Args:
            rung: That is promised, of this load's.
        """
        return replace(self, utilisation=self.utilisation[rung:], rung=max(0, self.rung - rung))
