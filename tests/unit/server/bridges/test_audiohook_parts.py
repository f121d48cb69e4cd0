"""Media, durations and transcripts of AudioHook's messages."""

from __future__ import annotations

from server.bridges.audiohook_parts import duration, seconds_of, transcript
from tests.support.dialects import final


def test_durations_keep_their_milliseconds_in_the_second_hour_too() -> None:
    """A call of two hours has offsets of seven digits."""
    written = [duration(seconds) for seconds in (0.0, -0.001, 0.5, 100.0, 7200.1234, 1e7)]
    assert written == ["PT0S", "PT0S", "PT0.5S", "PT100S", "PT7200.123S", "PT10000000S"]
    assert [seconds_of(text) for text in written] == [0.0, 0.0, 0.5, 100.0, 7200.123, 1e7]
    assert [seconds_of(value) for value in ("PT1e5S", "PT-1S", "1", None, 5)] == [None] * 5


def test_an_utterance_keeps_its_id_and_no_other_has_it() -> None:
    """Genesys replaces by id."""
    first = final("hello", 0.0, 1.0)
    ids = [
        transcript(text, session, "en", is_final=True)["id"]
        for text, session in (
            (first, "a"),
            (first, "a"),
            (first, "b"),
            (final("hello", 0.0, 1.0, channel=1), "a"),
            (final("next", 1.0, 2.0, number=1), "a"),
        )
    ]
    assert (ids[0] == ids[1], len(set(ids))) == (True, 4)
