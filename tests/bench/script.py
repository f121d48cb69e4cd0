"""What is said in calls that are put together for load: utterances one after another, on one side or by turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streaming.audio import decode, deinterleave
from streaming.call import Encoding
from streaming.decoding import Float32Array
from tests.bench.corpus import SpeechNotFound, read_clips, speech_folder
from tests.bench.turns import voiced
from tests.support.audio_files import TELEPHONE_RATE, CallAudio
from tests.support.samples import bundled_call
from trunkline import Audio
from trunkline.audio import Recording
from trunkline.timing import Turn

GAP_S: Final = 0.5
"""Silence between two utterances; with their margins long enough to end one, as between sentences read aloud."""
LEAD_S: Final = 0.5
"""Silence before the first."""
MARGIN_S: Final = 0.25
"""Kept around an utterance's sound."""
SHORTEST_S: Final = 4.0
LONGEST_S: Final = 14.0
"""Lengths of utterances that are used; longer ones would be cut, and not end where the speaker does."""
POOL_S: Final = 150.0
"""Seconds of different speech; what is said then repeats."""
SOURCE: Final = "librispeech_test_other"
QUIET: Final = 0xFF
"""Silence in mu-law."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One thing to say, of its own or of a clip's length."""

    name: str
    payload: bytes
    """Mu-law, 8 kHz, mono."""
    start_s: float
    """Where its sound begins."""
    end_s: float
    """Where its sound ends."""
    text: str

    @property
    def seconds(self) -> float:
        """Length with the silence around it."""
        return len(self.payload) / TELEPHONE_RATE


@dataclass(frozen=True, slots=True)
class Script:
    """A call that is put together."""

    recording: Recording
    turns: tuple[Turn, ...]
    spoken: tuple[int, ...]
    """Which utterance of the pool each turn is."""


def utterance(
    name: str, audio: CallAudio, text: str, channel: int = 0, span: tuple[float, float] | None = None
) -> Utterance:
    """Cut an utterance out of mu-law audio of 8 kHz.

    Args:
        name: What it is called.
        audio: The audio.
        text: What is said.
        channel: The side that says it.
        span: Where in the audio it lies, in seconds; None for all of it.
    """
    side = np.frombuffer(audio.payload, np.uint8)[channel :: audio.format.channels]
    if span is not None:
        side = side[round(span[0] * TELEPHONE_RATE) : round(span[1] * TELEPHONE_RATE)]
    begin, end = voiced(decode(side.tobytes(), Encoding.MULAW), TELEPHONE_RATE)
    first = max(0.0, begin - MARGIN_S)
    cut = side[round(first * TELEPHONE_RATE) : round((end + MARGIN_S) * TELEPHONE_RATE)]
    return Utterance(name, cut.tobytes(), begin - first, end - first, text)


def pool() -> tuple[list[Utterance], str]:
    """Return what can be said, and where it comes from: LibriSpeech, or the bundled call's customer without it."""
    try:
        folder = speech_folder()
    except SpeechNotFound:
        call = bundled_call()
        mine = [turn for turn in call.turns if turn.channel == 0]
        said = [
            utterance(f"turn {turn.start_s}", call.audio, turn.text, 0, (turn.start_s, turn.end_s)) for turn in mine
        ]
        return said, "the bundled call's customer"
    chosen: list[Utterance] = []
    for clip in read_clips(folder):
        if clip.source == SOURCE and clip.text and SHORTEST_S <= clip.duration_s <= LONGEST_S:
            chosen.append(utterance(clip.path, clip.audio(telephone=True), clip.text))
            if sum(each.seconds for each in chosen) >= POOL_S:
                break
    return chosen, SOURCE


def script(said: Sequence[Utterance], *, first: int, seconds: float, sides: int = 1) -> Script:
    """Put a call together that lasts as long as asked, and on to the end of its last utterance.

    Args:
        said: The pool; it is gone through in order, again and again.
        first: Where to begin in it.
        seconds: How long the call is to last at least.
        sides: How many there are; they speak in turn, so that each is silent while another speaks.
    """
    parts: list[tuple[int, int, Utterance]] = []
    at = round(LEAD_S * TELEPHONE_RATE)
    for number in count(first):
        spoken = number % len(said)
        parts.append((at, spoken, said[spoken]))
        at += len(said[spoken].payload) + round(GAP_S * TELEPHONE_RATE)
        if at >= seconds * TELEPHONE_RATE:
            break
    samples: NDArray[np.uint8] = np.full((at, sides), QUIET, np.uint8)
    turns: list[Turn] = []
    for order, (begin, _, each) in enumerate(parts):
        side = order % sides
        samples[begin : begin + len(each.payload), side] = np.frombuffer(each.payload, np.uint8)
        begin_s = begin / TELEPHONE_RATE
        turns.append(Turn(side, begin_s + each.start_s, begin_s + each.end_s, each.text))
    recording = Recording(Audio("mulaw", TELEPHONE_RATE, sides), samples.tobytes())
    return Script(recording, tuple(turns), tuple(spoken for _, spoken, _ in parts))


def side_of(recording: Recording, channel: int) -> Float32Array:
    """Return one side of a recording as samples at its own rate, float32 of shape ``(n_samples,)``."""
    audio = recording.audio
    sides = deinterleave(decode(recording.data, Encoding(audio.encoding)), audio.channels)
    return np.ascontiguousarray(sides[channel])
