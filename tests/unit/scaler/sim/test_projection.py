"""What a rung is said to cost while another one is in force, held against a fleet that really runs at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Final

import pytest

from scaler.sim.__main__ import PROFILE
from scaler.sim.batching import Deadlines, measured
from scaler.sim.fleet import Fleet
from scaler.sim.hardware import A10G, Hardware
from scaler.sim.queueing import model_of
from scaler.sim.scenario import Scaling, Strategy, article
from streaming.decoding import DecodeJob
from streaming.ladder import Ladder, Rung, stretched

FROM_S: Final = 20.0
TO_S: Final = 160.0
SEED: Final = 11

TOLERANCE: Final = 0.2
"""Of what a rung costs: half of the room that is left above the utilisation that shards are provided for, or less."""

AS_IT_IS: Final = 0.02
"""The same at the rung in force, where nothing is projected."""

FIXED: Final = Strategy(name="one device, one rung", scaling=Scaling.NONE, deadlines=True)


@dataclass
class Asked:
    """Device time of all windows that were asked for, each by its own length."""

    device_s: float = 0.0


def projected_and_asked(hardware: Hardware, ladder: Ladder, force: int, calls: int) -> tuple[list[float], float]:
    """Run at one rung; return the mean utilisation that is projected to each, and what was asked for at this one."""
    asked = Asked()

    class Line(Deadlines):
        def add(self, job: DecodeJob, now: float) -> Sequence[DecodeJob]:
            if now > FROM_S:
                asked.device_s += self.each_s(model_of(job, ladder[force]), job.window.seconds, 1)
            return super().add(job, now)

    scenario = replace(
        article(hardware, devices=1, most=1), ladder=ladder, promised=force, base=calls, burst=calls + 1,
        happenings=(), call_s=1e6, warm_up_s=10.0, burst_at_s=TO_S - 1, burst_ends_s=TO_S, ends_s=TO_S,
    )  # fmt: skip
    fleet = Fleet(scenario, FIXED, Line, SEED)
    seen: list[Sequence[float]] = []

    def look() -> None:
        load = fleet.shards[0].load
        if load is not None and fleet.clock.now > FROM_S:
            seen.append(load.utilisation)

    fleet.clock.every(1.0, look)
    fleet.run()
    return [fmean(at_rung) for at_rung in zip(*seen, strict=True)], asked.device_s / (TO_S - FROM_S)


def gpu() -> tuple[Hardware, Ladder, int]:
    best = Rung("turbo", "turbo", cadence_s=0.5, lead_s=5.0)
    ladder = stretched(replace(best, cadence_s=1.0))
    return A10G, Ladder((best, ladder[0], ladder[-3], ladder[-1], replace(ladder[-1], final_model="base"))), 10


def processor() -> tuple[Hardware, Ladder, int]:
    small = Rung("tiny.en", "tiny.en", cadence_s=1.0, lead_s=5.0)
    ladder = stretched(replace(small, partial_model="base", final_model="base"))
    hasty = replace(small, lead_s=0.0, speculate=False)
    return measured(PROFILE), Ladder((ladder[0], ladder[-3], ladder[-1], small, hasty)), 4


@pytest.mark.parametrize("case", [gpu, processor])
def test_from_each_rung_to_each_other_the_need_is_what_it_is_there(
    case: Callable[[], tuple[Hardware, Ladder, int]],
) -> None:
    """With leads, guesses, rare partials and small models on the one side and without them on the other."""
    hardware, ladder, calls = case()
    runs = [projected_and_asked(hardware, ladder, force, calls) for force in range(len(ladder))]
    there = [asked for _, asked in runs]
    assert max(there) < 0.7, "a device that cannot keep up is asked for less"

    for force, (projected, _) in enumerate(runs):
        assert projected == pytest.approx(there, rel=TOLERANCE), f"from rung {force}"
        assert projected[force] == pytest.approx(there[force], rel=AS_IT_IS)
