"""One side of a call, known word by word: synthetic audio, when somebody speaks in it, and what a model would hear.

Every 10 ms of the audio are unlike any other, so a window given to a model can be found again in the whole, and what is
heard in it is a pure function of where it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streaming.audio import codes_of, encode
from streaming.call import Encoding
from streaming.decoding import Float32Array, Hypothesis, Window, Word
from streaming.ear import Ear
from streaming.endpoint import FRAME_MS
from tests.support.windows import features_of

N_MELS: Final = 20
"""Few bands: enough to tell frames apart, and cheap."""

WORD_S: Final = 0.24
BREATH_S: Final = 0.2
"""Between two words of a turn: quiet, but the speaker has not stopped."""

LOUD: Final = 0.3
BREATH: Final = 0.01
LINE_NOISE: Final = 0.001

HALF_A_WORD: Final = "-"
"""Ends a word whose end was not in the window."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Somebody speaks."""

    at: float
    """Seconds from the start."""
    words: int
    """1 and up."""

    @property
    def end(self) -> float:
        """Where the last word ends, in seconds."""
        return self.at + self.words * (WORD_S + BREATH_S) - BREATH_S


def turns_of(talk: Sequence[tuple[float, int]], first_at: float = 0.5) -> list[Turn]:
    """Make turns of (pause before it in seconds, words)."""
    turns: list[Turn] = []
    at = first_at
    for pause_s, words in talk:
        turns.append(Turn(at + pause_s, words))
        at = turns[-1].end
    return turns


class Scene:
    """One side of a call.

    Args:
        turns: Who speaks when, in order.
        seconds: Length; a second behind the last turn if not given.
        rate: Hz of the call.
        encoding: How it travels.
        name: Begins every word, so that no two sides have one in common.
    """

    def __init__(
        self,
        turns: Sequence[Turn],
        *,
        seconds: float | None = None,
        rate: int = 8_000,
        encoding: Encoding = Encoding.L16,
        name: str = "w",
    ) -> None:
        self.turns = list(turns)
        self.rate = rate
        self.encoding = encoding
        last = turns[-1].end if turns else 0.0
        self.seconds = last + 1.0 if seconds is None else seconds
        starts = [turn.at + index * (WORD_S + BREATH_S) for turn in turns for index in range(turn.words)]
        self.words = tuple(Word(f"{name}{n}", at, at + WORD_S, 0.9) for n, at in enumerate(starts))
        """Everything that is said, in seconds from the start."""
        self.payload = encode(self._samples(), encoding)
        self._reference: Float32Array | None = None

    @property
    def text(self) -> list[str]:
        """The words."""
        return [word.text for word in self.words]

    def heard_between(self, start_s: float, end_s: float) -> list[str]:
        """Words whose middle lies in a stretch."""
        return [word.text for word in self.words if start_s <= (word.start + word.end) / 2 < end_s]

    def probability(self, frame: int) -> float:
        """How surely a frame of voice activity holds speech, where the scene is played over and over."""
        middle_s = (frame + 0.5) * FRAME_MS / 1000 % self.seconds
        return 0.9 if any(turn.at <= middle_s < turn.end for turn in self.turns) else 0.05

    def hear(self, window: Window) -> Hypothesis:
        """What a model hears in a window: each word whose middle is in it."""
        start = self._place(features_of(window.sound, N_MELS)) / 100
        end = start + window.seconds
        words = [
            Word(
                word.text if word.end <= end else word.text + HALF_A_WORD,
                max(0.0, word.start - start),
                min(word.end, end) - start,
                word.confidence,
            )
            for word in self.words
            if start <= (word.start + word.end) / 2 < end
        ]
        return Hypothesis(tuple(words), window.language or "en", 0.9, 0.1, "scripted", aligned=True)

    def _place(self, features: Float32Array) -> int:
        """The frame of the whole at which a window begins."""
        assert features.shape[1], "a window must hold audio"
        if self._reference is None:
            ear = Ear(self.encoding, self.rate, N_MELS, 30.0)
            ear.hear(codes_of(self.payload, self.encoding), 0)
            ear.finish()
            self._reference = features_of(ear.window(0, ear.samples), N_MELS)
        # a few frames are enough to be sure, and the very last of a call may see silence where the rest had audio
        probe = features[:, : min(4, features.shape[1])]
        count = self._reference.shape[1] - probe.shape[1] + 1
        distance = np.zeros(count)
        for column in range(probe.shape[1]):
            distance += np.abs(self._reference[:, column : column + count] - probe[:, column, None]).sum(axis=0)
        return int(distance.argmin())

    def _samples(self) -> Float32Array:
        noise = np.random.default_rng(7).uniform(-1, 1, round(self.seconds * self.rate))
        level: NDArray[np.float64] = np.full(noise.size, LINE_NOISE)
        for turn in self.turns:
            level[round(turn.at * self.rate) : round(turn.end * self.rate)] = BREATH
        for word in self.words:
            level[round(word.start * self.rate) : round(word.end * self.rate)] = LOUD
        return (noise * level).astype(np.float32)
