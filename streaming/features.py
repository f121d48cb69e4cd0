"""Whisper's features, each 10 ms frame computed exactly once, however often windows overlap.

Frame ``k`` is the power spectrum of the 25 ms of audio around sample ``160 * k``, in mel bands, as log10. Whisper's
clamp and scale look at a whole window, so they are applied to a window (``normalise``), not to the store.

Frames 0 and 1 look at audio before the first sample. That counts as silence here, as does what follows ``finish``.
Whisper's own extractor mirrors the audio at the first sample of every window it is given; windows cut from this store
have the real audio there, and differ from its output in their first two frames.
"""

from __future__ import annotations

from functools import lru_cache
from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streaming.decoding import Float32Array
from streaming.tape import Tape

__all__ = [
    "FRAME_HOP",
    "FRAME_SUPPORT",
    "HANN",
    "POWER_FLOOR",
    "FeatureStore",
    "complete_frames",
    "mel_filters",
    "normalise",
]

FRAME_HOP: Final = 160
"""Samples at 16 kHz between two frames: 10 ms."""

FRAME_SUPPORT: Final = 400
"""Samples a frame looks at: 25 ms, half of them before its centre."""

RATE: Final = 16_000
HALF: Final = FRAME_SUPPORT // 2
POWER_FLOOR: Final = 1e-10
"""Least mel power."""

HANN: Final = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME_SUPPORT) / FRAME_SUPPORT)).astype(np.float32)
"""What a frame's samples are weighted with, shape ``(400,)``."""

# Slaney's mel scale: linear below 1 kHz, 15 mel there; above, 27 mel for each factor of 6.4
MEL_BREAK_HZ: Final = 1000.0
MEL_BREAK: Final = 15.0
MEL_PER_LOG: Final = 27.0 / log(6.4)


@lru_cache(maxsize=4)
def mel_filters(n_mels: int) -> Float32Array:
    """Return Whisper's mel filter bank: triangles on Slaney's scale from 0 to 8 kHz, each of equal area.

    Args:
        n_mels: Number of bands; 80 or 128 in today's models.

    Returns:
        float32, shape ``(n_mels, 201)``; shared, not to be written to.
    """
    top = MEL_BREAK + MEL_PER_LOG * log(RATE / 2 / MEL_BREAK_HZ)
    mel = np.linspace(0.0, top, n_mels + 2)
    linear = mel * (MEL_BREAK_HZ / MEL_BREAK)
    corner = np.where(mel < MEL_BREAK, linear, MEL_BREAK_HZ * np.exp((mel - MEL_BREAK) / MEL_PER_LOG))
    low, centre, high = corner[:-2, None], corner[1:-1, None], corner[2:, None]
    hz = np.fft.rfftfreq(FRAME_SUPPORT, 1 / RATE)
    triangle = np.minimum((hz - low) / (centre - low), (high - hz) / (high - centre))
    filters: Float32Array = (np.maximum(0.0, triangle) * 2 / (high - low)).astype(np.float32)
    filters.flags.writeable = False
    return filters


def normalise(window: Float32Array) -> Float32Array:
    """Apply Whisper's clamp and scale: at most 8 decades below the loudest band of the window, then about -1 to 1.

    Args:
        window: log10 mel power, shape ``(n_mels, n_frames)``, at least one frame.
    """
    scaled: Float32Array = np.maximum(window, window.max() - np.float32(8.0))
    scaled += np.float32(4.0)
    scaled *= np.float32(0.25)
    return scaled


def complete_frames(samples: int, *, finished: bool) -> int:
    """How many frames look at no audio beyond so many samples at 16 kHz; if no more come, one per 10 ms begun."""
    return -(-samples // FRAME_HOP) if finished else max(0, (samples - HALF) // FRAME_HOP + 1)


class FeatureStore:
    """One channel's audio at 16 kHz and the features made from it so far.

    Memory is what lies between the last ``release`` and now, at most doubled.

    Args:
        n_mels: Mel bands.
        first_frame: Frame at which the audio begins; what lies before it is taken for silence.
    """

    def __init__(self, n_mels: int, first_frame: int = 0) -> None:
        self._filters = mel_filters(n_mels)
        self._first = first_frame * FRAME_HOP
        self._audio = Tape((), self._first - HALF, np.float32)
        self._audio.extend(HALF)[:] = 0
        self._mels = Tape((n_mels,), first_frame, np.float32)  # NaN where not computed yet
        self._samples = self._first
        self._finished = False
        self.computed_frames = 0
        """Frames computed so far, for measuring that none is computed twice."""

    @property
    def samples(self) -> int:
        """Samples since the stream's start."""
        return self._samples

    @property
    def available_frames(self) -> int:
        """Frames, counted from the stream's start, whose audio is complete; after ``finish`` one per 10 ms begun."""
        return complete_frames(self._samples, finished=self._finished)

    @property
    def memory_bytes(self) -> int:
        """Bytes held for audio and frames, spare room included."""
        return self._audio.nbytes + self._mels.nbytes

    def append(self, pcm: Float32Array) -> None:
        """Add audio.

        Args:
            pcm: float32, shape ``(n,)``, 16 kHz, in [-1, 1].

        Raises:
            ValueError: If the audio was finished.
        """
        if self._finished:
            raise ValueError("audio cannot be appended after finish()")
        self._audio.extend(pcm.size)[:] = pcm
        self._samples += pcm.size

    def finish(self) -> None:
        """Declare that no more audio comes: the last frames see zeros after it."""
        if not self._finished:
            self._audio.extend(HALF)[:] = 0
            self._finished = True

    def frames(self, start: int, stop: int) -> Float32Array:
        """Return log-mel frames, computing those that no one asked for before.

        Args:
            start: First frame; not before the last ``release``.
            stop: Frame to stop before; at most ``available_frames``.

        Returns:
            log10 of mel power, at least -10, float32, shape ``(n_mels, stop - start)``; the caller's own copy.

        Raises:
            ValueError: If frames are asked for that were released or are not available yet.
        """
        if not self._mels.start <= start <= stop <= max(start, self.available_frames):
            kept = f"{self._mels.start} to {self.available_frames}"
            raise ValueError(f"frames {start} to {stop} are not there; the store has {kept}")
        if stop > self._mels.stop:
            self._mels.extend(stop - self._mels.stop)[:] = np.nan
        window = self._mels.read(start, stop)
        missing = np.flatnonzero(np.isnan(window[0]))
        if missing.size:
            window[:, missing] = self._compute(start + missing)
            self.computed_frames += missing.size
        return window.copy()

    def pcm(self, start: int, stop: int) -> Float32Array:
        """Return a copy of the audio between two samples, shape ``(stop - start,)``.

        Raises:
            ValueError: If it was released or has not come yet.
        """
        first = max(self._first, self._audio.start)
        if not first <= start <= stop <= self._samples:
            raise ValueError(f"samples {start} to {stop} are not there; the store has {first} to {self._samples}")
        return self._audio.read(start, stop).copy()

    def release(self, before_frame: int) -> None:
        """Drop frames before this one, and the audio that only they needed; never brings anything back."""
        self._mels.drop(before_frame)
        self._audio.drop(min(before_frame * FRAME_HOP - HALF, self._samples))

    def _compute(self, frames: NDArray[np.intp]) -> Float32Array:
        first = int(frames[0])
        audio = self._audio.read(first * FRAME_HOP - HALF, int(frames[-1]) * FRAME_HOP + HALF)
        windows = np.lib.stride_tricks.sliding_window_view(audio, FRAME_SUPPORT)[::FRAME_HOP]
        spectrum = np.fft.rfft(windows[frames - first] * HANN, axis=1)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        mel: Float32Array = self._filters @ power.T
        return np.log10(np.maximum(mel, POWER_FLOOR, out=mel), out=mel)
