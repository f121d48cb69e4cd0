"""The head of a WAV stream: what format its samples have and where they begin."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from streaming.call import AudioFormat, Encoding
from streaming.errors import BadAudio

MAX_HEAD: Final = 65_536
"""Bytes before the first sample that are still read; longer heads carry pictures, not calls."""

_PCM: Final = 1
_EXTENSIBLE: Final = 0xFFFE
_EXTENDED: Final = 26
"""Bytes of a format chunk that says its real format at byte 24."""
_ONE_BYTE: Final = {6: Encoding.ALAW, 7: Encoding.MULAW}
_ENDLESS: Final = (0, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class WavHead:
    """What a head says."""

    audio: AudioFormat
    begins: int
    """Offset of the first sample, in bytes."""
    length: int | None
    """Bytes of samples, or None where the writer did not know."""


def read_head(data: bytes | bytearray) -> WavHead | None:
    """Read the head of a WAV stream.

    Args:
        data: The stream's first bytes.

    Returns:
        What the head says, or None if more bytes are needed.

    Raises:
        BadAudio: If this is no WAV stream, or its samples are of a kind that is not served.
    """
    if not b"RIFF".startswith(data[:4]):
        raise BadAudio("audio without a declared encoding must be WAV; declare encoding and sample_rate, or send WAV")
    if len(data) >= 12 and data[8:12] != b"WAVE":  # noqa: PLR2004 - RIFF, size, WAVE
        raise BadAudio("the RIFF stream is not WAVE")
    audio: AudioFormat | None = None
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if name == b"data":
            if audio is None:
                raise BadAudio("the WAV stream has samples before it says their format")
            return WavHead(audio, at, None if size in _ENDLESS else size)
        if name == b"fmt " and at + size <= len(data):
            audio = _format(bytes(data[at : at + size]))
        at += size + size % 2
    if len(data) > MAX_HEAD:
        raise BadAudio(f"the WAV stream has no samples in its first {MAX_HEAD} bytes")
    return None


def _format(chunk: bytes) -> AudioFormat:
    if len(chunk) < 16:  # noqa: PLR2004 - what every format chunk has
        raise BadAudio("the WAV stream's format is cut short")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= _EXTENDED:
        tag = int.from_bytes(chunk[24:26], "little")
    encoding = Encoding.L16 if tag == _PCM and bits == 16 else _ONE_BYTE.get(tag)  # noqa: PLR2004 - bits a sample
    if encoding is None:
        raise BadAudio(f"WAV format {tag} with {bits} bits is not served; send 16-bit PCM, mu-law or A-law")
    try:
        return AudioFormat(encoding, rate, channels)
    except ValueError as problem:
        raise BadAudio(str(problem)) from problem
