"""What happens to a fleet, and what is done about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from scaler.sim.hardware import Hardware
from streaming.ladder import Ladder, Rung

__all__ = [
    "ALL",
    "LAYERS",
    "Happening",
    "Kind",
    "Scaling",
    "Scenario",
    "Strategy",
    "article",
    "gpu_ladder",
    "processors",
]


class Scaling(StrEnum):
    """What decides how many devices there are."""

    NONE = "none"
    """Nobody."""
    MANUAL = "manual"
    """A person, who is told after some minutes."""
    CPU = "cpu"
    """The usual autoscaler, by processor load."""
    QUEUE = "queue"
    """An autoscaler that looks at the queue."""
    DESIRED = "desired"
    """Our own number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """Which layers are there."""

    name: str
    scaling: Scaling
    baked: bool = False
    """Whether images hold weights and are on the nodes: a device serves after seconds, not minutes."""
    warm: int = 0
    """Devices that stand ready without calls."""
    deadlines: bool = False
    """Whether lines are ours: deadlines, only the newest partial, batches by cost; and what a device had when it died
    is decoded elsewhere."""
    mover: bool = False
    ladder: bool = False
    admission: bool = False


LAYERS: Final = (
    Strategy(name="manual", scaling=Scaling.MANUAL),
    Strategy(name="CPU autoscaling", scaling=Scaling.CPU),
    Strategy(name="queue autoscaling", scaling=Scaling.QUEUE),
    Strategy(name="+ baked images, 2 warm", scaling=Scaling.QUEUE, baked=True, warm=2),
    Strategy(name="+ deadlines, newest partial", scaling=Scaling.QUEUE, baked=True, warm=2, deadlines=True),
    Strategy(name="+ mover", scaling=Scaling.QUEUE, baked=True, warm=2, deadlines=True, mover=True),
    Strategy(name="+ ladder", scaling=Scaling.QUEUE, baked=True, warm=2, deadlines=True, mover=True, ladder=True),
    Strategy(
        name="+ admission",
        scaling=Scaling.QUEUE,
        baked=True,
        warm=2,
        deadlines=True,
        mover=True,
        ladder=True,
        admission=True,
    ),
    Strategy(
        name="+ desired shards: all of it",
        scaling=Scaling.DESIRED,
        baked=True,
        deadlines=True,
        mover=True,
        ladder=True,
        admission=True,
    ),
    Strategy(
        name="all, but no further device", scaling=Scaling.NONE, deadlines=True, mover=True, ladder=True, admission=True
    ),
)
"""From what a fleet has by itself to all that we add."""

ALL: Final = LAYERS[-2]


class Kind(StrEnum):
    """What may happen to a device."""

    KILL = "kill"
    """Gone without a word."""
    SPOT = "spot"
    """Its machine is taken away, some time after that was said."""
    SLOW = "slow"
    """Three times slower for a while."""


@dataclass(frozen=True, slots=True)
class Happening:
    """Something happens to the fullest devices."""

    at_s: float
    kind: Kind
    devices: int = 1
    lasts_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A load and what goes wrong under it."""

    name: str
    hardware: Hardware
    ladder: Ladder
    devices: int
    """At first."""
    most: int
    """Devices there may be."""
    base: int
    """Calls in progress before and after the burst."""
    burst: int
    """Calls in progress during it."""
    warm_up_s: float = 30.0
    """What is not counted."""
    burst_at_s: float = 90.0
    ramp_s: float = 10.0
    burst_ends_s: float = 330.0
    ends_s: float = 540.0
    call_s: float = 240.0
    """Mean length of a call."""
    happenings: tuple[Happening, ...] = (Happening(210.0, Kind.KILL),)
    baked_s: float = 10.0
    cold_s: tuple[float, float] = (240.0, 720.0)
    notice_s: float = 120.0
    """How long before a spot machine is gone that is said."""
    hot_share: float = 0.0
    """Of calls that are of one tenant, who speaks twice as often."""
    promised: int = 0
    """The rung that capacity is provided for."""

    def times(self, factor: int) -> Scenario:
        """The same, so many times as large."""
        return replace(
            self,
            name=f"{self.name}, x{factor}",
            devices=self.devices * factor,
            most=self.most * factor,
            base=self.base * factor,
            burst=self.burst * factor,
            happenings=tuple(replace(each, devices=each.devices * factor) for each in self.happenings),
        )


PROMISED: Final = Rung("turbo", "turbo", cadence_s=1.0)
"""What capacity is provided for."""


def gpu_ladder() -> Ladder:
    """Shapes of Whisper. Above the promised rung is what spare capacity is used for, below what gives under load."""
    above = (
        Rung("large", "large", cadence_s=0.5),
        *(replace(PROMISED, cadence_s=cadence_s) for cadence_s in (0.5, 0.75)),
    )
    below = (replace(PROMISED, cadence_s=2.0), Rung("base", "turbo"), Rung("base", "small"), Rung("base", "base"))
    return Ladder((*above, PROMISED, *below, Rung("tiny", "base", cadence_s=2.0)))


def article(hardware: Hardware, devices: int, most: int) -> Scenario:
    """250 calls, 600 in a burst, and one device that dies in the middle of it."""
    return Scenario(
        name=f"250 to 600 calls on {hardware.name}",
        hardware=hardware,
        ladder=gpu_ladder(),
        promised=gpu_ladder().rungs.index(PROMISED),
        devices=devices,
        most=most,
        base=250,
        burst=600,
    )


def processors(hardware: Hardware, devices: int, most: int) -> Scenario:
    """The same load on machines with two cores each, as one of them was measured."""
    promised = Rung("tiny.en", "tiny.en", cadence_s=1.0)
    above = (
        *(Rung("base", "base", cadence_s=cadence_s) for cadence_s in (0.5, 1.0)),
        Rung("tiny.en", "base", cadence_s=1.0),
        replace(promised, cadence_s=0.75),
    )
    slower = (replace(promised, cadence_s=cadence_s) for cadence_s in (1.5, 2.0, 3.0, 4.0))
    ladder = Ladder((*above, promised, *slower))
    return replace(
        article(hardware, devices, most),
        name="250 to 600 calls on machines of 2 cores",
        ladder=ladder,
        promised=ladder.rungs.index(promised),
    )
