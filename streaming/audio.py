"""The codecs of telephony: bytes of a call's own encoding to float samples, and back.

Between the two are codes: samples as they travel, one row each.

G.711 is one table look-up per sample. Both tables are computed from the segments of ITU-T G.711: a code is a sign, one
of eight segments whose step doubles from one to the next, and one of sixteen steps.
"""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from streaming.call import Encoding
from streaming.decoding import Float32Array
from streaming.errors import BadAudio

__all__ = ["Codes", "codes_of", "decode", "deinterleave", "encode", "levels", "mixed_down", "silence", "sound_of"]

Codes = NDArray[np.uint8]
"""Samples as they travel, shape ``(n_samples, sample_bytes)``."""

Sample = TypeVar("Sample", bound=np.generic)

FULL_SCALE: Final = 32_768
"""Magnitude of the most negative 16-bit sample: 1.0 in float."""

_CODES: Final = np.arange(256)
_LINEAR: Final = {Encoding.L16: np.dtype("<i2"), Encoding.L16BE: np.dtype(">i2")}


def _mulaw_levels() -> Float32Array:
    code = _CODES ^ 0xFF  # all bits travel inverted
    segment, step = code >> 4 & 7, code & 15
    # 33 is the bias, in units of the 14-bit scale, that makes every segment start at a power of two
    magnitude = ((2 * step + 33) << segment) - 33
    return (np.where(code & 0x80, -magnitude, magnitude) * 4 / FULL_SCALE).astype(np.float32)


def _alaw_levels() -> Float32Array:
    code = _CODES ^ 0x55  # even bits travel inverted
    segment, step = code >> 4 & 7, code & 15
    # in units of the 13-bit scale; the two lowest segments share one step size
    magnitude = np.where(segment == 0, 2 * step + 1, (2 * step + 33) << np.maximum(segment - 1, 0))
    return (np.where(code & 0x80, magnitude, -magnitude) * 8 / FULL_SCALE).astype(np.float32)


class _Companding:
    """One companding law: the level of each code, and how to find the code nearest to a sample."""

    def __init__(self, levels: Float32Array) -> None:
        self.levels = levels
        order = np.argsort(levels, kind="stable")
        self._codes = order.astype(np.uint8)
        self._borders = (levels[order][:-1] + levels[order][1:]) / 2

    def encode(self, samples: Float32Array) -> bytes:
        return self._codes[np.searchsorted(self._borders, samples)].tobytes()


_COMPANDING: Final = {Encoding.MULAW: _Companding(_mulaw_levels()), Encoding.ALAW: _Companding(_alaw_levels())}


def levels(encoding: Encoding) -> Float32Array:
    """Return the sample that each byte stands for in a companding law, float32 of shape ``(256,)``; it is shared.

    Raises:
        KeyError: If the encoding has two bytes a sample.
    """
    return _COMPANDING[encoding].levels


def decode(payload: bytes, encoding: Encoding) -> Float32Array:
    """Turn a payload into samples.

    Args:
        payload: Samples in the call's own encoding; interleaved channels stay interleaved.
        encoding: How they travel.

    Returns:
        float32, shape ``(n_samples,)``, in [-1, 1).

    Raises:
        BadAudio: If a 16-bit payload has an odd number of bytes.
    """
    return sound_of(codes_of(payload, encoding), encoding)


def codes_of(payload: bytes, encoding: Encoding) -> Codes:
    """Turn a payload into codes, which share its memory.

    Raises:
        BadAudio: If a 16-bit payload has an odd number of bytes.
    """
    if len(payload) % encoding.sample_bytes:
        raise BadAudio(f"{encoding} has 2 bytes a sample, got {len(payload)} bytes; send whole samples")
    return np.frombuffer(payload, np.uint8).reshape(-1, encoding.sample_bytes)


def sound_of(codes: Codes, encoding: Encoding) -> Float32Array:
    """Turn codes, contiguous in memory, into samples: float32, shape ``(n_samples,)``, in [-1, 1)."""
    if encoding in _COMPANDING:
        return _COMPANDING[encoding].levels[codes[:, 0]]
    samples = codes.reshape(-1).view(_LINEAR[encoding]).astype(np.float32)
    samples /= FULL_SCALE
    return samples


def encode(samples: Float32Array, encoding: Encoding) -> bytes:
    """Turn samples into a payload, each as the nearest value the encoding has; what is too loud is clipped.

    Args:
        samples: float32, shape ``(n_samples,)``, full scale is [-1, 1).
        encoding: How they are to travel.
    """
    if encoding in _COMPANDING:
        return _COMPANDING[encoding].encode(samples)
    scaled: NDArray[np.float64] = np.rint(np.asarray(samples, np.float64) * FULL_SCALE)
    return np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(_LINEAR[encoding]).tobytes()


def deinterleave(samples: NDArray[Sample], channels: int) -> NDArray[Sample]:
    """Split interleaved samples, or codes, into channels.

    Args:
        samples: Shape ``(n_samples * channels, ...)``.
        channels: 1 and up.

    Returns:
        Shape ``(channels, n_samples, ...)``, each channel contiguous.

    Raises:
        BadAudio: If the channels do not have equally many samples.
    """
    if len(samples) % channels:
        raise BadAudio(f"{len(samples)} samples do not divide into {channels} channels; send whole sample frames")
    return np.ascontiguousarray(samples.reshape(-1, channels, *samples.shape[1:]).swapaxes(0, 1))


def mixed_down(sides: Codes, encoding: Encoding) -> Codes:
    """Return the mean of channels, shape ``(channels, n_samples, sample_bytes)``, as codes of ``Encoding.L16``."""
    mean: Float32Array = np.stack([sound_of(side, encoding) for side in sides]).mean(axis=0)
    return codes_of(encode(mean, Encoding.L16), Encoding.L16)


def silence(n_bytes: int, encoding: Encoding) -> bytes:
    """Return so many bytes of silence; whole samples of them, if ``n_bytes`` is of whole samples."""
    sample = encode(np.zeros(1, np.float32), encoding)
    return sample * (n_bytes // len(sample))
