"""What calls ask for is counted at every rung, whatever is in force."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from scaler.policy.demand import GUESSED, MEMORY_S, DemandMeter
from streaming.decoding import Kind
from streaming.ladder import Ladder, Rung

LADDER = Ladder(
    (
        Rung("small", "large", cadence_s=1.0, beam=5),
        Rung("small", "large", cadence_s=2.0),
        Rung("small", "small", cadence_s=2.0),
    )
)


def cost(model: str, seconds: float, beam: int) -> float:
    """A hundredth of a device for a second of a small model, ten of them for a large one, and beams double it."""
    return 0.01 * seconds * (10 if model == "large" else 1) * (2 if beam > 1 else 1)


def test_nothing_asked_for_is_no_load() -> None:
    assert DemandMeter(LADDER, cost).utilisation(1, 5.0) == (0.0, 0.0, 0.0)


def test_each_rung_counts_what_it_would_cost() -> None:
    meter = DemandMeter(LADDER, cost)
    for now in range(10):
        meter.asked(Kind.PARTIAL, 2.0, 0, now)
    meter.asked(Kind.FINAL, 5.0, 0, 9.5)

    used = meter.utilisation(1, 10.0)

    assert used == pytest.approx(((10 * 0.02 + 1.0) / 10, (5 * 0.02 + 0.5) / 10, (5 * 0.02 + 0.05) / 10))


def test_rare_partials_stand_for_the_speech_they_were_asked_for() -> None:
    """A slower pace must not look as if less were said."""
    meter = DemandMeter(LADDER, cost)
    for now in range(0, 10, 2):
        meter.asked(Kind.PARTIAL, 2.0, 1, now)

    assert meter.utilisation(1, 10.0)[0] == pytest.approx(10 * 0.02 / 10)


def test_twice_the_devices_are_half_as_busy_and_none_are_overwhelmed() -> None:
    meter = DemandMeter(LADDER, cost)
    meter.asked(Kind.FINAL, 5.0, 0, 0.0)

    one, two = meter.utilisation(1, 10.0), meter.utilisation(2, 10.0)

    assert two == pytest.approx([each / 2 for each in one])
    assert meter.utilisation(0, 10.0) == (math.inf,) * 3


def test_what_was_asked_long_ago_is_forgotten() -> None:
    meter = DemandMeter(LADDER, cost)
    meter.asked(Kind.FINAL, 5.0, 0, 0.0)

    assert meter.utilisation(1, MEMORY_S + 2.0) == (0.0, 0.0, 0.0)


def test_a_meter_that_has_just_begun_does_not_think_the_past_was_silent() -> None:
    meter = DemandMeter(LADDER, cost)
    meter.asked(Kind.FINAL, 1.0, 2, 100.0)

    assert meter.utilisation(1, 100.5)[2] == pytest.approx(0.01)


def test_a_call_that_was_not_seen_yet_is_taken_for_one_voice_at_the_last_rung() -> None:
    assert DemandMeter(LADDER, cost).expected(-1) == pytest.approx(0.03 / 2 + 0.2 * GUESSED * 0.05)


def test_at_a_better_rung_it_needs_more() -> None:
    """Partials come more often, and finals are decoded with care, behind what led to them, and sometimes in vain."""
    led = Ladder((replace(LADDER[0], lead_s=2.0), replace(LADDER[0], lead_s=5.0), replace(LADDER[0], speculate=False)))
    meter = DemandMeter(led, cost)

    assert meter.expected(0) == pytest.approx(0.03 + 0.2 * GUESSED * 7.0 * 0.2)
    assert meter.expected(1) == pytest.approx(0.03 + 0.2 * GUESSED * 8.0 * 0.2)
    assert meter.expected(2) == pytest.approx(0.03 + 0.2 * 5.0 * 0.2)
