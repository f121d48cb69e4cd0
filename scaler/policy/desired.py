"""How many shards there should be: enough for the promised quality, and warm ones for what may come meanwhile.

Up at once; down by half of what is too much, after a quiet time that grows with the time a shard takes to come back.
The warm ones are not left idle: they are given calls like all others, and their capacity goes into better rungs until
it is needed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scaler.policy.load import ShardLoad

__all__ = ["TARGET", "Bounds", "Desired", "DesiredPolicy", "Fleet"]

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

QUIET_STARTS: Final = 2.0
"""Starts of a shard for which too many must have been there before some are given up. Keeping them costs what they
cost; giving them up too soon costs a lower rung for as long as one takes to come back: where that is seconds, waiting
for ten minutes is the dearer mistake."""

QUIET_S: Final = (30.0, 600.0)
"""The least and the most seconds that this comes to."""

GIVE_UP_SHARE: Final = 0.5
"""Of those that are too many that are given up at once, at least one."""

GIVE_UP_S: Final = 30.0
"""Seconds between giving some up: by then their calls have moved, may move again, and show where they are."""

SLACK: Final = 2
"""Shards more than are needed that are kept."""

STRAINED_SHARE: Final = 0.05
"""Of shards that may be below the promised rung while others are given up: of a hundred one always is, by chance, and
moving calls is the answer to that."""


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
        self._needed = 0  # the most since then, or since some were given up
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
        below = sum(shard.rung > bounds.promised for shard in fleet.shards)
        strained = fleet.waiting > 0 or below > STRAINED_SHARE * len(fleet.shards)
        if needed > wanted - SLACK or strained:
            self._less_since = None
            wanted = max(wanted, needed)
        elif self._less_since is None:
            self._less_since, self._needed = now, needed
        else:
            self._needed = max(self._needed, needed)
            if now - self._less_since >= self._quiet_s and now - self._given_up_at >= GIVE_UP_S:
                wanted -= math.ceil(GIVE_UP_SHARE * (wanted - SLACK + 1 - self._needed))
                self._given_up_at, self._needed = now, needed
        self._wanted = wanted
        return wanted

    @property
    def _quiet_s(self) -> float:
        least, most = QUIET_S
        return min(max(least, QUIET_STARTS * self._bounds.cold_s), most)

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
        """Calls more, at the 95th percentile of the last hour, after as long as a shard takes to come.

        What was not seen of that hour counts as without growth: else whatever happens first would be what is usual.
        """
        ahead = max(1, math.ceil(self._bounds.cold_s / SAMPLE_S))
        counts = [calls for _, calls in self._calls]
        grown = sorted(max(0, later - earlier) for earlier, later in zip(counts, counts[ahead:], strict=False))
        beyond = math.floor(0.05 * MEMORY_S / SAMPLE_S)
        return float(grown[-1 - beyond]) if len(grown) > beyond else 0.0
