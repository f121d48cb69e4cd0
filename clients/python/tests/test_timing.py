"""What counts as latency: the one place that the load generator and the benches both believe."""

from __future__ import annotations

import math
from dataclasses import astuple

import pytest

from trunkline.messages import Ack, Final, Partial, SpeechStarted, Word
from trunkline.timing import CallTiming, Latencies, SendLog, Spread, Turn, spread

FRAME_S = 0.02


def words(start: float, end: float) -> tuple[Word, ...]:
    return (Word("w", start, end, 1.0),) if end > start else ()


def partial(start: float, end: float, channel: int = 0) -> Partial:
    return Partial(channel, "a", 0, 0, start, end, "w", 0, words(start, end), "en", "m")


def final(
    start: float, end: float, channel: int = 0, *, reason: str = "endpoint", speech_end: float | None = None
) -> Final:
    reached = end if speech_end is None else speech_end
    return Final(channel, "a", 0, start, end, "w", words(start, end), 1.0, "en", "m", reason, reached, 0.0)


def sent(timing: CallTiming, seconds: float, *, began: float = 100.0) -> None:
    """Audio as a bridge sends it: each frame when its last sample is spoken, on a clock that stood at 100."""
    for frame in range(1, round(seconds / FRAME_S) + 1):
        timing.sent(frame * FRAME_S, began + frame * FRAME_S)


def test_a_sample_was_sent_with_the_frame_that_holds_it() -> None:
    """Off by a frame would be 20 ms on every number that is published."""
    log = SendLog()
    log.sent(0.02, 100.02)
    log.sent(0.04, 100.05)

    assert log.beginning(0.0) == 100.02
    assert log.beginning(0.02) == 100.05  # the sample that begins there is the next frame's first
    assert log.ending(0.02) == 100.02  # the one that ends there is this frame's last
    assert log.ending(0.021) == 100.05


def test_what_was_not_sent_has_no_time() -> None:
    """A call that hung up early says nothing of the rest."""
    log = SendLog()
    log.sent(0.02, 100.02)

    assert log.beginning(0.02) is None
    assert log.ending(0.03) is None


def test_a_turn_of_the_reference_is_timed_from_its_own_edges() -> None:
    """The server's opinion of where speech begins and ends must not flatter its latency."""
    timing = CallTiming([Turn(0, 1.0, 2.0)])
    sent(timing, 3.0)
    timing.heard(SpeechStarted(0, "a", 1.2), 101.4)
    timing.heard(partial(1.0, 1.5), 101.52)
    timing.heard(partial(1.0, 1.8), 101.9)
    timing.heard(final(1.0, 1.9, speech_end=1.95), 102.5)
    found = timing.latencies()

    assert found.first_partial_s == pytest.approx((0.5,))  # the frame with sample 1.0 left at 101.02
    assert found.final_s == pytest.approx((0.5,))
    assert (found.turns, found.unheard, found.unfinished) == (1, 0, 0)


def test_a_final_without_partials_counts_as_first_text() -> None:
    """Short words have no partial; their text was seen first with the final."""
    timing = CallTiming([Turn(0, 1.0, 1.4)])
    sent(timing, 3.0)
    timing.heard(final(1.0, 1.4), 101.82)

    assert timing.latencies().first_partial_s == pytest.approx((0.8,))


def test_one_final_may_cover_two_turns() -> None:
    """A short pause does not end an utterance, and both turns' words came with it."""
    timing = CallTiming([Turn(0, 0.0, 1.0), Turn(0, 1.2, 2.0)])
    sent(timing, 3.0)
    timing.heard(final(0.0, 2.0), 102.4)

    assert timing.latencies().final_s == pytest.approx((1.4, 0.4))


def test_a_turn_in_two_finals_is_timed_by_the_last() -> None:
    """The words are complete when the last of them are there."""
    timing = CallTiming([Turn(0, 0.0, 2.0)])
    sent(timing, 3.0)
    timing.heard(final(0.0, 1.0, reason="cut"), 101.3)
    timing.heard(final(1.0, 2.0), 102.4)

    assert timing.latencies().final_s == pytest.approx((0.4,))


def test_a_final_of_the_next_turn_that_reaches_into_this_one_does_not_count() -> None:
    """Models place a first word up to a few hundred milliseconds early; that must not add seconds of latency."""
    timing = CallTiming([Turn(0, 0.0, 1.0), Turn(0, 1.3, 2.5)])
    sent(timing, 3.0)
    timing.heard(final(0.0, 1.0), 101.3)
    timing.heard(final(0.9, 2.5), 102.8)

    assert timing.latencies().final_s == pytest.approx((0.3, 0.3))


def test_text_of_the_turn_before_is_not_first_text_of_the_next() -> None:
    """A late final of the last turn would make the next one look instant."""
    timing = CallTiming([Turn(0, 0.0, 1.0), Turn(0, 1.3, 2.5)])
    sent(timing, 3.0)
    timing.heard(partial(0.0, 0.9), 101.5)
    timing.heard(partial(1.3, 1.7), 102.02)

    assert timing.latencies().first_partial_s == pytest.approx((1.48, 0.7))


def test_text_before_the_turn_was_sent_is_not_of_it() -> None:
    """Words that the server makes up ahead of time are no speed."""
    timing = CallTiming([Turn(0, 1.0, 2.0)])
    sent(timing, 0.5)
    timing.heard(partial(0.9, 1.1), 100.6)
    sent(timing, 3.0)

    assert timing.latencies().unheard == 1


def test_turns_without_text_and_without_final_are_counted() -> None:
    """A server that drops what is slow must not look fast."""
    timing = CallTiming([Turn(0, 0.0, 1.0), Turn(1, 1.0, 2.0)])
    sent(timing, 3.0)
    timing.heard(partial(0.0, 0.5), 100.9)

    found = timing.latencies()

    assert found.first_partial_s == pytest.approx((0.88,))
    assert (found.final_s, found.turns, found.unheard, found.unfinished) == ((), 2, 1, 2)


def test_a_final_that_stops_short_does_not_cover_the_turn() -> None:
    """The words after it are still owed."""
    timing = CallTiming([Turn(0, 0.0, 4.0)])
    sent(timing, 5.0)
    timing.heard(final(0.0, 3.0), 104.0)

    assert (timing.latencies().final_s, timing.latencies().unfinished) == ((), 1)


def test_sides_do_not_answer_for_each_other() -> None:
    """What the agent's words took says nothing of the customer's."""
    timing = CallTiming([Turn(0, 0.0, 1.0)])
    sent(timing, 3.0)
    timing.heard(final(0.0, 1.0, channel=1), 101.1)

    assert timing.latencies().unheard == 1


def test_turns_that_were_not_sent_completely_do_not_count() -> None:
    """A call cut off by --duration in mid-sentence is nobody's fault."""
    timing = CallTiming([Turn(0, 0.0, 1.0), Turn(0, 5.0, 6.0)])
    sent(timing, 5.5)

    assert timing.latencies().turns == 1


def test_without_a_reference_the_server_says_when_speech_begins_and_ends() -> None:
    """A bare recording can still be used for load."""
    timing = CallTiming()
    sent(timing, 3.0)
    timing.heard(SpeechStarted(0, "a", 1.0), 101.2)
    timing.heard(partial(1.0, 1.4), 101.52)
    timing.heard(partial(1.0, 1.8), 101.9)
    timing.heard(final(1.0, 1.9, speech_end=2.0), 102.3)
    timing.heard(Ack(2.0), 102.4)
    found = timing.latencies()

    assert found.first_partial_s == pytest.approx((0.5,))
    assert found.final_s == pytest.approx((0.3,))


def test_without_a_reference_cuts_and_requests_are_no_ends_of_speech() -> None:
    """Nobody stopped speaking there, so nobody waits for a final."""
    timing = CallTiming()
    sent(timing, 3.0)
    timing.heard(final(0.0, 1.0, reason="cut"), 101.3)
    timing.heard(final(1.0, 1.5, reason="finalize"), 101.6)
    timing.heard(final(1.5, 2.0, reason="end"), 102.1)

    assert timing.latencies().final_s == pytest.approx((0.1,))


def test_without_a_reference_old_text_does_not_answer_a_new_onset() -> None:
    """A late partial of the last utterance would make the next look instant."""
    timing = CallTiming()
    sent(timing, 3.0)
    timing.heard(SpeechStarted(0, "a", 2.0), 102.2)
    timing.heard(partial(0.0, 1.0), 102.21)
    timing.heard(partial(2.0, 2.4), 102.62)

    assert timing.latencies().first_partial_s == pytest.approx((0.6,))


def test_without_a_reference_times_beyond_what_was_sent_do_not_count() -> None:
    """A server that is wrong about the clock is not credited for it."""
    timing = CallTiming()
    sent(timing, 1.0)
    timing.heard(SpeechStarted(0, "a", 5.0), 101.0)
    timing.heard(final(5.0, 6.0), 101.1)

    assert timing.latencies() == Latencies()


def test_text_without_words_is_no_text() -> None:
    """An empty result is not what anybody waits for."""
    timing = CallTiming()
    sent(timing, 1.0)
    timing.heard(final(0.0, 0.0), 101.1)

    assert timing.latencies() == Latencies()


def test_a_recording_that_is_played_again_has_its_turns_again() -> None:
    """Long load runs repeat a short recording."""
    assert Turn(1, 0.5, 2.0, "text").later(10.0) == Turn(1, 10.5, 12.0, "text")


def test_spread_interpolates_as_everybody_does() -> None:
    """Percentiles must be comparable with those of other tools."""
    assert astuple(spread([4.0, 1.0, 2.0, 3.0])) == pytest.approx((4, 2.5, 3.85, 3.97, 4.0))
    assert spread([7.0]) == Spread(1, 7.0, 7.0, 7.0, 7.0)


def test_spread_of_nothing_is_not_a_number() -> None:
    """Zero would look like the best latency there is."""
    found = spread([])

    assert found.count == 0
    assert all(map(math.isnan, (found.p50, found.p95, found.p99, found.most)))
