"""An engine without a model: tones are its words. For tests, and for trying everything else without weights.

Its text is a pure function of the sound, so a test knows what must be in a transcript and what must not be there twice:

* A frame is silent if no mel band of it reaches ``SILENT``. Of any other frame the loudest band's frequency decides
  the word: the nearest, on the mel scale, of ``WORDS``, whose frequencies lie from 320 to 3,300 Hz.
* A word is a run of frames with the same word. A run shorter than ``SHORTEST`` frames belongs to the word before it,
  and at the beginning (of the window, or after silence) to the one after it; a run that has neither is not heard. So
  every other frame that sounds is part of one word, and a word's start and end say which frames they were.
* Runs are the same wherever a window begins or ends, but for one that is cut in two: both parts of it, if long enough,
  are heard as the word, so a run across a cut is written twice, as a voice cut in two would be.

`hertz` gives the frequency of a word: a tone of 100 ms and more at that frequency, 8 kHz and mu-law included, is heard
as that word. A louder sound hides a softer one. Two tones that follow each other must be different words, or be parted
by at least 50 ms of silence. Real speech gives words too, senseless ones, under the same rules.

The same options can make it slow, or make it fail as devices do.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from math import exp, log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gpu.engine import Bucket
from gpu.errors import EngineError, OutOfMemory
from streaming.decoding import Hypothesis, Kind, Window, Word
from streaming.features import MEL_BREAK, MEL_BREAK_HZ, MEL_PER_LOG

__all__ = ["SHORTEST", "SILENT", "WORDS", "Failure", "ScriptedEngine", "hertz", "transcribe"]

WORDS: Final = (
    "alfa",
    "bravo",
    "charlie",
    "delta",
    "echo",
    "foxtrot",
    "golf",
    "hotel",
    "india",
    "juliett",
    "kilo",
    "lima",
    "mike",
    "november",
    "oscar",
    "papa",
)
"""All it can say, from the lowest tone to the highest."""

SILENT: Final = -4.0
"""log10 mel power below which a frame is silent: about 60 dB below a full-scale tone."""

SHORTEST: Final = 5
"""Frames of the shortest run that is a word by itself."""

FRAME_S: Final = 0.01

LONGEST: Final = 3000
"""Frames of the longest window it takes, as Whisper does."""

BUCKET_FRAMES: Final = 300
"""Windows are padded to multiples of this many frames."""

DIED: Final = 70
"""Exit status of a process that was told to die."""

_MELS: Final = np.linspace(4.8, 32.3, len(WORDS))


class Failure(StrEnum):
    """How it fails."""

    NONE = "none"
    RAISE = "raise"
    """Raises a retryable `EngineError`."""
    OUT_OF_MEMORY = "out_of_memory"
    """Raises `OutOfMemory`."""
    HANG = "hang"
    """Does not return until it is closed, then raises an `EngineError`."""
    DIE = "die"
    """Ends the process at once, without cleaning up, as a crash of a driver does."""


def hertz(word: str) -> float:
    """Frequency of the tone that is heard as a word.

    Raises:
        ValueError: If it is none of ``WORDS``.
    """
    mel = float(_MELS[WORDS.index(word)])
    if mel < MEL_BREAK:
        return mel / MEL_BREAK * MEL_BREAK_HZ
    return MEL_BREAK_HZ * exp((mel - MEL_BREAK) / MEL_PER_LOG)


class ScriptedEngine:
    """Hears tones as words.

    Args:
        model: Name for hypotheses.
        n_mels: Mel bands of its windows.
        multilingual: Whether windows keep their language; else all are ``en``.
        fixed_s: Seconds a batch costs.
        each_s: Seconds each window of a batch costs on top.
        sleep: Spends the cost; None spends nothing.
        failure: What goes wrong, if anything.
        after: Calls of `decode` that go well before.
        times: Calls that go wrong then; -1 for all.
        on_word: Only calls that hear this word in one of their windows count and go wrong; empty for all calls.
    """

    def __init__(
        self,
        model: str = "scripted",
        *,
        n_mels: int = 80,
        multilingual: bool = True,
        fixed_s: float = 0.0,
        each_s: float = 0.0,
        sleep: Callable[[float], None] | None = None,
        failure: str = Failure.NONE,
        after: int = 0,
        times: int = -1,
        on_word: str = "",
    ) -> None:
        self._model = model
        self._n_mels = n_mels
        self._multilingual = multilingual
        self._fixed_s = fixed_s
        self._each_s = each_s
        self._sleep = sleep
        self._failure = Failure(failure)
        self._left_well = after
        self._left_wrong = times
        self._on_word = on_word
        self._lock = threading.Lock()
        self._closed = threading.Event()

    @property
    def model(self) -> str:
        """Name of the model."""
        return self._model

    @property
    def n_mels(self) -> int:
        """Mel bands."""
        return self._n_mels

    @property
    def multilingual(self) -> bool:
        """Whether windows keep their language."""
        return self._multilingual

    @property
    def greedy(self) -> bool:
        """It takes windows with any beam, which changes nothing: a tone is one word."""
        return False

    def bucket(self, window: Window) -> Bucket:
        """Shape of a window in a batch: its length up to the next 3 s.

        Raises:
            ValueError: If the window is longer than 30 s or has another number of mel bands.
        """
        bands, frames = window.features.shape
        if bands != self._n_mels or frames > LONGEST:
            raise ValueError(
                f"model {self._model} takes windows of {self._n_mels} mel bands and at most {LONGEST} frames, "
                f"got {bands} bands and {frames} frames"
            )
        return Bucket(max(-(-frames // BUCKET_FRAMES), 1) * BUCKET_FRAMES)

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Hear the tones of windows; see `Engine.decode`."""
        for window in windows:
            self.bucket(window)
        answers = [self._hear(window) for window in windows]
        if self._sleep and windows:
            self._sleep(self._fixed_s + self._each_s * len(windows))
        if self._is_due(answers):
            self._fail()
        return answers

    def warm_up(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Let calls that hang go."""
        self._closed.set()

    def _hear(self, window: Window) -> Hypothesis:
        loudness = window.features.max(axis=0)
        return Hypothesis(
            words=transcribe(window),
            language=(window.language or "en") if self._multilingual else "en",
            language_confidence=1.0 if window.language or not self._multilingual else 0.9,
            no_speech=float((loudness < SILENT).mean()) if loudness.size else 1.0,
            model=self._model,
            aligned=window.kind is Kind.FINAL,
        )

    def _is_due(self, answers: Sequence[Hypothesis]) -> bool:
        if self._failure is Failure.NONE:
            return False
        if self._on_word and not any(word.text == self._on_word for answer in answers for word in answer.words):
            return False
        with self._lock:
            if self._left_well > 0:
                self._left_well -= 1
                return False
            due = self._left_wrong != 0
            self._left_wrong -= 1 if self._left_wrong > 0 else 0
            return due

    def _fail(self) -> None:
        match self._failure:
            case Failure.OUT_OF_MEMORY:
                raise OutOfMemory(f"a batch of model {self._model} did not fit, as it was told")
            case Failure.DIE:
                os._exit(DIED)
            case Failure.HANG:
                self._closed.wait()
                raise EngineError(f"model {self._model} was closed while a batch hung")
            case _:
                raise EngineError(f"model {self._model} failed, as it was told", retryable=True)


def transcribe(window: Window) -> tuple[Word, ...]:
    """Hear the tones of one window, as described at the top of this module."""
    features = window.features
    if not features.size:
        return ()
    loudest: NDArray[np.int64] = features.argmax(axis=0)
    heard = _words_of_bands(features.shape[0])[loudest]
    heard[features.max(axis=0) < SILENT] = -1
    runs: list[list[int]] = []  # word, first frame, frame after the last
    at = 0
    for word, frames in groupby(heard.tolist()):
        stop = at + sum(1 for _ in frames)
        runs.append([word, at, stop])
        at = stop
    return tuple(Word(WORDS[word], start * FRAME_S, stop * FRAME_S, 1.0) for word, start, stop in _without_short(runs))


def _without_short(runs: Sequence[Sequence[int]]) -> list[list[int]]:
    """Join short runs to the words beside them, and leave silence out."""
    words: list[list[int]] = []
    pending: int | None = None  # where a short run began that has no word before it
    for word, start, stop in runs:
        touches = bool(words) and words[-1][2] == start
        if word < 0:
            pending = None
        elif touches and (stop - start < SHORTEST or words[-1][0] == word):
            words[-1][2] = stop
        elif stop - start < SHORTEST:
            pending = start if pending is None else pending
        else:
            words.append([word, start if pending is None else pending, stop])
            pending = None
    return words


@lru_cache(maxsize=4)
def _words_of_bands(n_mels: int) -> NDArray[np.int64]:
    """Index of the word of each mel band, shape ``(n_mels,)``."""
    top = MEL_BREAK + MEL_PER_LOG * log(8000 / MEL_BREAK_HZ)
    centres = np.linspace(0.0, top, n_mels + 2)[1:-1]
    distances: NDArray[np.float64] = np.abs(centres[:, None] - _MELS[None, :])
    nearest: NDArray[np.int64] = distances.argmin(axis=1)
    return nearest
