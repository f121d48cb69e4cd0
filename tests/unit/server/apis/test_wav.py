"""Heads of WAV streams."""

from __future__ import annotations

import struct

import pytest

from server.apis.wav import MAX_HEAD, WavHead, read_head
from streaming.call import AudioFormat, Encoding
from streaming.errors import BadAudio


def fmt(tag: int, channels: int, rate: int, bits: int, more: bytes = b"") -> bytes:
    body = struct.pack("<HHIIHH", tag, channels, rate, 0, 0, bits) + more
    return struct.pack("<4sI", b"fmt ", len(body)) + body


def stream(*chunks: bytes) -> bytes:
    return b"RIFF\0\0\0\0WAVE" + b"".join(chunks)


DATA = struct.pack("<4sI", b"data", 4)


@pytest.mark.parametrize(
    ("chunk", "audio"),
    [
        (fmt(1, 1, 8000, 16), AudioFormat(Encoding.L16, 8000)),
        (fmt(7, 2, 8000, 8), AudioFormat(Encoding.MULAW, 8000, 2)),
        (fmt(6, 1, 8000, 8, b"\0\0"), AudioFormat(Encoding.ALAW, 8000)),
        (fmt(0xFFFE, 1, 48000, 16, struct.pack("<HHIH", 22, 16, 0, 1) + bytes(14)), AudioFormat(Encoding.L16, 48000)),
    ],
)
def test_the_kinds_that_are_served(chunk: bytes, audio: AudioFormat) -> None:
    data = stream(chunk, DATA)
    assert read_head(data + b"\1\2\3\4") == WavHead(audio, len(data), 4)


def test_other_chunks_are_passed_over_and_an_unknown_length_is_none() -> None:
    """Recorders that stream do not know how long the call will be."""
    note = struct.pack("<4sI", b"LIST", 3) + b"abc\0"
    head = read_head(stream(note, fmt(1, 1, 8000, 16), struct.pack("<4sI", b"data", 0)))
    assert head is not None
    assert head.length is None


def test_more_bytes_are_asked_for_until_the_samples_begin() -> None:
    data = stream(fmt(1, 1, 8000, 16), DATA)
    assert {read_head(data[:cut]) for cut in range(len(data))} == {None}


@pytest.mark.parametrize(
    "data",
    [
        b"ID3\4",
        b"RIFF\0\0\0\0AVI ",
        stream(DATA),
        stream(fmt(3, 1, 8000, 32), DATA),
        stream(fmt(1, 1, 8000, 24), DATA),
        stream(fmt(1, 1, 11025, 16), DATA),
        stream(struct.pack("<4sI", b"fmt ", 4) + b"\1\0\1\0", DATA),
        stream(struct.pack("<4sI", b"LIST", 1 << 20)) + bytes(MAX_HEAD),
    ],
)
def test_what_is_no_call_audio_is_refused(data: bytes) -> None:
    with pytest.raises(BadAudio):
        read_head(data)
