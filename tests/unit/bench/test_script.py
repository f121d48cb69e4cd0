"""Calls that are put together for load: what is said must be where the script says it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streaming.call import AudioFormat, Encoding
from tests.bench.script import GAP_S, LEAD_S, MARGIN_S, Utterance, pool, script, side_of, utterance
from tests.support.audio_files import CallAudio
from trunkline.timing import Turn

LOUD = b"\x80"
"""Full scale in mu-law."""
QUIET = b"\xff"
SECOND = 8_000


def said(name: str, seconds: float) -> Utterance:
    """A sound with margins."""
    quiet = QUIET * round(MARGIN_S * SECOND)
    return Utterance(name, quiet + LOUD * round(seconds * SECOND) + quiet, MARGIN_S, MARGIN_S + seconds, name)


POOL = [said("one", 1.0), said("two", 2.0), said("three", 3.0)]


def test_an_utterance_is_cut_to_its_sound_and_a_margin() -> None:
    """Silence of the clip would make speech less continuous than it is said to be."""
    payload = QUIET * SECOND + LOUD * SECOND + QUIET * SECOND
    interleaved = np.stack([np.frombuffer(QUIET * len(payload), np.uint8), np.frombuffer(payload, np.uint8)], axis=1)
    audio = CallAudio(AudioFormat(Encoding.MULAW, SECOND, 2), interleaved.tobytes())

    cut = utterance("x", audio, "text", channel=1, span=(0.5, 3.0))

    assert cut.seconds == pytest.approx(1.0 + 2 * MARGIN_S, abs=0.02)
    assert (cut.start_s, cut.end_s) == pytest.approx((MARGIN_S, 1.0 + MARGIN_S), abs=0.02)


def test_turns_are_where_the_sound_is() -> None:
    """Latencies are measured from these times."""
    call = script(POOL, first=0, seconds=5.0)

    loud = np.flatnonzero(np.abs(side_of(call.recording, 0)) > 0.5) / SECOND
    for turn in call.turns:
        inside = loud[(loud >= turn.start_s - 0.1) & (loud <= turn.end_s + 0.1)]
        assert (inside[0], inside[-1]) == pytest.approx((turn.start_s, turn.end_s), abs=0.001)


def test_a_call_lasts_as_long_as_asked_and_ends_with_a_whole_utterance() -> None:
    """A turn that is cut off has no end to measure."""
    call = script(POOL, first=0, seconds=20.0)

    assert call.recording.seconds >= 20.0
    assert call.recording.seconds - 20.0 < 3.0 + 2 * MARGIN_S + GAP_S
    assert call.turns[-1].end_s <= call.recording.seconds - GAP_S


def test_the_pool_is_gone_through_from_anywhere_and_again() -> None:
    """Channels say the same things, each at another time."""
    call = script(POOL, first=2, seconds=15.0)

    assert call.spoken[:5] == (2, 0, 1, 2, 0)
    assert [turn.text for turn in call.turns[:3]] == ["three", "one", "two"]


def test_sides_speak_in_turn_and_are_silent_meanwhile() -> None:
    """A side of a call is silent half of the time: that is what makes calls cheaper than speech."""
    call = script(POOL, first=0, seconds=8.0, sides=2)

    assert [turn.channel for turn in call.turns] == [0, 1, 0, 1][: len(call.turns)]
    for turn in call.turns:
        other = side_of(call.recording, 1 - turn.channel)
        assert not other[round(turn.start_s * SECOND) : round(turn.end_s * SECOND)].any()


def test_speech_begins_after_a_moment() -> None:
    """Voice activity needs something to start from."""
    assert script(POOL, first=0, seconds=1.0).turns == (Turn(0, LEAD_S + MARGIN_S, LEAD_S + MARGIN_S + 1.0, "one"),)


def test_without_the_folder_the_bundled_customer_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh machine has only what is in the repository."""
    monkeypatch.setenv("TRUNKLINE_SPEECH", str(tmp_path))

    found, source = pool()

    assert "bundled" in source
    assert found
    assert all(each.text and each.end_s > each.start_s for each in found)
