"""Partials slow down at once and speed up slowly."""

from __future__ import annotations

import math

import pytest

from scaler.pace import CALM_TICKS, STEPS, Pace, PaceKeeper

BUSY, SO_SO, CALM = (0.5, 0.5), (0.2, 0.2), (0.01, 0.01)
"""Expected wait of a final, and all work before the devices."""
ONLY_PARTIALS_WAIT = (0.01, 1.2)
SOME_PARTIALS_WAIT = (0.01, 0.5)
NO_DEVICE = (math.inf, math.inf)


def test_without_load_the_pace_is_what_was_set() -> None:
    keeper = PaceKeeper(1.2)

    assert keeper.pace == Pace(1.2, speculate=True, thorough=True)
    assert keeper.tick(*CALM) is None


def test_every_busy_second_slows_partials_by_a_step_and_guesses_stop_before_the_last() -> None:
    """Partials give first, then guesses that may be thrown away."""
    keeper = PaceKeeper(1.0)

    paces = [keeper.tick(*BUSY) for _ in range(len(STEPS))]

    assert paces == [
        Pace(1.5, True, False),
        Pace(2.0, True, False),
        Pace(3.0, False, False),
        Pace(4.0, False, False),
        None,
    ]
    assert keeper.pace == Pace(4.0, speculate=False, thorough=False)


def test_devices_that_start_are_not_taken_for_devices_that_are_busy() -> None:
    """Else each start and each restart would be followed by half a minute of slow partials."""
    keeper = PaceKeeper(1.0)

    assert [keeper.tick(*NO_DEVICE) for _ in range(20)] == [None] * 20
    assert keeper.pace.cadence_s == 1.0


def test_between_the_marks_nothing_changes() -> None:
    """Hysteresis: a load that stays as it is does not make the pace swing."""
    keeper = PaceKeeper(1.0)
    keeper.tick(*BUSY)

    assert [keeper.tick(*SO_SO) for _ in range(20)] == [None] * 20


def test_partials_come_faster_again_a_step_at_a_time_after_calm_seconds_in_a_row() -> None:
    keeper = PaceKeeper(1.0)
    keeper.tick(*BUSY)
    keeper.tick(*BUSY)

    paces = [keeper.tick(*CALM) for _ in range(3 * CALM_TICKS)]

    changes = {second: pace for second, pace in enumerate(paces, start=1) if pace is not None}
    assert changes == {CALM_TICKS: Pace(1.5, True, False), 2 * CALM_TICKS: Pace(1.0, True, True)}


def test_partials_that_pile_up_behind_finals_slow_partials_too() -> None:
    """Finals overtake, so their wait says nothing of an overload that only partials feel."""
    keeper = PaceKeeper(1.0)

    assert keeper.tick(*ONLY_PARTIALS_WAIT) == Pace(1.5, speculate=True, thorough=False)
    assert [keeper.tick(*SOME_PARTIALS_WAIT) for _ in range(20)] == [None] * 20


@pytest.mark.parametrize("interruption", [BUSY, SO_SO, ONLY_PARTIALS_WAIT, SOME_PARTIALS_WAIT, NO_DEVICE])
def test_calm_that_is_interrupted_counts_anew(interruption: tuple[float, float]) -> None:
    keeper = PaceKeeper(1.0)
    keeper.tick(*BUSY)
    for _ in range(CALM_TICKS - 1):
        keeper.tick(*CALM)
    keeper.tick(*interruption)

    assert [keeper.tick(*CALM) for _ in range(CALM_TICKS - 1)] == [None] * (CALM_TICKS - 1)
    assert keeper.tick(*CALM) is not None
