"""What work used, and what others used beside it: where that is not near zero, times by the clock are too long."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from tests.bench.running import PROC, busy_s


@dataclass(frozen=True, slots=True)
class Used:
    """A stretch of work, in seconds; those of several add up."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    """Of this process and of those below it that have ended."""
    machine_s: float = 0.0
    """Of all processors together, whoever used them."""

    @property
    def others_cores(self) -> float:
        """Processors that others used on average."""
        return round(max(0.0, self.machine_s - self.cpu_s) / self.wall_s, 2) if self.wall_s else 0.0

    def __add__(self, other: Used) -> Used:
        return Used(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s, self.machine_s + other.machine_s)

    def __sub__(self, other: Used) -> Used:
        return Used(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s, self.machine_s - other.machine_s)

    def __str__(self) -> str:
        return f"{self.wall_s:.0f} s, {self.cpu_s:.0f} s of processors, others {self.others_cores:.1f} cores beside it"


def _now() -> Used:
    own = os.times()
    cpu_s = own.user + own.system + own.children_user + own.children_system
    machine = PROC / "stat"
    return Used(time.monotonic(), cpu_s, busy_s(machine.read_text()) if machine.is_file() else cpu_s)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of work that began when this was made."""

    _began: Used = field(default_factory=_now)

    def used(self) -> Used:
        """Return what was used until now."""
        return _now() - self._began
