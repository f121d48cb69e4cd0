"""What calls ask for is counted at every rung, whatever is in force."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.policy.demand import GUESSED, LED_SHARE, MEMORY_S, USUAL_WINDOWS, DemandMeter
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
        meter.asked(Kind.PARTIAL, 3.0, 1, now)

    assert meter.utilisation(1, 10.0)[0] == pytest.approx(10 * 0.03 / 10)


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


CARE = Rung("small", "large", cadence_s=1.0, lead_s=5.0)
HASTE = Rung("small", "large", cadence_s=4.0, speculate=False)
HASTY = Ladder((CARE, replace(CARE, lead_s=2.0), replace(CARE, lead_s=0.0), replace(CARE, speculate=False), HASTE))
"""From most care to none: less earlier speech, no guesses, and neither, with rare partials."""


def finals_at_each_rung(force: int, own_s: float, lead_s: float = 0.0) -> tuple[float, ...]:
    """What one final of a second in which nothing else was asked for comes to."""
    meter = DemandMeter(HASTY, cost)
    meter.asked(Kind.FINAL, own_s + lead_s, force, 0.0, lead_s=lead_s)
    return meter.utilisation(1, 0.5)


def test_a_final_of_a_hasty_rung_is_counted_with_the_lead_and_the_guesses_of_a_better_one() -> None:
    """Else the need looks smaller the worse quality is, and too few shards are asked for just then."""
    used = finals_at_each_rung(HASTY.rungs.index(HASTE), 4.0)

    room_s = USUAL_WINDOWS.led_s - 4.0
    assert used == pytest.approx(
        (
            GUESSED * 0.1 * (4.0 + LED_SHARE * room_s),
            GUESSED * 0.1 * (4.0 + LED_SHARE * 2.0),
            GUESSED * 0.1 * 4.0,
            0.1 * (4.0 + LED_SHARE * room_s),
            0.1 * 4.0,
        ),
        rel=0.02,
    )


def test_a_final_with_care_is_counted_alone_and_once_at_a_hasty_rung() -> None:
    """Else there seems to be no room for calls that the last rung would carry."""
    used = finals_at_each_rung(0, 3.0, lead_s=4.0)

    assert used[0] == pytest.approx(0.1 * 7.0)
    assert used[-1] == pytest.approx(0.1 * 3.0 / GUESSED)


def test_what_is_long_by_itself_gets_no_lead_at_any_rung() -> None:
    used = finals_at_each_rung(HASTY.rungs.index(HASTE), USUAL_WINDOWS.led_s + 1.0)

    assert used[0] == used[1] == used[2] == pytest.approx(GUESSED * 0.1 * (USUAL_WINDOWS.led_s + 1.0))


@pytest.mark.parametrize(("lead_s", "expected_s"), [(0.0, 4.0), (4.0, 8.0)])
def test_how_much_leads_is_learned_where_it_is_seen_and_remembered_below(lead_s: float, expected_s: float) -> None:
    """Some speak in fragments, some in whole sentences; a hasty rung does not show which."""
    meter = DemandMeter(HASTY, cost)
    for now in range(300):
        meter.asked(Kind.FINAL, 4.0 + lead_s, 0, now, lead_s=lead_s)
    for now in range(400, 400 + MEMORY_S):
        meter.asked(Kind.FINAL, 4.0, len(HASTY) - 1, now)

    used = meter.utilisation(1, 400.0 + MEMORY_S)

    assert used[0] == pytest.approx(GUESSED * 0.1 * expected_s, rel=0.02)


def test_the_first_partial_of_an_utterance_comes_at_any_pace() -> None:
    """One every four seconds must not count as four a second each: the first stands for no speech before it."""
    meter = DemandMeter(HASTY, cost)
    for now in range(0, 10, 5):
        meter.asked(Kind.PARTIAL, 0.6, len(HASTY) - 1, now)
        meter.asked(Kind.PARTIAL, 4.6, len(HASTY) - 1, now)

    slow, fast = meter.utilisation(1, 10.0)[-1], meter.utilisation(1, 10.0)[0]

    each = 0.01 * 2.6
    assert slow == pytest.approx(4 * each / 10)
    assert fast == pytest.approx((2 + 2 * 4) * each / 10)


def test_callers_who_want_no_partials_change_nothing_about_those_of_others() -> None:
    """What a final cuts off the pace of partials is counted once for each utterance that has some."""
    hasty = len(HASTY) - 1
    alone, beside, without = (DemandMeter(HASTY, cost) for _ in range(3))
    for meter in (alone, beside):
        meter.asked(Kind.PARTIAL, 0.6, hasty, 0.0)
        meter.asked(Kind.PARTIAL, 4.6, hasty, 4.0)
        meter.asked(Kind.FINAL, 5.0, hasty, 5.0)
    for _ in range(9):
        beside.asked(Kind.FINAL, 5.0, hasty, 5.0)
        without.asked(Kind.FINAL, 5.0, hasty, 0.0)

    more = [many - one for many, one in zip(beside.utilisation(1, 10.0), alone.utilisation(1, 10.0), strict=True)]

    assert more == pytest.approx(without.utilisation(1, 10.0), rel=0.02)


LENGTHS = st.lists(st.floats(0.4, 14.0), min_size=1, max_size=20)


@given(lengths=LENGTHS, force=st.integers(0, len(HASTY) - 1))
def test_finals_need_no_less_the_more_care_they_get(lengths: list[float], force: int) -> None:
    """Whatever is in force: a step up never looks cheaper than the rung that it leaves."""
    meter = DemandMeter(HASTY, cost)
    for now, own_s in enumerate(lengths):
        lead_s = max(0.0, min(HASTY[force].lead_s, USUAL_WINDOWS.led_s - own_s)) / 2
        meter.asked(Kind.FINAL, own_s + lead_s, force, now, lead_s=lead_s)

    used = meter.utilisation(1, float(len(lengths)))

    assert used[0] >= used[1] * (1 - 1e-9)
    assert used[1] >= used[2] * (1 - 1e-9)
    assert min(used[2], used[3]) >= used[4] * (1 - 1e-9)


@given(lengths=LENGTHS, partials=st.lists(st.floats(0.4, 14.0), max_size=20), force=st.integers(0, len(HASTY) - 1))
def test_at_the_rung_in_force_what_is_counted_is_what_was_asked(
    lengths: list[float], partials: list[float], force: int
) -> None:
    """Nothing is projected that need not be."""
    meter = DemandMeter(HASTY, cost)
    for seconds in lengths:
        meter.asked(Kind.FINAL, seconds, force, 0.0)
    for seconds in partials:
        meter.asked(Kind.PARTIAL, seconds, force, 0.0)

    asked = sum(cost("large", seconds, 1) for seconds in lengths)
    asked += sum(cost("small", seconds, 1) for seconds in partials)
    assert meter.utilisation(1, 0.5)[force] == pytest.approx(asked)
