"""Floats as 16-bit samples."""

from __future__ import annotations

import struct

from server.apis.pcm import FloatSamples


def test_floats_become_16_bit_wherever_messages_end() -> None:
    """What is out of range is held at its edge, what is no number is silence."""
    given = struct.pack("<6f", 0.0, 0.5, 1.0, -1.0, float("nan"), float("inf"))
    stream = FloatSamples()
    samples = b"".join(stream.push(given[at : at + 3]) for at in range(0, len(given), 3))
    assert struct.unpack("<6h", samples) == (0, 16_384, 32_767, -32_768, 0, 32_767)
