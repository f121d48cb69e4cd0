"""Calls whose words are tones: what the scripted engine must write of them is known word by word."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

import numpy as np

from gpu.scripted import WORDS, hertz
from streaming.audio import encode
from streaming.call import Encoding
from tests.support.audio import sine

RATE: Final = 8_000
WORD_S: Final = 0.2
GAP_S: Final = 0.08
"""Between two words."""
PAUSE_S: Final = 0.8
"""Between two sentences: long enough to end an utterance."""

Sentence = tuple[str, ...]


def sentences(count: int, seed: int, words: int = 5) -> list[Sentence]:
    """Make up what one side says; the same for the same seed."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    return [tuple(dice.choice(WORDS) for _ in range(words)) for _ in range(count)]


def spoken(said: Sequence[Sentence]) -> bytes:
    """Return one side as mu-law at 8 kHz, with a pause before each sentence and behind the last."""
    quiet, gap = np.zeros(int(PAUSE_S * RATE), np.float32), np.zeros(int(GAP_S * RATE), np.float32)
    parts = [quiet]
    for sentence in said:
        for word in sentence:
            parts += [sine(hertz(word), int(WORD_S * RATE), RATE), gap]
        parts.append(quiet)
    return encode(np.concatenate(parts).astype(np.float32), Encoding.MULAW)


def interleaved(*sides: bytes) -> bytes:
    """Return sides of a call, shorter ones filled up with silence, as one stream of samples."""
    length = max(map(len, sides))
    return np.stack([np.frombuffer(side.ljust(length, b"\xff"), np.uint8) for side in sides], axis=1).tobytes()


def flat(said: Sequence[Sentence]) -> list[str]:
    """Return the words of sentences."""
    return [word for sentence in said for word in sentence]
