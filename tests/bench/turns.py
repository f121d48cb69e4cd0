"""When each turn of a call really begins and ends, and which of the words that came back are its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final as Constant

import numpy as np

from streaming.decoding import Float32Array
from tests.bench.playing import Heard
from tests.bench.scoring import WordErrors, word_errors
from trunkline import Word
from trunkline.timing import Turn

FRAME_S: Constant = 0.02
"""Over which loudness is measured, in seconds."""
SPEECH_SHARE: Constant = 0.4
"""How far, in decibels, a frame lies from the quiet ones to the loud ones of its turn to count as speech. Begin and end
of LibriSpeech clips found so agree with voice activity: begins within 0.05 s, ends 0.13 s before it, on average."""
QUIET_PERCENTILE: Constant = 5
LOUD_PERCENTILE: Constant = 95
RANGE_DB: Constant = 40.0
"""What is further below the loud frames counts as no quieter: digital silence is infinitely quiet."""


def voiced(samples: Float32Array, rate: int) -> tuple[float, float]:
    """Find where sound begins and ends: clips and their tables leave silence around it that nobody speaks in.

    Args:
        samples: float32, shape ``(n_samples,)``.
        rate: Hz.

    Returns:
        Begin and end in seconds; ``(0, length)`` for what is shorter than a frame, or silent.
    """
    size = round(FRAME_S * rate)
    frames = samples[: samples.size - samples.size % size].reshape(-1, size)
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    if not power.any():
        return 0.0, samples.size / rate
    level = 10 * np.log10(np.maximum(power, power.max() * 1e-12))
    quiet, loud = (float(value) for value in np.percentile(level, [QUIET_PERCENTILE, LOUD_PERCENTILE]))
    quiet = max(quiet, loud - RANGE_DB)
    above = np.flatnonzero(level >= quiet + SPEECH_SHARE * (loud - quiet))
    return float(above[0]) * FRAME_S, float(above[-1] + 1) * FRAME_S


def tightened(turn: Turn, samples: Float32Array, rate: int) -> Turn:
    """Return a turn without the silence at its ends.

    Args:
        turn: As a table has it.
        samples: Its channel, float32, shape ``(n_samples,)``.
        rate: Hz.
    """
    begin, end = voiced(samples[round(turn.start_s * rate) : round(turn.end_s * rate)], rate)
    return Turn(turn.channel, turn.start_s + begin, turn.start_s + end, turn.text)


def split_by_turn(words: Iterable[Word], turns: Sequence[Turn]) -> Mapping[int, str]:
    """Give each word to the turn it lies in, or the nearest one.

    Args:
        words: Of one side.
        turns: Of the same side.

    Returns:
        Text by index of the turn; turns without words have none.
    """
    texts: defaultdict[int, list[str]] = defaultdict(list)
    for word in words:
        middle = (word.start + word.end) / 2
        distances = [max(turn.start_s - middle, middle - turn.end_s, 0.0) for turn in turns]
        texts[int(np.argmin(distances))].append(word.text)
    return {turn: " ".join(said) for turn, said in texts.items()}


def turn_errors(turns: Sequence[Turn], heard: Heard) -> list[WordErrors]:
    """Count the word errors of every turn of a call."""
    errors = [WordErrors()] * len(turns)
    for side in {turn.channel for turn in turns}:
        mine = [number for number, turn in enumerate(turns) if turn.channel == side]
        texts = split_by_turn(heard.words(side), [turns[number] for number in mine])
        for at, number in enumerate(mine):
            errors[number] = word_errors(turns[number].text, texts.get(at, ""))
    return errors
