"""How many shards there should be: enough for the promised quality, and warm ones for what may come meanwhile.

Up at once; down one at a time, after ten quiet minutes. The warm ones are not left idle: they are given calls like all
others, and their capacity goes into better rungs until it is needed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scaler.policy.load import ShardLoad

__all__ = ["Bounds", "Desired", "DesiredPolicy", "Fleet"]

TARGET: Final = 0.75
"""Utilisation at the promised rung that shards are provided for."""

SEED_SHARE: Final = 0.05
"""Of a shard that a call is taken to need before any was seen."""

PATIENCE_S: Final = 5.0
"""Expected wait from which shards are added whatever the utilisation says: one for each such wait beyond it."""

SAMPLE_S: Final = 10.0
"""Seconds between two notes of how many calls there are."""

MEMORY_S: Final = 3600.0
"""How long they are kept."""

QUIET_S: Final = 600.0
"""Seconds that too many shards must have been there before one is given up."""

GIVE_UP_S: Final = 120.0
"""Seconds between giving up two."""

SLACK: Final = 2
"""Shards more than are needed that are kept."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the policy may ask for."""

    least: int = 1
    most: int = 1000
    promised: int = 0
    """The rung that capacity is provided for; those above it are what spare capacity is used for."""
    cold_s: float = 60.0
    """Seconds until another shard serves calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All shards together."""

    shards: Sequence[ShardLoad]
    """Those that serve calls."""
    starting: int = 0
    """Those on their way."""
    waiting: int = 0
    """Calls that were refused and may come again."""


@dataclass(frozen=True, slots=True)
class Desired:
    """How many shards there should be."""

    shards: int
    """Warm ones included."""
    warm: int
    reason: str
    """In words, for people."""


class DesiredPolicy:
    """Says how many shards there should be.

    Args:
        bounds: What it may ask for.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._wanted: int | None = None  # as many as there are, until more or, for a while, less is needed
        self._calls: deque[tuple[float, int]] = deque()
        self._less_since: float | None = None
        self._given_up_at = -math.inf

    def tick(self, fleet: Fleet, now: float) -> Desired:
        """Take the fleet's measurements.

        Args:
            fleet: As it is.
            now: Monotonic seconds.
        """
        calls = sum(shard.calls for shard in fleet.shards)
        self._note(calls, now)
        used = (shard.utilisation[self._bounds.promised] for shard in fleet.shards)
        asked = sum(each for each in used if math.isfinite(each))  # a shard without a device cannot be measured
        each = asked / calls if calls and asked else SEED_SHARE
        steady = math.ceil((asked + fleet.waiting * each) / TARGET - 1e-9)
        warm = max(1, math.ceil(self._growth() * each / TARGET - 1e-9))
        pressed = self._pressed(fleet)
        needed = max(steady + warm, pressed, self._bounds.least)
        reason = f"{asked:.1f} shards' work, {warm} warm"
        if pressed == needed and pressed > steady + warm:
            reason = f"finals wait {self._wait_s(fleet):.0f} s"
        wanted = self._settle(min(needed, self._bounds.most), fleet, now)
        return Desired(wanted, warm, reason)

    def _settle(self, needed: int, fleet: Fleet, now: float) -> int:
        """Follow the need up at once and down slowly; what is there at first stays until it is known to be too much."""
        bounds = self._bounds
        there = min(max(bounds.least, len(fleet.shards) + fleet.starting), bounds.most)
        wanted = there if self._wanted is None else self._wanted
        strained = fleet.waiting > 0 or any(shard.rung > bounds.promised for shard in fleet.shards)
        if needed > wanted - SLACK or strained:
            self._less_since = None
            wanted = max(wanted, needed)
        elif self._less_since is None:
            self._less_since = now
        elif now - self._less_since >= QUIET_S and now - self._given_up_at >= GIVE_UP_S:
            wanted -= 1
            self._given_up_at = now
        self._wanted = wanted
        return wanted

    def _pressed(self, fleet: Fleet) -> int:
        """What waiting finals ask for; nothing while an answer to that is on its way."""
        beyond_s = self._wait_s(fleet) - PATIENCE_S
        if beyond_s <= 0 or fleet.starting:
            return 0
        return len(fleet.shards) + math.ceil(beyond_s / PATIENCE_S)

    @staticmethod
    def _wait_s(fleet: Fleet) -> float:
        waits = [shard.wait_s for shard in fleet.shards if math.isfinite(shard.wait_s)]
        return sum(waits) / len(waits) if waits else 0.0

    def _note(self, calls: int, now: float) -> None:
        if not self._calls or now - self._calls[-1][0] >= SAMPLE_S:
            self._calls.append((now, calls))
        while now - self._calls[0][0] > MEMORY_S:
            self._calls.popleft()

    def _growth(self) -> float:
        """Calls more, at the 95th percentile of the last hour, after as long as a shard takes to come."""
        ahead = max(1, math.ceil(self._bounds.cold_s / SAMPLE_S))
        counts = [calls for _, calls in self._calls]
        grown = sorted(max(0, later - earlier) for earlier, later in zip(counts, counts[ahead:], strict=False))
        return float(grown[math.ceil(0.95 * len(grown)) - 1]) if grown else 0.0
