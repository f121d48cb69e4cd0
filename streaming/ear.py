"""One channel's hearing: samples as the call sends them become windows for a model and frames for voice activity."""

from __future__ import annotations

from typing import Final

import numpy as np

from streaming.audio import Codes, codes_of, silence, sound_of
from streaming.call import SAMPLE_RATE, Encoding
from streaming.decoding import Audio, Float32Array
from streaming.media import NEW_CLOCK, MediaClock
from streaming.records import ClockState
from streaming.resample import Resampler
from streaming.tracks import AudioTrack, FeatureTrack, Track

VAD_RATE: Final = 8_000
"""Hz of the frames for voice activity: what telephones send, so that it costs them no resampling."""

VAD_FRAME: Final = 256
"""Samples of one frame: 32 ms."""

HOP: Final = 160
"""Samples at 16 kHz between two feature frames."""


START_GRID_S: Final = 0.16
"""An ear that starts within a call starts at a multiple of this many seconds: there, feature frames, frames for voice
activity and samples of every supported rate all begin anew."""


class Ear:
    """The front end of one channel.

    Args:
        encoding: How the samples travel.
        rate: Hz of the samples.
        n_mels: Mel bands of the model's features; None where windows carry audio, and devices make the features.
        max_gap_s: Longest gap on the media clock that is filled with silence.
        clock: What the channel's media clock remembers, where the call is heard from its middle on. What was heard
            before is taken for silence, and ``start`` lies a little before it.
    """

    def __init__(
        self, encoding: Encoding, rate: int, n_mels: int | None, max_gap_s: float, clock: ClockState = NEW_CLOCK
    ) -> None:
        nothing = codes_of(silence(encoding.sample_bytes, encoding), encoding)
        self.clock = MediaClock(rate, max_gap_s, clock, nothing)
        self._encoding = encoding
        grid = round(START_GRID_S * rate)
        steps = clock.position // grid
        self.start = steps * round(START_GRID_S * SAMPLE_RATE)
        """Sample at 16 kHz at which the first frame for voice activity begins."""
        first = self.start // HOP
        self._track: Track = AudioTrack(encoding, rate, first) if n_mels is None else FeatureTrack(rate, n_mels, first)
        self._to_vad = Resampler(rate, VAD_RATE)
        self._unframed: Float32Array = self._take(np.repeat(nothing, clock.position - steps * grid, axis=0))

    @property
    def samples(self) -> int:
        """Samples at 16 kHz heard so far."""
        return self._track.samples

    @property
    def ready(self) -> int:
        """Samples at 16 kHz that windows can be made of: the last features wait for the audio behind them."""
        return min(self.samples, self._track.available_frames * HOP)

    @property
    def memory_bytes(self) -> int:
        """Bytes held for audio and features."""
        return self._track.memory_bytes + self._unframed.nbytes

    def hear(self, codes: Codes, position: int) -> Float32Array:
        """Take the next chunk.

        Args:
            codes: Mono, in the call's own encoding and rate, shape ``(n, sample_bytes)``.
            position: Media clock of the first sample at that rate, or ``UNTIMED``.

        Returns:
            Whole frames for voice activity, float32, shape ``(k, 256)``, 8 kHz; often empty.
        """
        return self._frame(self._take(self.clock.place(codes, position)))

    def finish(self) -> Float32Array:
        """End the audio; the last frame for voice activity is filled with silence.

        Returns:
            The remaining frames, shape ``(k, 256)``.
        """
        self._track.finish()
        frames = self._frame(self._to_vad.flush())
        if not self._unframed.size:
            return frames
        last = np.pad(self._unframed, (0, VAD_FRAME - self._unframed.size))
        self._unframed = self._unframed[:0]
        return np.concatenate([frames, last[None]])

    def window(self, start: int, end: int) -> Float32Array | Audio:
        """Return what lies between two positions; windows that abut share no frame and leave none out.

        Args:
            start: First sample at 16 kHz.
            end: Sample at 16 kHz to stop before, at most ``ready``.

        Returns:
            log10 mel power, float32, shape ``(n_mels, n_frames)``, or the audio to make it of.
        """
        return self._track.window(start // HOP, end // HOP)

    def release(self, before: int) -> None:
        """Drop audio before this sample at 16 kHz."""
        self._track.release(before // HOP)

    def _take(self, placed: Codes) -> Float32Array:
        """Keep what continues the run for windows, and return what voice activity hears of it."""
        sound = sound_of(placed, self._encoding)
        self._track.append(placed, sound)
        return self._to_vad.push(sound)

    def _frame(self, samples: Float32Array) -> Float32Array:
        joined = np.concatenate([self._unframed, samples])
        whole = joined.size // VAD_FRAME * VAD_FRAME
        self._unframed = joined[whole:]
        return joined[:whole].reshape(-1, VAD_FRAME)
