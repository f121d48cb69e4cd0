"""Which rung is in force: down at once, up slowly, and never back and forth.

Steps that only slow partials down cost nobody much: they are taken early, and back soon. Steps to a smaller model are
taken later and back later. What is spare is used for going up before anything else is done with it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

from scaler.policy.load import P95_WINDOW_S, ShardLoad

__all__ = ["CRITICAL", "MODEL_CALM", "MODEL_DOWN", "PACE_CALM", "PACE_DOWN", "LadderPolicy", "Marks", "Step"]


@dataclass(frozen=True, slots=True)
class Marks:
    """Limits of four measurements."""

    wait_s: float
    """Seconds a final would wait."""
    backlog_s: float
    """Seconds of work before the devices."""
    p95_s: float
    """95th percentile of the latency of finals."""
    utilisation: float

    def passed(self, load: ShardLoad, used: float, *, p95_known: bool) -> str:
        """Say which limit is passed, in words; empty if none is."""
        if load.wait_s > self.wait_s:
            return f"finals wait {load.wait_s:.1f} s, more than {self.wait_s:g} s"
        if load.backlog_s > self.backlog_s:
            return f"{load.backlog_s:.1f} s of work lie before the devices, more than {self.backlog_s:g} s"
        if p95_known and load.final_p95_s > self.p95_s:
            return f"p95 of finals is {load.final_p95_s:.1f} s, above {self.p95_s:g} s"
        if used > self.utilisation:
            return f"devices are asked for {used:.0%} of what they can do, more than {self.utilisation:.0%}"
        return ""


PACE_DOWN: Final = Marks(wait_s=0.4, backlog_s=0.8, p95_s=1.8, utilisation=0.9)
"""Above any of these, for two looks, partials come less often. A single look may see no more than one batch that runs:
finals wait for that on a device that keeps up, too."""

MODEL_DOWN: Final = Marks(wait_s=0.8, backlog_s=2.0, p95_s=2.1, utilisation=0.95)
"""The same for a smaller model: well before the 3 s that are the emergency."""

CRITICAL: Final = Marks(wait_s=1.5, backlog_s=4.0, p95_s=2.4, utilisation=math.inf)
"""Above any of these the next rung is taken at once, whatever it is."""

DESPERATE_S: Final = 3.0
"""Wait of a final above which two rungs are taken at a time."""

PACE_CALM: Final = Marks(wait_s=0.2, backlog_s=0.4, p95_s=1.5, utilisation=0.8)
"""Below all of these, the utilisation being that of the rung above, partials may come more often."""

MODEL_CALM: Final = Marks(wait_s=0.2, backlog_s=0.4, p95_s=1.5, utilisation=0.7)
"""The same for a larger model."""

PACE_CALM_S: Final = 5.0
"""Seconds of calm before partials come more often again."""

MODEL_CALM_S: Final = 15.0
"""Seconds of calm before a larger model is tried."""

MODEL_REST_S: Final = 20.0
"""Least seconds between any change and a larger model."""

SETTLE_S: Final = 1.0
"""Least seconds between two steps down: the first must have had a chance to help."""

FLAP_S: Final = 60.0
"""A step down that comes so soon after one up means that it should not have been taken."""

MOST_PATIENCE: Final = 30.0
"""Such a mistake doubles the rest before the same rung is tried again, up to this factor: 10 min for a model."""


@dataclass(frozen=True, slots=True)
class Step:
    """Another rung is in force from now on."""

    rung: int
    before: int
    reason: str
    """In words, for people."""

    @property
    def is_down(self) -> bool:
        """Whether quality gets worse."""
        return self.rung > self.before


class LadderPolicy:
    """Keeps one shard on the best rung it can hold.

    Args:
        levels: What decodes at each rung, the best first; between two that are equal only the pace changes.
        rung: In force at first.

    Raises:
        ValueError: If the ladder has no such rung.
    """

    def __init__(self, levels: Sequence[Hashable], *, rung: int = 0) -> None:
        if not 0 <= rung < len(levels):
            raise ValueError(f"there is no rung {rung} on a ladder of {len(levels)}")
        self.rung = rung
        """In force."""
        self._levels = tuple(levels)
        self._changed_at = -math.inf
        self._climbed_at = -math.inf
        self._calm_since: float | None = None
        self._hot_looks = 0
        self._patience = [1.0] * len(levels)  # factor on the rest before each rung is climbed to

    def tick(self, load: ShardLoad, now: float) -> Step | None:
        """Take a second's measurement.

        Args:
            load: Whose utilisation has an entry for each rung.
            now: Monotonic seconds.

        Returns:
            The step that is taken, if any.
        """
        if math.isinf(load.wait_s):  # devices that start say nothing about load
            self._calm_since = None
            return None
        return self._down(load, now) or self._up(load, now)

    # --- down ------------------------------------------------------------------------------------------------------

    def _down(self, load: ShardLoad, now: float) -> Step | None:
        below = self.rung + 1
        if below == len(self._levels):
            return None
        p95_known = now - self._changed_at >= P95_WINDOW_S
        is_pace = self._levels[below] == self._levels[self.rung]
        critical = CRITICAL.passed(load, load.utilisation[self.rung], p95_known=p95_known)
        marks = PACE_DOWN if is_pace else MODEL_DOWN
        reason = critical or marks.passed(load, load.utilisation[self.rung], p95_known=p95_known)
        self._hot_looks = self._hot_looks + 1 if reason else 0
        if not reason or now - self._changed_at < SETTLE_S or not (critical or self._hot_looks > 1):
            return None
        flapped = now - self._climbed_at <= FLAP_S
        self._patience[self.rung] = min(2 * self._patience[self.rung], MOST_PATIENCE) if flapped else 1.0
        self._climbed_at = -math.inf
        last = len(self._levels) - 1
        return self._change(min(below + (load.wait_s > DESPERATE_S), last), reason, now)

    # --- up --------------------------------------------------------------------------------------------------------

    def _up(self, load: ShardLoad, now: float) -> Step | None:
        above = self.rung - 1
        if above < 0:
            return None
        p95_known = now - self._changed_at >= P95_WINDOW_S
        is_pace = self._levels[above] == self._levels[self.rung]
        marks = PACE_CALM if is_pace else MODEL_CALM
        if marks.passed(load, load.utilisation[above], p95_known=p95_known):
            self._calm_since = None
            return None
        if self._calm_since is None:
            self._calm_since = now
        calm_s, rest_s = (PACE_CALM_S, PACE_CALM_S) if is_pace else (MODEL_CALM_S, MODEL_REST_S)
        if now - self._calm_since < calm_s or now - self._changed_at < rest_s * self._patience[above]:
            return None
        step = self._change(above, f"{load.utilisation[above]:.0%} of the rung above would be used", now)
        self._climbed_at = now
        return step

    def _change(self, rung: int, reason: str, now: float) -> Step:
        before, self.rung = self.rung, rung
        self._changed_at = now
        self._calm_since = None
        self._hot_looks = 0
        return Step(rung, before, reason)
