"""What a channel's windows are cut from: features made as the audio comes, or the audio itself as the call sent it.

Both are as far at any moment, so that a session decides the same whichever of them it has.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from streaming.audio import Codes
from streaming.call import SAMPLE_RATE, Encoding
from streaming.decoding import FRAMES_PER_S, MARGIN, Audio, Float32Array
from streaming.features import FRAME_HOP, FeatureStore, complete_frames
from streaming.resample import Resampler, outputs_before, resampling_filter
from streaming.tape import Tape

__all__ = ["AudioTrack", "FeatureTrack", "Track"]


class Track(Protocol):
    """One channel's recent past; frames are of 10 ms, counted from the call's start."""

    @property
    def samples(self) -> int:
        """Samples at 16 kHz that are known, counted from the call's start."""
        ...

    @property
    def available_frames(self) -> int:
        """Frames whose audio is complete; after ``finish`` one per 10 ms begun."""
        ...

    @property
    def memory_bytes(self) -> int:
        """Bytes held, spare room included."""
        ...

    def append(self, codes: Codes, sound: Float32Array) -> None:
        """Add audio, in both its forms."""
        ...

    def finish(self) -> None:
        """Declare that no more audio comes."""
        ...

    def window(self, start: int, stop: int) -> Float32Array | Audio:
        """Return what lies between two frames.

        Raises:
            ValueError: If some of it was released or is not available yet.
        """
        ...

    def release(self, before: int) -> None:
        """Drop what is only needed for frames before this one."""
        ...


class FeatureTrack:
    """Keeps features, each frame computed once.

    Args:
        rate: Hz of the call's samples.
        n_mels: Mel bands.
        first_frame: Frame at which the audio begins.
    """

    def __init__(self, rate: int, n_mels: int, first_frame: int) -> None:
        self._resampler = Resampler(rate, SAMPLE_RATE)
        self._store = FeatureStore(n_mels, first_frame)

    @property
    def samples(self) -> int:
        """Samples at 16 kHz that are known."""
        return self._store.samples

    @property
    def available_frames(self) -> int:
        """Frames whose audio is complete."""
        return self._store.available_frames

    @property
    def memory_bytes(self) -> int:
        """Bytes held."""
        return self._store.memory_bytes

    def append(self, codes: Codes, sound: Float32Array) -> None:
        """Add audio."""
        del codes
        self._store.append(self._resampler.push(sound))

    def finish(self) -> None:
        """Declare that no more audio comes."""
        self._store.append(self._resampler.flush())
        self._store.finish()

    def window(self, start: int, stop: int) -> Float32Array:
        """Return features, shape ``(n_mels, stop - start)``; see `Track.window`."""
        return self._store.frames(start, stop)

    def release(self, before: int) -> None:
        """Drop what is only needed for frames before this one."""
        self._store.release(before)


class AudioTrack:
    """Keeps the audio as it came, for devices that make the features.

    Args:
        encoding: How it travels.
        rate: Hz.
        first_frame: Frame at which the audio begins.
    """

    def __init__(self, encoding: Encoding, rate: int, first_frame: int) -> None:
        self._encoding = encoding
        self._rate = rate
        self._frame_bytes = rate // FRAMES_PER_S * encoding.sample_bytes
        self._first = first_frame
        self._kept = first_frame
        self._reach = 0 if rate == SAMPLE_RATE else resampling_filter(rate, SAMPLE_RATE).reach
        self._tape = Tape((), first_frame * self._frame_bytes, np.uint8)
        self._finished = False

    @property
    def samples(self) -> int:
        """Samples at 16 kHz that could be made of what came."""
        came = self._tape.stop // self._encoding.sample_bytes - (0 if self._finished else self._reach)
        return max(self._first * FRAME_HOP, outputs_before(came, self._rate, SAMPLE_RATE))

    @property
    def available_frames(self) -> int:
        """Frames whose audio is complete."""
        return complete_frames(self.samples, finished=self._finished)

    @property
    def memory_bytes(self) -> int:
        """Bytes held."""
        return self._tape.nbytes

    def append(self, codes: Codes, sound: Float32Array) -> None:
        """Add audio."""
        del sound
        self._tape.extend(codes.size)[:] = codes.reshape(-1)

    def finish(self) -> None:
        """Declare that no more audio comes."""
        self._finished = True

    def window(self, start: int, stop: int) -> Audio:
        """Return the audio that frames are made of; see `Track.window`."""
        if not self._kept <= start <= stop <= max(start, self.available_frames):
            kept = f"{self._kept} to {self.available_frames}"
            raise ValueError(f"frames {start} to {stop} are not there; the track has {kept}")
        before = min(MARGIN, start - self._first)
        begin = (start - before) * self._frame_bytes
        end = min((stop + 1) * self._frame_bytes, self._tape.stop)
        payload = self._tape.read(begin, max(begin, end)).tobytes()
        return Audio(payload, self._encoding, self._rate, stop - start, before)

    def release(self, before: int) -> None:
        """Drop what is only needed for frames before this one."""
        self._kept = max(self._kept, before)
        self._tape.drop(min((before - MARGIN) * self._frame_bytes, self._tape.stop))
