"""Recordings as samples: what libsndfile reads (WAV, FLAC, Ogg, MP3) becomes 16-bit at 16 kHz, piece by piece."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import Final, Protocol, cast

import numpy as np
import soundfile

from server.errors import Refusal
from streaming.call import MAX_CHANNELS, SAMPLE_RATE
from streaming.decoding import Float32Array
from streaming.resample import Resampler

PIECE_S: Final = 0.5
"""Length of a piece, in seconds."""

_COMMON: Final = 25
"""Least common divisor of a recording's rate and ours that the resampler's tables are made for: 11,025 Hz has it."""


_FASTEST: Final = 192_000
"""Highest rate that is taken, in Hz: the tables grow with it, and a damaged file may say anything."""


class _Sound(Protocol):
    samplerate: int
    channels: int
    frames: int

    def read(self, frames: int, dtype: str, always_2d: bool) -> Float32Array: ...


class Recording:
    """A file of sound.

    Args:
        data: The file.
        apart: Whether its channels are kept apart instead of mixed.
        max_s: The longest that is taken, in seconds.

    Raises:
        Refusal: 400 if it cannot be read, 413 if it is too long.
    """

    def __init__(self, data: bytes, *, apart: bool, max_s: float) -> None:
        try:
            self._sound = cast("_Sound", soundfile.SoundFile(io.BytesIO(data)))
        except (soundfile.LibsndfileError, TypeError) as problem:
            raise _unreadable() from problem
        rate = self._sound.samplerate
        served = rate <= _FASTEST and math.gcd(rate, SAMPLE_RATE) >= _COMMON
        if not served or self._sound.channels > MAX_CHANNELS:
            raise Refusal(400, "unsupported_format", f"{rate} Hz with {self._sound.channels} channels is not served")
        self._apart = apart
        self._max_s = max_s
        self.channels = self._sound.channels if apart else 1
        """Channels that come out."""
        self.seconds = 0.0
        """Length of what was given out so far."""
        if self._sound.frames > max_s * rate:
            raise self._too_long()

    def pieces(self) -> Iterator[bytes]:
        """Give out signed 16-bit little-endian samples at 16 kHz, channels interleaved.

        Raises:
            Refusal: 400 if the file is damaged, 413 if it is longer than it said.
        """
        rate = self._sound.samplerate
        resamplers = [Resampler(rate, SAMPLE_RATE) for _ in range(self.channels)]
        read = 0
        while True:
            try:
                block = self._sound.read(round(rate * PIECE_S), dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, RuntimeError) as problem:
                raise _unreadable() from problem
            read += len(block)
            if read > self._max_s * rate:
                raise self._too_long()
            sides = block.T if self._apart else block.mean(axis=1, dtype=np.float32)[None]
            if len(block):
                yield self._packed([one.push(side) for one, side in zip(resamplers, sides, strict=True)])
            else:
                yield self._packed([one.flush() for one in resamplers])
                return

    def _packed(self, sides: list[Float32Array]) -> bytes:
        self.seconds += len(sides[0]) / SAMPLE_RATE
        joined = np.stack(sides, axis=1)
        return np.clip(np.round(joined * 32_768), -32_768, 32_767).astype("<i2").tobytes()

    def _too_long(self) -> Refusal:
        return Refusal(413, "too_long", f"recordings may have {self._max_s:g} s")


def _unreadable() -> Refusal:
    return Refusal(400, "unsupported_format", "the file cannot be read; send WAV, FLAC, Ogg (Vorbis, Opus) or MP3")
