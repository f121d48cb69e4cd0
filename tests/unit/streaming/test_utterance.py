"""When a window is due, and where an utterance that will not end is cut."""

from __future__ import annotations

import pytest

from streaming.call import SAMPLE_RATE
from streaming.endpoint import FRAME_SAMPLES
from streaming.utterance import Utterance, WindowSettings

SETTINGS = WindowSettings(
    first_partial_s=0.4,
)
START = 50 * FRAME_SAMPLES


def heard(levels: list[float], start: int = START) -> Utterance:
    utterance = Utterance(start, SETTINGS)
    for index, level in enumerate(levels, start=1):
        utterance.heard(level, start + index * FRAME_SAMPLES)
    return utterance


def test_the_first_partial_is_due_after_the_pre_roll_and_four_tenths_of_speech() -> None:
    """Less audio gives a word that changes at once."""
    utterance = heard([])

    assert not utterance.partial_is_due(START + int(0.69 * SAMPLE_RATE), cadence_s=1.0)
    assert utterance.partial_is_due(START + int(0.7 * SAMPLE_RATE), cadence_s=1.0)


def test_later_partials_are_due_by_the_cadence_from_the_newest_window() -> None:
    utterance = heard([])
    utterance.decoded_to = START + SAMPLE_RATE

    assert not utterance.partial_is_due(START + int(2.9 * SAMPLE_RATE), cadence_s=2.0)
    assert utterance.partial_is_due(START + 3 * SAMPLE_RATE, cadence_s=2.0)


def test_an_utterance_within_its_bound_is_not_cut() -> None:
    assert heard([1.0] * 468).cut(SETTINGS.longest_s) is None


@pytest.mark.parametrize("quiet_at", [300, 400, 464])
def test_an_utterance_at_its_bound_is_cut_in_the_middle_of_the_quietest_place(quiet_at: int) -> None:
    """Between two words rather than through one."""
    levels = [1.0] * 469
    levels[quiet_at : quiet_at + 5] = [0.01] * 5

    assert heard(levels).cut(SETTINGS.longest_s) == START + (quiet_at + 2) * FRAME_SAMPLES + FRAME_SAMPLES // 2


def test_a_quiet_place_too_far_back_is_not_looked_for() -> None:
    """A cut near the beginning would leave almost everything to be decoded again."""
    levels = [1.0] * 469
    levels[100:105] = [0.0] * 5

    cut = heard(levels).cut(SETTINGS.longest_s)

    assert cut is not None
    assert cut > START + (SETTINGS.longest_s - SETTINGS.cut_search_s) * SAMPLE_RATE


def test_what_goes_on_behind_a_cut_remembers_how_loud_it_was() -> None:
    """Its own cut comes after another full length, not later, and at its own quietest place."""
    levels = [1.0] * 469
    levels[400:405] = [0.01] * 5
    utterance = heard(levels)
    cut = utterance.cut(SETTINGS.longest_s)
    assert cut is not None

    rest = utterance.continued_from(cut)
    end = START + 469 * FRAME_SAMPLES
    for index in range(1, 404):
        rest.heard(0.0 if 300 <= index < 305 else 1.0, end + index * FRAME_SAMPLES)

    assert rest.start == rest.decoded_to == cut
    assert utterance.continued_from(cut).cut(SETTINGS.longest_s) is None
    assert rest.cut(SETTINGS.longest_s) == end + 301 * FRAME_SAMPLES + FRAME_SAMPLES // 2


def test_what_goes_on_behind_a_cut_at_the_very_end_has_heard_nothing() -> None:
    utterance = heard([1.0] * 10)

    rest = utterance.continued_from(START + 10 * FRAME_SAMPLES)
    rest.heard(1.0, START + 11 * FRAME_SAMPLES)

    assert rest.cut(SETTINGS.longest_s) is None
    assert rest.start == START + 10 * FRAME_SAMPLES
