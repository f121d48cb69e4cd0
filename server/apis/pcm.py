"""Samples that come as 32-bit floats, as the log holds them: 16-bit."""

from __future__ import annotations

import numpy as np

FLOAT_BYTES = 4
"""Bytes of one sample as it comes."""


class FloatSamples:
    """A stream of little-endian 32-bit floats in [-1, 1] whose messages may end within a sample."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def push(self, payload: bytes) -> bytes:
        """Return the samples that are whole, signed 16-bit little-endian; what is no number is silence."""
        joined = self._rest + payload if self._rest else payload
        whole = len(joined) - len(joined) % FLOAT_BYTES
        self._rest = joined[whole:]
        samples = np.nan_to_num(np.frombuffer(joined[:whole], "<f4"), nan=0.0, posinf=1.0, neginf=-1.0)
        scaled = np.clip(np.round(samples.astype(np.float64) * 32_768), -32_768, 32_767)
        whole_numbers: bytes = scaled.astype("<i2").tobytes()
        return whole_numbers
