"""The recordings of the repository are what they are said to be."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from streaming.audio import decode, deinterleave
from streaming.call import AudioFormat, Encoding
from tests.support.samples import DATA, bundled_call, bundled_clips


def test_the_call_is_a_telephone_call_of_two_sides() -> None:
    """The demo plays it in real time, so it is long enough to show and short enough to watch."""
    call = bundled_call()

    assert call.audio.format == AudioFormat(Encoding.MULAW, 8_000, 2)
    assert call.labels == ("customer", "agent")
    assert 35 <= call.audio.seconds <= 55
    assert {turn.channel for turn in call.turns} == {0, 1}


def test_the_turns_cover_what_is_loud_and_nothing_else() -> None:
    """Tests measure latency from a turn's end, so the ends must be where the sound ends."""
    call = bundled_call()
    sides = deinterleave(decode(call.audio.payload, call.audio.format.encoding), 2)
    frames = sides[:, : sides.shape[1] // 80 * 80].reshape(2, -1, 80)
    loud = np.sqrt(np.mean(frames**2, axis=2)) > 0.02
    spoken = np.zeros_like(loud)
    for turn in call.turns:
        spoken[turn.channel, round(turn.start_s * 100) : round(turn.end_s * 100) + 1] = True
        edges = loud[turn.channel, [round(turn.start_s * 100) + at for at in range(25)]]
        assert edges.any()

    assert not (loud & ~spoken).any()


def test_the_call_has_an_overlap_and_a_change_of_speaker_without_one() -> None:
    """People talk over one another; a call without it proves little."""
    gaps = [after.start_s - before.end_s for before, after in pairwise(bundled_call().turns)]

    assert min(gaps) < 0 < max(gaps) <= 1.0


@pytest.mark.parametrize("name", ["music_8k", "noise_8k", "ringback_8k", "keys_8k"])
def test_nobody_speaks_in(name: str) -> None:
    """Their right transcript is empty."""
    assert bundled_clips()[name].text == ""


def test_every_recording_is_credited() -> None:
    """Share-alike licences ask for it, and the people deserve it."""
    credited = (DATA / "CREDITS.md").read_text()

    assert all(f"`{name}`" in credited for name in bundled_clips())
    assert sum(file.stat().st_size for file in DATA.rglob("*.wav")) < 2_000_000
