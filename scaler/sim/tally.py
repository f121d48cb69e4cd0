"""What a run came to: finals and how late they were, what was lost, how long it took to heal, what stood idle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from scaler.policy.load import P95_WINDOW_S

__all__ = ["FAILED_S", "LATE_S", "Moment", "Result", "Tally", "p95", "worst"]

LATE_S: Final = 3.0
"""The line that the product's owner drew."""

FAILED_S: Final = 10.0
"""A final that comes later helps nobody any more."""

HEAL_LOOK_S: Final = 5
"""Seconds without a bad one after which a fleet has healed."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A fleet at one second."""

    at: float
    calls: int
    devices: int
    """That serve, or could."""
    rung: float
    """Mean over devices."""
    p95_s: float
    """Of the finals of the last 5 s."""
    idle: float
    """Share of device time without a batch since the second before."""
    moves: int
    """Since the second before."""
    refused: int
    """Since the second before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run."""

    strategy: str
    finals: int
    failed: int
    """Finals that were lost or came more than 10 s late."""
    burst_p95_s: float
    """95th percentile of finals during the burst."""
    worst_p95_s: float
    """Highest of the 95th percentiles over 5 s, from the end of the warm-up to the end."""
    worst_s: float
    late_share: float
    """Finals of the burst that came more than 3 s late."""
    heal_s: float
    """From the first bad thing that happens to the last second with a p95 above 3 s; infinite if it ends so."""
    moves: int
    refused: int
    """Answers of 503; the same call may have got several."""
    turned_away: int
    """Calls that gave up asking."""
    steps: int
    """Changes of rung, all devices together."""
    turns: int
    """Changes of rung up to a better one that were taken back within a minute."""
    idle: float
    """Device time without a batch, over all that was paid for."""
    kept_share: float
    """Finals that the promised model wrote, or a better one."""
    device_s: float
    """Device seconds paid for, those of devices that start or stand warm included."""
    needed_s: float
    """Device seconds that the promised quality needed."""
    hot_p95_s: float
    """95th percentile of a hot tenant's finals during the burst; 0 without one."""
    moments: tuple[Moment, ...]

    @property
    def turned(self) -> float:
        """Changes of rung that were taken back, of all."""
        return self.turns / max(1, self.steps)


@dataclass(slots=True)
class Tally:
    """Takes note while a run goes on.

    Args:
        burst: When it begins and ends, in seconds.
        counted_from: When finals begin to count, in seconds.
        harmed_at: When the first bad thing happens, in seconds.
    """

    burst: tuple[float, float]
    counted_from: float
    harmed_at: float
    failed: int = 0
    moves: int = 0
    refused: int = 0
    turned_away: int = 0
    steps: int = 0
    turns: int = 0
    kept: int = 0
    finals: list[tuple[float, float, bool]] = field(default_factory=list[tuple[float, float, bool]])
    """When it came, how late it was, and whether it was a hot tenant's."""
    moments: list[Moment] = field(default_factory=list[Moment])

    def final(self, now: float, latency_s: float, *, hot: bool, kept: bool) -> None:
        """Count a final."""
        if now < self.counted_from:
            return
        self.finals.append((now, latency_s, hot))
        self.failed += latency_s > FAILED_S
        self.kept += kept

    def lost(self, now: float, finals: int = 1) -> None:
        """Count finals that never come."""
        if now >= self.counted_from:
            self.failed += finals

    def recent_p95(self, now: float) -> float:
        """95th percentile of the last seconds' finals, and of none 0."""
        recent: list[float] = []
        for at, latency_s, _ in reversed(self.finals):
            if now - at > P95_WINDOW_S:
                break
            recent.append(latency_s)
        return p95(recent)

    def result(self, strategy: str, *, busy_s: float, paid_s: float, needed_s: float) -> Result:
        """Sum up.

        Args:
            strategy: What was tried.
            busy_s: Device seconds with a batch.
            paid_s: Device seconds.
            needed_s: Device seconds that the promised quality needed.
        """
        begins, ends = self.burst
        burst = [(late, hot) for at, late, hot in self.finals if begins <= at <= ends + FAILED_S]
        ordinary = [late for late, hot in burst if not hot]
        counted = [moment.p95_s for moment in self.moments if moment.at >= self.counted_from]
        return Result(
            strategy=strategy,
            finals=len(self.finals),
            failed=self.failed,
            burst_p95_s=p95(ordinary),
            worst_p95_s=max(counted, default=0.0),
            worst_s=max((late for _, late, _ in self.finals), default=0.0),
            late_share=sum(late > LATE_S for late, _ in burst) / max(1, len(burst)),
            heal_s=self._heal_s(),
            moves=self.moves,
            refused=self.refused,
            turned_away=self.turned_away,
            steps=self.steps,
            turns=self.turns,
            idle=1 - busy_s / max(paid_s, 1e-9),
            kept_share=self.kept / max(1, len(self.finals)),
            device_s=paid_s,
            needed_s=needed_s,
            hot_p95_s=p95([late for late, hot in burst if hot]),
            moments=tuple(self.moments),
        )

    def _heal_s(self) -> float:
        after = [moment for moment in self.moments if moment.at >= self.harmed_at]
        bad = [moment.at for moment in after if moment.p95_s > LATE_S]
        if not bad:
            return 0.0
        if after[-1].at - bad[-1] < HEAL_LOOK_S:
            return math.inf
        return bad[-1] - self.harmed_at


def worst(results: Sequence[Result]) -> Result:
    """Return of several runs of the same the worst of each figure, with the moments of the first.

    Steps and steps taken back are those of one run: the one that took back most of its own.

    Args:
        results: At least one, which differ by their seeds.
    """
    unsteadiest = max(results, key=lambda each: (each.turned, each.steps))
    return replace(
        results[0],
        finals=min(each.finals for each in results),
        failed=max(each.failed for each in results),
        burst_p95_s=max(each.burst_p95_s for each in results),
        worst_p95_s=max(each.worst_p95_s for each in results),
        worst_s=max(each.worst_s for each in results),
        late_share=max(each.late_share for each in results),
        heal_s=max(each.heal_s for each in results),
        moves=max(each.moves for each in results),
        refused=max(each.refused for each in results),
        turned_away=max(each.turned_away for each in results),
        steps=unsteadiest.steps,
        turns=unsteadiest.turns,
        idle=max(each.idle for each in results),
        kept_share=min(each.kept_share for each in results),
        device_s=max(each.device_s for each in results),
        needed_s=max(each.needed_s for each in results),
        hot_p95_s=max(each.hot_p95_s for each in results),
    )


def p95(values: Sequence[float]) -> float:
    """95th percentile, by rank; 0 of none."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1] if values else 0.0
