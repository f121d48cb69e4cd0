"""Which devices are fit to work: the bad one is taken out by itself, and comes back only when it has shown that it can.

| sign | what is done |
|---|---|
| said nothing for a second | held: no new work, and what it had goes elsewhere; taken back after two seconds of signs |
| out of memory, 3 times in 5 min and still up | drained and started again (each time the batch was halved already) |
| its process ended over a fault, 4 times in 10 min | rested for 5 min: each start costs its calls seconds |
| its driver lost its card | condemned: nothing short of another machine, or a person, helps |

Of which kind a fault was that ended a process does not matter: a batch is stuck, an engine fails every batch, a crash.

One that is merely slow is not judged here: what its batches take is what the shard is measured by, and its windows go
to others because they would be done there first.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

__all__ = ["Act", "DeviceSigns", "HealthPolicy", "Verdict"]

SILENT_S: Final = 1.0
"""Seconds without a report after which a device is held; it reports four times a second."""

STEADY_S: Final = 2.0
"""Seconds of reports without such a gap after which it is taken back."""

MEMORY_FAULTS: Final = (3, 300.0)
"""Batches that did not fit, and the seconds within which so many mean that halving does not help."""

DEATHS: Final = (4, 600.0)
"""Ends of its process, and the seconds within which so many mean that starting it again does not help."""

REST_S: Final = 300.0
"""Seconds a device rests that dies again and again."""

NEVER: Final = -math.inf

MEMORY: Final = "out_of_memory"
LOST: Final = "card"
"""Kinds of faults, as devices name them."""


class Act(StrEnum):
    """What is to be done with a device."""

    HOLD = "hold"
    """Give it no work, and what it has to others; it may come back at any moment."""
    RESUME = "resume"
    """Give it work again."""
    RESTART = "restart"
    """Let it finish what it has, then start its process again."""
    REST = "rest"
    """Let it finish what it has, and leave it down for ``REST_S``."""
    CONDEMN = "condemn"
    """The same for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSigns:
    """What is known about a device."""

    name: str
    ready: bool
    """Whether its process is up and warm."""
    silent_s: float = 0.0
    """Seconds since its last report."""
    deaths: int = 0
    """Times its process took jobs and ended over a fault, since it was first started."""
    faults: Mapping[str, int] = field(default_factory=dict[str, int])
    """Likewise, by kind; those that ended no process, too."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done with one device."""

    device: str
    act: Act
    reason: str
    """In words, for people."""


@dataclass(slots=True)
class _File:
    """What is remembered of a device."""

    counted_memory: int = 0
    counted_deaths: int = 0
    memory: deque[float] = field(default_factory=deque[float])
    deaths: deque[float] = field(default_factory=deque[float])
    anew: bool = False
    """Whether its process ended since the last look."""
    held: bool = False
    steady_since: float | None = None
    rests_until: float = NEVER
    condemned: bool = False


class HealthPolicy:
    """Judges the devices of one shard."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}

    def fit(self, device: str, now: float) -> bool:
        """Tell whether a device may be given work, as far as its health goes."""
        file = self._files.get(device)
        return file is None or not (file.held or file.condemned or now < file.rests_until)

    def tick(self, devices: Sequence[DeviceSigns], now: float) -> list[Verdict]:
        """Return what changes for devices now."""
        verdicts: list[Verdict] = []
        for signs in devices:
            file = self._files.setdefault(signs.name, _File())
            self._count(file, signs, now)
            verdict = self._judge(file, signs, now)
            if verdict is not None:
                verdicts.append(Verdict(signs.name, *verdict))
        return verdicts

    def _count(self, file: _File, signs: DeviceSigns, now: float) -> None:
        memory = signs.faults.get(MEMORY, 0)
        file.memory.extend([now] * (memory - file.counted_memory))
        file.deaths.extend([now] * (signs.deaths - file.counted_deaths))
        file.anew = signs.deaths > file.counted_deaths
        if file.anew:
            file.memory.clear()  # a new process is what these would have asked for
        file.counted_memory, file.counted_deaths = memory, signs.deaths
        for times, (_, within_s) in ((file.memory, MEMORY_FAULTS), (file.deaths, DEATHS)):
            while times and now - times[0] > within_s:
                times.popleft()

    def _judge(self, file: _File, signs: DeviceSigns, now: float) -> tuple[Act, str] | None:
        if file.condemned or now < file.rests_until:
            return None
        if file.rests_until > NEVER:
            file.rests_until = NEVER
            return Act.RESUME, f"it has rested for {REST_S / 60:g} min"
        if signs.faults.get(LOST):
            file.condemned = True
            return Act.CONDEMN, "its driver lost its card"
        if len(file.deaths) >= DEATHS[0]:
            file.rests_until = now + REST_S
            count = len(file.deaths)
            file.deaths.clear()
            return Act.REST, f"its process ended {count} times within {DEATHS[1] / 60:g} min"
        if len(file.memory) >= MEMORY_FAULTS[0]:
            count = len(file.memory)
            file.memory.clear()
            return (
                Act.RESTART,
                f"its memory was too small {count} times within {MEMORY_FAULTS[1] / 60:g} min",
            )
        return self._listen(file, signs, now)

    def _listen(self, file: _File, signs: DeviceSigns, now: float) -> tuple[Act, str] | None:
        """Hold a device that says nothing, and take it back when it speaks steadily."""
        if file.held and (file.anew or not signs.ready):
            file.held, file.steady_since = False, None
            return Act.RESUME, "its process is another one"
        if not signs.ready:
            return None
        if signs.silent_s > SILENT_S:
            file.steady_since = None
            if file.held:
                return None
            file.held = True
            return Act.HOLD, f"it has said nothing for {signs.silent_s:.1f} s"
        if not file.held:
            return None
        if file.steady_since is None:
            file.steady_since = now
        if now - file.steady_since < STEADY_S:
            return None
        file.held, file.steady_since = False, None
        return Act.RESUME, f"it has reported for {STEADY_S:g} s without a gap"
