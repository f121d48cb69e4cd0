"""Sample rates: a windowed-sinc filter, applied block by block as one matrix product, whatever the chunks.

Output sample ``i`` is the band-limited input at media time ``i / rate_out``: the filter's delay is compensated, so
times need no correction, and the price is the lookahead. With ``rate_out / rate_in = L / M`` in lowest terms, a block
of some multiple of M inputs makes the same multiple of L outputs, with weights that never change. So the matrix is
computed once per pair of rates, and a chunk is a batch of blocks. One short filter per output phase would multiply
less, but the product runs at the speed of BLAS.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd
from typing import Final, NamedTuple

import numpy as np

from streaming.decoding import Float32Array

__all__ = ["Resampler", "ResamplingFilter", "outputs_before", "resampling_filter"]

HALF_WIDTH: Final = 32
"""Zero crossings of the sinc on each side, in samples of the slower rate (4 ms at 8 kHz)."""

CUTOFF: Final = 0.466
"""Cycles per sample of the slower rate at -6 dB: the pass band ends at 0.432, the stop band begins at 0.5 (Nyquist)."""

KAISER_BETA: Final = 6.76
"""Window for 70 dB of stop-band attenuation."""

BLOCK: Final = 16
"""Fewest outputs of a block; larger blocks spend more multiplications on zeros, smaller ones more copying."""


class ResamplingFilter(NamedTuple):
    """Everything that depends on the two rates alone."""

    inputs: int  # samples a block moves on by
    outputs: int  # samples a block makes
    reach: int  # input samples needed on each side of an output's time
    weights: Float32Array  # (inputs + 2 * reach - 1, outputs); row 0 is the input ``reach - 1`` before the block


@lru_cache(maxsize=64)
def resampling_filter(rate_in: int, rate_out: int) -> ResamplingFilter:
    """Return the filter between two unlike rates in Hz; shared, its weights are not to be written to."""
    common = gcd(rate_in, rate_out)
    up, down = rate_out // common, rate_in // common
    repeats = ceil(BLOCK / up)
    inputs, outputs = repeats * down, repeats * up
    slower = min(rate_in, rate_out) / rate_in  # samples of the slower rate per input sample
    reach = ceil(HALF_WIDTH / slower)
    rows = np.arange(inputs + 2 * reach - 1) - (reach - 1)
    distance = (np.arange(outputs) * down / up - rows[:, None]) * slower
    window = np.i0(KAISER_BETA * np.sqrt(np.maximum(0.0, 1 - (distance / HALF_WIDTH) ** 2))) / np.i0(KAISER_BETA)
    weights = np.where(np.abs(distance) < HALF_WIDTH, np.sinc(2 * CUTOFF * distance) * window, 0.0)
    weights /= weights.sum(axis=0)  # a constant stays exactly that constant in every phase
    return ResamplingFilter(inputs, outputs, reach, weights.astype(np.float32))


def outputs_before(inputs: int, rate_in: int, rate_out: int) -> int:
    """How many outputs lie before the time of an input sample."""
    return max(0, -(-inputs * rate_out // rate_in))


class Resampler:
    """Changes the rate of one channel's stream.

    All outputs of ``push`` and ``flush`` together are ``ceil(n * rate_out / rate_in)`` samples for n samples pushed:
    those whose time lies before the end of the input. They do not depend on the chunking (up to float32 rounding).
    Silence is assumed before the first and after the last sample. Equal rates pass through untouched.

    Args:
        rate_in: Hz of what is pushed.
        rate_out: Hz of what comes out.

    Raises:
        ValueError: If a rate is not positive.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        if rate_in <= 0 or rate_out <= 0:
            raise ValueError(f"cannot resample {rate_in} Hz to {rate_out} Hz; both rates must be positive")
        self._rate_in = rate_in
        self._rate_out = rate_out
        self._filter = None if rate_in == rate_out else resampling_filter(rate_in, rate_out)
        self._start()

    def push(self, samples: Float32Array) -> Float32Array:
        """Take the next samples.

        Args:
            samples: float32, shape ``(n,)``, at ``rate_in``.

        Returns:
            float32, shape ``(k,)``, at ``rate_out``: every output whose lookahead is complete, which may be none.
        """
        if self._filter is None:
            return samples
        self._received += samples.size
        return self._emit(samples, outputs_before(self._received - self._filter.reach, self._rate_in, self._rate_out))

    def flush(self) -> Float32Array:
        """End the stream; the resampler is then as new, ready for another.

        Returns:
            The outputs that waited for their lookahead, with silence in its place.
        """
        if self._filter is None:
            return np.zeros(0, np.float32)
        rest = self._emit(np.zeros(0, np.float32), outputs_before(self._received, self._rate_in, self._rate_out))
        self._start()
        return rest

    def _start(self) -> None:
        self._received = 0
        self._emitted = 0
        reach = 1 if self._filter is None else self._filter.reach
        self._tail: Float32Array = np.zeros(reach - 1, np.float32)  # input still needed, from a block's first row on

    def _emit(self, samples: Float32Array, until: int) -> Float32Array:
        """Make the outputs from where the last call stopped to ``until``."""
        assert self._filter is not None
        inputs, outputs, _, weights = self._filter
        first = self._emitted // outputs
        blocks = -(-until // outputs) - first
        width = weights.shape[0]
        joined = np.concatenate([self._tail, samples])
        if until <= self._emitted:
            self._tail = joined
            return np.zeros(0, np.float32)
        # the last block may be unfinished: it is made from what is there, and again, whole, when more has come
        missing = (blocks - 1) * inputs + width - joined.size
        held = np.concatenate([joined, np.zeros(missing, np.float32)]) if missing > 0 else joined
        rows = np.ndarray((blocks, width), np.float32, held, strides=(inputs * held.itemsize, held.itemsize))
        made = (np.ascontiguousarray(rows) @ weights).ravel()[self._emitted - first * outputs : until - first * outputs]
        self._tail = joined[(until // outputs - first) * inputs :].copy()
        self._emitted = until
        return made
