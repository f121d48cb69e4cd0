"""What a session asks of a model, and what a model answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streaming.call import Encoding

Float32Array = NDArray[np.float32]


class Kind(StrEnum):
    """Why a window is decoded; it decides what may happen to the job under load."""

    PARTIAL = "partial"
    """Supersedable: a newer one of the same channel replaces it, and it may be dropped."""
    FINAL = "final"
    """Carries the promise: never dropped, words are timed, and it goes before partials."""


FRAMES_PER_S: Final = 100

MARGIN: Final = 2
"""Frames of audio before a window that its first frames look at: half of a frame's support, 12.5 ms, and the reach of
the resampler, 4 ms at 8 kHz."""


@dataclass(frozen=True, slots=True)
class Audio:
    """A stretch of one channel's audio as the call sent it, for a device that makes the features itself."""

    payload: bytes
    """From ``before`` frames before the stretch to as far behind it as its last frame looks; whole samples."""
    encoding: Encoding
    rate: int
    """Hz; a frame of 10 ms is a whole number of samples."""
    frames: int
    """Frames that are wanted."""
    before: int = 0
    """Frames before them: ``MARGIN``, fewer only where there was no audio before."""

    def without(self, frames: int) -> Audio:
        """Leave out the first frames."""
        kept = min(MARGIN, self.before + frames)
        cut = (self.before + frames - kept) * self.rate // FRAMES_PER_S * self.encoding.sample_bytes
        return replace(self, payload=self.payload[cut:], frames=self.frames - frames, before=kept)


@dataclass(frozen=True, slots=True)
class Window:
    """One stretch of one channel's audio, to be decoded once."""

    sound: Float32Array | Audio
    """Its features, log10 mel power before Whisper's clamp and scale, shape ``(n_mels, n_frames)``, a frame each 10 ms;
    or what they are to be made of. (Between a front end and an engine on one GPU, features are a ``torch.Tensor``.)"""
    kind: Kind
    language: str | None = None
    """ISO 639-1 code, or None: the model detects and reports it."""
    context: str = ""
    """Text of this channel's previous final, or empty."""
    hotwords: tuple[str, ...] = ()
    model: str | None = None
    """A model the caller insists on, or None for the rung's."""
    beam: int = 1
    """Hypotheses kept beside each other while decoding; 1 is greedy."""
    draft: tuple[int, ...] = ()
    """Tokens of an earlier hypothesis of the same speech, from the same first frame: an engine may check them at once
    instead of writing them one by one. A wrong draft costs time, never words."""
    voice: float = 0.0
    """How surely somebody speaks, 0..1: the mean of voice activity over the frames that count as speech."""

    @property
    def features(self) -> Float32Array:
        """Its features.

        Raises:
            TypeError: If they are still to be made.
        """
        if isinstance(self.sound, Audio):
            raise TypeError("the window carries audio; its features are made by a front end on the device")
        return self.sound

    @property
    def frames(self) -> int:
        """Frames of 10 ms."""
        return self.sound.frames if isinstance(self.sound, Audio) else int(self.sound.shape[1])

    @property
    def seconds(self) -> float:
        """Length of the audio in seconds."""
        return self.frames / FRAMES_PER_S

    def without(self, frames: int) -> Window:
        """Leave out the first frames."""
        sound = self.sound.without(frames) if isinstance(self.sound, Audio) else self.sound[:, frames:]
        return replace(self, sound=sound)


@dataclass(frozen=True, slots=True)
class DecodeJob:
    """A window on its way to a device."""

    job: int
    """Unique among the jobs of one shard process."""
    call: str
    channel: int
    tenant: str
    window: Window
    submitted_at: float
    """Monotonic seconds of this machine (the same clock in every process of it)."""
    deadline: float
    """Monotonic seconds; earlier deadlines are served first, finals before partials."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word with its place in time."""

    text: str
    """As written, with its punctuation, without surrounding space."""
    start: float
    """Seconds; from the window's start in a hypothesis, from the call's start in a transcript."""
    end: float
    """Seconds, same origin as ``start``."""
    confidence: float
    """Probability in 0..1."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What a model heard in one window."""

    words: tuple[Word, ...]
    """Empty where the model, or a check on it, found no speech."""
    language: str
    """ISO 639-1 code, given or detected."""
    language_confidence: float
    """Probability in 0..1; 1 where the language was given."""
    no_speech: float
    """The model's own probability, 0..1, that nobody speaks in the window."""
    model: str
    """Name of the model that wrote it."""
    aligned: bool
    """True where word times come from cross-attention; else they are spread over the segment."""
    retried: bool = False
    """True where a check fired and the window was decoded once more, padded."""
    queue_s: float = 0.0
    """Seconds the job waited on the device."""
    compute_s: float = 0.0
    """Seconds its batch took."""
    tokens: tuple[int, ...] = ()
    """What the model wrote, in its own vocabulary: the draft for a longer window of the same speech. Empty from an
    engine that makes no use of drafts."""

    @property
    def text(self) -> str:
        """The words joined by spaces."""
        return " ".join(word.text for word in self.words)
