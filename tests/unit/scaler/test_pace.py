"""The ladder is descended at once and climbed slowly."""

from __future__ import annotations

import math

import pytest

from scaler.pace import CALM_TICKS, PaceKeeper
from streaming.ladder import Rung, stretched

BUSY, SO_SO, CALM = (0.5, 0.5), (0.2, 0.2), (0.01, 0.01)
"""Expected wait of a final, and all work before the devices."""
ONLY_PARTIALS_WAIT = (0.01, 1.2)
SOME_PARTIALS_WAIT = (0.01, 0.5)
NO_DEVICE = (math.inf, math.inf)
LADDER = stretched(Rung("large", "large"))


def test_without_load_the_best_rung_is_in_force() -> None:
    keeper = PaceKeeper(LADDER)

    assert keeper.rung == LADDER[0]
    assert keeper.tick(*CALM) is None


def test_every_busy_second_is_a_step_down_until_there_is_none_below() -> None:
    """Whatever the ladder gives first is what callers miss least."""
    keeper = PaceKeeper(LADDER)

    assert [keeper.tick(*BUSY) for _ in LADDER] == [*LADDER.rungs[1:], None]
    assert keeper.rung == LADDER.rungs[-1]


def test_devices_that_start_are_not_taken_for_devices_that_are_busy() -> None:
    """Else each start and each restart would be followed by half a minute of slow partials."""
    keeper = PaceKeeper(LADDER)

    assert [keeper.tick(*NO_DEVICE) for _ in range(20)] == [None] * 20
    assert keeper.rung == LADDER[0]


def test_between_the_marks_nothing_changes() -> None:
    """Hysteresis: a load that stays as it is does not make the pace swing."""
    keeper = PaceKeeper(LADDER)
    keeper.tick(*BUSY)

    assert [keeper.tick(*SO_SO) for _ in range(20)] == [None] * 20


def test_the_ladder_is_climbed_a_step_at_a_time_after_calm_seconds_in_a_row() -> None:
    keeper = PaceKeeper(LADDER)
    keeper.tick(*BUSY)
    keeper.tick(*BUSY)

    rungs = [keeper.tick(*CALM) for _ in range(3 * CALM_TICKS)]

    changes = {second: rung for second, rung in enumerate(rungs, start=1) if rung is not None}
    assert changes == {CALM_TICKS: LADDER[1], 2 * CALM_TICKS: LADDER[0]}


def test_partials_that_pile_up_behind_finals_slow_partials_too() -> None:
    """Finals overtake, so their wait says nothing of an overload that only partials feel."""
    keeper = PaceKeeper(LADDER)

    assert keeper.tick(*ONLY_PARTIALS_WAIT) == LADDER[1]
    assert [keeper.tick(*SOME_PARTIALS_WAIT) for _ in range(20)] == [None] * 20


@pytest.mark.parametrize("interruption", [BUSY, SO_SO, ONLY_PARTIALS_WAIT, SOME_PARTIALS_WAIT, NO_DEVICE])
def test_calm_that_is_interrupted_counts_anew(interruption: tuple[float, float]) -> None:
    keeper = PaceKeeper(LADDER)
    keeper.tick(*BUSY)
    for _ in range(CALM_TICKS - 1):
        keeper.tick(*CALM)
    keeper.tick(*interruption)

    assert [keeper.tick(*CALM) for _ in range(CALM_TICKS - 1)] == [None] * (CALM_TICKS - 1)
    assert keeper.tick(*CALM) is not None
