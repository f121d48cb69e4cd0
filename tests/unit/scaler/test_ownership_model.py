"""The whole protocol of ownership, through thousands of disturbed schedules; and without each of its rules."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final as Constant

import pytest

from scaler.ownership import Phase, Serve, SlotOwner, Stop
from streaming.records import CallState, Fence, Final, OutRecord, Progress
from streaming.reducer import ChannelProgress, Reducer
from tests.support.ownership_model import Rules, Violation, World, run, tally

SCHEDULES: Constant = int(os.environ.get("TRUNKLINE_SCHEDULES", "1000"))
"""``make chaos`` plays 10,000."""

PROCESSES: Constant = min(4, os.cpu_count() or 1)
WORTH_A_PROCESS: Constant = 2000
"""Schedules from which on starting further processes saves time."""

CAUGHT_WITHIN: Constant = 300
"""Schedules within which a missing rule must show."""


class AnyEpoch(Reducer):
    """Lets every former owner speak."""

    def accept(self, record: OutRecord) -> bool:
        return super().accept(record) if isinstance(record, Fence) else self._continues(record)


class AnyOrder(Reducer):
    """Takes finals whatever their number and place."""

    def _continues(self, record: OutRecord) -> bool:
        if not isinstance(record, Final | Progress):
            return super()._continues(record)
        number = (
            record.number + 1 if isinstance(record, Final) else self.progress(record.call, record.channel).next_number
        )
        self._channels[record.call, record.channel] = ChannelProgress(number, record.to_sample)
        return True


class Forgetful(Reducer):
    """Does not remember which calls are over."""

    def _close(self, call: str) -> None:
        self.forget(call)


class Impatient(SlotOwner):
    """Serves before it has read up to its own fence."""

    def read(self, offset: int, record: OutRecord) -> Serve | Stop | None:
        answer = super().read(offset, record)
        if self.phase is not Phase.RECOVERING:
            return answer
        self.phase = Phase.SERVING
        return self._serve()


class Careless(SlotOwner):
    """Forgets that a call which has ended still owes its end."""

    def note(self, audio_offset: int, calls: Iterable[CallState], owing: Iterable[str] = ()) -> None:
        super().note(audio_offset, calls)


def play(seeds: Iterable[int], rules: Rules) -> None:
    """Play schedules until one goes wrong."""
    for seed in seeds:
        run(seed, rules)


@pytest.mark.timeout(300)  # by far the longest of the unit tests, more so where coverage is measured
def test_no_disturbance_costs_repeats_or_changes_a_final() -> None:
    """Zombies, kills, pauses, doubled and delayed records, two coordinators, moves, retention: promise 1 holds."""
    print(f"schedules: seeds 0 to {SCHEDULES - 1}")  # noqa: T201  so that a failure can be played again
    began = time.monotonic()
    if SCHEDULES > WORTH_A_PROCESS:
        parts = [range(first, SCHEDULES, PROCESSES) for first in range(PROCESSES)]
        with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as processes:
            done = list(processes.map(tally, parts))
    else:
        done = [tally(range(SCHEDULES))]
    print(f"played in {time.monotonic() - began:.0f} s")  # noqa: T201
    # A game in which nothing happens would prove nothing.
    assert sum(part.fences for part in done) > 3 * SCHEDULES
    assert sum(part.dropped for part in done) > SCHEDULES
    assert sum(part.let_go for part in done) > SCHEDULES // 20


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(Rules(reducer=AnyEpoch), id="only the newest epoch counts"),
        pytest.param(Rules(reducer=AnyOrder), id="a final continues the last"),
        pytest.param(Rules(reducer=Forgetful), id="nothing counts of a call that is over"),
        pytest.param(Rules(owner=Impatient), id="an owner reads up to its fence first"),
        pytest.param(Rules(owner=Careless), id="a snapshot waits for calls that owe their end"),
        pytest.param(Rules(fences=False), id="an owner fences"),
        pytest.param(Rules(epoch_of=lambda offset, _: offset // 8), id="an epoch is the offset of its claim"),
        pytest.param(Rules(overtaking=True), id="records of one sender keep their order"),
        pytest.param(Rules(knows_heard_chunks=False), id="a chunk is heard once"),
        pytest.param(Rules(goes_on_from="committed"), id="state is what the log says"),
        pytest.param(Rules(clocks_restored=False), id="media clocks go on from the snapshot"),
        pytest.param(Rules(snapshots_anywhere=True), id="a snapshot begins where all is final"),
        pytest.param(Rules(stops_when_fenced=False), id="an owner stops at a newer fence"),
    ],
)
def test_without_a_rule_some_schedule_goes_wrong(rules: Rules) -> None:
    """Each rule is there for a reason; a check that cannot fail checks nothing."""
    with pytest.raises(Violation):
        play(range(CAUGHT_WITHIN), rules)


def test_a_schedule_is_the_same_every_time() -> None:
    """The seed that is printed is all it takes to see a failure again."""

    def played() -> World:
        return run(7)

    assert played().out.records == played().out.records
