"""Boundaries of speech from probabilities, frame by frame."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from streaming.endpoint import (
    FRAME_SAMPLES,
    Began,
    Boundary,
    Endpointer,
    EndpointSettings,
    Hesitated,
    Phase,
    Resumed,
    Stopped,
)

SPEECH, BETWEEN, SILENCE = 0.9, 0.4, 0.1
SETTINGS = EndpointSettings(hesitation_ms=128, endpoint_ms=384, unfinished_ms=512)
"""Four frames, twelve and sixteen, whatever the defaults are tuned to."""


def boundaries(*runs: tuple[float, int], settings: EndpointSettings = SETTINGS) -> list[tuple[int, Boundary]]:
    """Boundaries, each with the number of frames after which it was known, of runs of (probability, frames)."""
    endpointer = Endpointer(settings)
    found: list[tuple[int, Boundary]] = []
    for probability, frames in runs:
        for _ in range(frames):
            boundary = endpointer.push(probability)
            if boundary is not None:
                found.append((endpointer.scored // FRAME_SAMPLES, boundary))
    return found


def test_speech_begins_with_its_first_frame_once_two_in_a_row_confirm_it() -> None:
    assert boundaries((SILENCE, 3), (SPEECH, 5)) == [(5, Began(3 * FRAME_SAMPLES))]


def test_a_single_frame_of_sound_is_not_speech() -> None:
    """Line clicks are shorter than any syllable."""
    assert boundaries((SPEECH, 1), (SILENCE, 1), (SPEECH, 1), (SILENCE, 5)) == []


def test_silence_is_a_hesitation_first_and_the_end_later() -> None:
    """The guess may start at the hesitation; both name the first silent sample."""
    since = 5 * FRAME_SAMPLES

    assert boundaries((SPEECH, 5), (SILENCE, 20)) == [(2, Began(0)), (9, Hesitated(since)), (17, Stopped(since))]


def test_a_speaker_may_go_on_after_a_hesitation() -> None:
    found = boundaries((SPEECH, 5), (SILENCE, 6), (SPEECH, 2), (SILENCE, 12))

    assert [type(boundary) for _, boundary in found] == [Began, Hesitated, Resumed, Hesitated, Stopped]


def test_a_pause_shorter_than_a_hesitation_is_no_boundary() -> None:
    assert boundaries((SPEECH, 5), (SILENCE, 3), (SPEECH, 5)) == [(2, Began(0))]


def test_a_soft_syllable_neither_begins_speech_nor_ends_it() -> None:
    """Between the thresholds things stay as they are."""
    assert boundaries((BETWEEN, 50)) == []
    assert boundaries((SPEECH, 3), (BETWEEN, 50)) == [(2, Began(0))]


def test_a_soft_sound_does_not_end_a_pause() -> None:
    """Breath and echo lie between the thresholds."""
    assert boundaries((SPEECH, 3), (SILENCE, 1), (BETWEEN, 11))[-1] == (15, Stopped(3 * FRAME_SAMPLES))


def test_a_long_utterance_ends_at_a_shorter_silence() -> None:
    """Windows stay bounded at natural places, before they must be cut."""
    found = boundaries((SPEECH, 260), (SILENCE, 20))

    assert found[-1] == (268, Stopped(260 * FRAME_SAMPLES))


def test_a_caller_who_wants_quick_ends_does_not_wait_longer_in_long_utterances() -> None:
    found = boundaries((SPEECH, 260), (SILENCE, 20), settings=replace(SETTINGS, endpoint_ms=96))

    assert found == [(2, Began(0)), (263, Stopped(260 * FRAME_SAMPLES))]


def test_voiced_frames_are_counted_over_one_utterance() -> None:
    """What tells a word from a click."""
    endpointer = Endpointer(SETTINGS)
    for probability in [SPEECH] * 4 + [SILENCE] * 2 + [SPEECH] * 3 + [BETWEEN]:
        endpointer.push(probability)
    assert endpointer.voiced_frames == 7

    endpointer.reset()
    for _ in range(2):
        endpointer.push(SPEECH)

    assert endpointer.voiced_frames == 2


def test_an_unfinished_sentence_is_given_longer() -> None:
    """Who pauses in the middle of one goes on, mostly, and a fragment is understood worse."""
    endpointer = Endpointer(SETTINGS)
    for probability in [SPEECH] * 5 + [SILENCE] * 4:
        endpointer.push(probability)
    endpointer.unfinished = True

    found = [endpointer.push(SILENCE) for _ in range(12)]

    assert found == [None] * 11 + [Stopped(5 * FRAME_SAMPLES)]
    assert not endpointer.unfinished


def test_a_sentence_known_late_to_be_finished_ends_at_once() -> None:
    """The silence was long enough; only the text was waited for."""
    endpointer = Endpointer(SETTINGS)
    for probability in [SPEECH] * 5 + [SILENCE] * 4:
        endpointer.push(probability)
    endpointer.unfinished = True
    for _ in range(9):
        endpointer.push(SILENCE)

    assert endpointer.finished() == Stopped(5 * FRAME_SAMPLES)
    assert endpointer.phase is Phase.SILENT
    assert endpointer.finished() is None


def test_a_sentence_known_early_to_be_finished_waits_for_the_silence_that_ends_it() -> None:
    endpointer = Endpointer(SETTINGS)
    for probability in [SPEECH] * 5 + [SILENCE] * 4:
        endpointer.push(probability)
    endpointer.unfinished = True

    assert endpointer.finished() is None
    assert [endpointer.push(SILENCE) for _ in range(8)][-1] == Stopped(5 * FRAME_SAMPLES)


def test_a_speaker_who_goes_on_is_judged_anew() -> None:
    endpointer = Endpointer(SETTINGS)
    for probability in [SPEECH] * 5 + [SILENCE] * 4:
        endpointer.push(probability)
    endpointer.unfinished = True
    endpointer.push(SPEECH)

    assert not endpointer.unfinished


def test_how_sure_and_how_clear_a_voice_is_belongs_to_one_utterance() -> None:
    """A cry that passes for a weak voice is told from a clear one, and the next speaker is judged anew."""
    endpointer = Endpointer(SETTINGS)
    for probability in (*[0.6, 0.7, 0.4, 0.8], *[0.0] * 20):
        endpointer.push(probability)
    assert (endpointer.surest, round(endpointer.voice, 6)) == (0.8, 0.7)

    for probability in (0.9, 0.9):
        endpointer.push(probability)
    assert (endpointer.surest, endpointer.voice) == (0.9, 0.9)


def test_the_end_of_speech_is_now_while_somebody_speaks_and_then_where_the_pause_began() -> None:
    endpointer = Endpointer(SETTINGS)
    for _ in range(3):
        endpointer.push(SPEECH)
    assert endpointer.speech_end == 3 * FRAME_SAMPLES

    for _ in range(6):
        endpointer.push(SILENCE)

    assert endpointer.phase is Phase.HESITATING
    assert endpointer.speech_end == 3 * FRAME_SAMPLES


def test_a_reset_ends_the_utterance_without_a_boundary_and_speech_can_begin_again() -> None:
    """A finalize request in the middle of a word."""
    endpointer = Endpointer(SETTINGS)
    for _ in range(4):
        endpointer.push(SPEECH)

    endpointer.reset()

    assert endpointer.phase is Phase.SILENT
    assert [endpointer.push(SPEECH) for _ in range(3)] == [None, Began(4 * FRAME_SAMPLES), None]


@given(st.lists(st.floats(0, 1), max_size=300))
def test_boundaries_alternate_whatever_is_heard(probabilities: list[float]) -> None:
    """A begin, then hesitations each resumed or followed by the stop; never out of turn."""
    follows: dict[type[Boundary] | None, set[type[Boundary]]] = {
        None: {Began},
        Began: {Hesitated, Stopped},
        Hesitated: {Resumed, Stopped},
        Resumed: {Hesitated, Stopped},
        Stopped: {Began},
    }
    before: type[Boundary] | None = None
    for _, boundary in boundaries(*((probability, 1) for probability in probabilities)):
        assert type(boundary) in follows[before]
        before = type(boundary)
