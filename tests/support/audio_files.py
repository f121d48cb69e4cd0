"""Audio files as calls bring them: bytes in a telephone codec, or samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from streaming.audio import encode
from streaming.call import AudioFormat, Encoding
from streaming.decoding import Float32Array

TELEPHONE_RATE = 8_000
WIDEBAND_RATE = 16_000


@dataclass(frozen=True, slots=True)
class CallAudio:
    """Audio in the codec of a call."""

    format: AudioFormat
    payload: bytes
    """Samples, channels interleaved."""

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        frame = self.format.encoding.sample_bytes * self.format.channels
        return len(self.payload) / frame / self.format.rate


def read_audio(path: Path) -> tuple[Float32Array, int]:
    """Read any audio file.

    Returns:
        float32 in [-1, 1], shape ``(n_samples, n_channels)``, and the rate in Hz.
    """
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return np.asarray(samples, dtype=np.float32), int(rate)


def resample(audio: Float32Array, rate_in: int, rate_out: int) -> Float32Array:
    """Change the rate of ``(n_samples, n_channels)`` or ``(n_samples,)``, by an implementation that is not ours."""
    if rate_in == rate_out:
        return audio
    return np.asarray(soxr.resample(audio, rate_in, rate_out, quality="VHQ"), dtype=np.float32)


def read_call_audio(path: Path, *, telephone: bool = False) -> CallAudio:
    """Read an audio file as a call would bring it.

    Args:
        path: A file of 8 kHz becomes mu-law at 8 kHz, any other 16-bit linear at 16 kHz.
        telephone: Make it mu-law at 8 kHz whatever it is.
    """
    samples, rate = read_audio(path)
    if telephone or rate == TELEPHONE_RATE:
        encoding, call_rate = Encoding.MULAW, TELEPHONE_RATE
    else:
        encoding, call_rate = Encoding.L16, WIDEBAND_RATE
    payload = encode(resample(samples, rate, call_rate).reshape(-1), encoding)
    return CallAudio(AudioFormat(encoding, call_rate, samples.shape[1]), payload)


def write_wav(path: Path, audio: Float32Array, rate: int, encoding: Encoding) -> None:
    """Write samples of shape ``(n_samples, n_channels)`` or ``(n_samples,)`` as a WAV file."""
    subtype = {Encoding.MULAW: "ULAW", Encoding.ALAW: "ALAW", Encoding.L16: "PCM_16"}[encoding]
    soundfile.write(path, np.clip(audio, -1, 1), rate, subtype=subtype)
