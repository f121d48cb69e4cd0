"""Audio from files and streams."""

from __future__ import annotations

import io
import struct
import sys
import types
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from trunkline.audio import Recording, UnusableAudio, background, open_file, open_microphone, open_stream, read_file
from trunkline.messages import Audio


def wav(
    tag: int, channels: int, rate: int, bits: int, data: bytes, *, extra: bytes = b"", size: int | None = None
) -> bytes:
    """A WAV stream with a chunk of something else in front of its samples."""
    block = channels * bits // 8
    head = struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits) + extra
    chunks = b"fmt " + struct.pack("<I", len(head)) + head + b"LIST" + struct.pack("<I", 3) + b"abc\0"
    chunks += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.mark.parametrize(
    ("tag", "bits", "encoding"), [(1, 16, "linear16"), (6, 8, "alaw"), (7, 8, "mulaw")], ids=["pcm", "alaw", "mulaw"]
)
def test_wav_goes_out_in_the_codec_it_is_in(tag: int, bits: int, encoding: str) -> None:
    """Decoding mu-law to send twice the bytes would help nobody."""
    data = bytes(range(256)) * 10
    source = open_stream(io.BytesIO(wav(tag, 2, 8000, bits, data)))

    assert source.audio == Audio(encoding, 8000, 2)
    assert b"".join(source.chunks) == data


def test_chunks_are_twenty_milliseconds() -> None:
    """That is what telephony sends; servers and pacing expect about that."""
    source = open_stream(io.BytesIO(wav(7, 2, 8000, 8, bytes(1000))))

    assert [len(chunk) for chunk in source.chunks] == [320, 320, 320, 40]


def test_an_extensible_head_names_its_codec_further_down() -> None:
    """Newer tools write these for plain PCM too."""
    extra = struct.pack("<HHI", 22, 16, 3) + struct.pack("<H", 1) + b"\0" * 14
    source = open_stream(io.BytesIO(wav(0xFFFE, 1, 16000, 16, bytes(64), extra=extra)))

    assert source.audio == Audio("linear16", 16000, 1)


def test_a_stream_that_does_not_know_its_length_ends_where_it_ends() -> None:
    """Recorders that write to a pipe cannot fill in the size."""
    source = open_stream(io.BytesIO(wav(7, 1, 8000, 8, bytes(500), size=0xFFFFFFFF)))

    assert len(b"".join(source.chunks)) == 500


def test_what_follows_the_samples_is_not_audio() -> None:
    """Tags at the end would be a click, or words made of noise."""
    source = open_stream(io.BytesIO(wav(7, 1, 8000, 8, bytes(500)) + b"id3 \4\0\0\0junk"))

    assert len(b"".join(source.chunks)) == 500


def test_half_a_sample_at_the_end_is_left_out() -> None:
    """A server refuses frames that do not hold whole samples."""
    raw = Audio("linear16", 8000, 2)

    assert b"".join(open_stream(io.BytesIO(bytes(1003)), raw).chunks) == bytes(1000)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no WAV"),
        (b"OggS" + bytes(40), "no WAV"),
        (wav(3, 1, 8000, 32, bytes(8)), "format 3 with 32 bits"),
        (wav(1, 1, 8000, 24, bytes(8)), "format 1 with 24 bits"),
        (wav(1, 1, 11025, 16, bytes(8)), "11025 Hz"),
        (b"RIFF\0\0\0\0WAVEdata\4\0\0\0abcd", "before it says"),
        (b"RIFF\0\0\0\0WAVEfmt \4\0\0\0abcd", "cut short"),
        (b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\x7f", "ends before its samples"),
        (wav(7, 1, 8000, 8, bytes(8))[:40], "ends before its samples"),
    ],
)
def test_what_no_server_takes_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    """The user can convert the file only if told what is wrong with it."""
    with pytest.raises(UnusableAudio, match=reason):
        open_stream(io.BytesIO(data))


def test_a_file_is_read_completely(tmp_path: Path) -> None:
    """The load generator plays the same recording many times."""
    path = tmp_path / "call.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(32_000))
    recording = read_file(path)

    assert recording == Recording(Audio("linear16", 8000, 2), bytes(32_000))
    assert recording.seconds == 1.0


def test_bare_samples_are_what_the_user_says(tmp_path: Path) -> None:
    """A raw file says nothing of itself."""
    path = tmp_path / "call.ulaw"
    path.write_bytes(bytes(800))

    assert read_file(path, Audio("mulaw", 8000)).seconds == 0.1


def test_other_formats_go_through_soundfile(tmp_path: Path) -> None:
    """FLAC and 24-bit WAV come as 16-bit samples."""
    soundfile = pytest.importorskip("soundfile")
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "call.flac"
    soundfile.write(path, numpy.zeros((1600, 2), dtype="int16"), 16000)

    assert read_file(path) == Recording(Audio("linear16", 16000, 2), bytes(6400))


def test_without_soundfile_the_user_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is optional, the hint is not."""
    path = tmp_path / "call.flac"
    path.write_bytes(b"fLaC" + bytes(40))
    monkeypatch.setitem(sys.modules, "soundfile", None)

    with pytest.raises(UnusableAudio, match=r"pip install 'trunkline\[files\]'"):
        open_file(path)


def test_what_soundfile_cannot_read_either_is_refused(tmp_path: Path) -> None:
    """A text file is no audio, whatever is installed."""
    pytest.importorskip("soundfile")
    path = tmp_path / "notes.txt"
    path.write_text("no audio here, only words")

    with pytest.raises(UnusableAudio, match=r"notes\.txt is no audio file"):
        open_file(path)


def test_a_rate_no_server_takes_is_refused_after_decoding_too(tmp_path: Path) -> None:
    """Better here than by the server after connecting."""
    soundfile = pytest.importorskip("soundfile")
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "call.flac"
    soundfile.write(path, numpy.zeros(1600, dtype="int16"), 11025)

    with pytest.raises(UnusableAudio, match="11025 Hz"):
        open_file(path)


def test_without_sounddevice_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is optional, the hint is not."""
    monkeypatch.setitem(sys.modules, "sounddevice", None)

    with pytest.raises(UnusableAudio, match=r"pip install 'trunkline\[mic\]'"):
        open_microphone()


async def test_blocking_reads_leave_the_loop_free() -> None:
    """A pipe that is silent must not stop the call's text."""
    assert [chunk async for chunk in background([b"a", b"b"])] == [b"a", b"b"]


async def test_a_failing_read_is_raised_where_the_audio_is_awaited() -> None:
    """An error that stays in its thread would look like the end of the file."""

    def broken() -> Iterator[bytes]:
        yield b"a"
        raise OSError("the disk is gone")

    chunks = background(broken())
    assert await anext(chunks) == b"a"
    with pytest.raises(OSError, match="the disk is gone"):
        await anext(chunks)


async def test_who_stops_listening_stops_the_reading() -> None:
    """An endless source must not fill the memory, nor keep its thread."""
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"a"

    chunks = background(endless())
    await anext(chunks)
    await chunks.aclose()

    assert read < 100


def test_the_microphone_gives_what_the_device_hears(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 ms of 16-bit samples at a time, until the device is closed."""
    module = types.ModuleType("sounddevice")
    module.__dict__["RawInputStream"] = FakeDevice
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    with open_microphone() as source:
        chunks = iter(source.chunks)
        first, second = next(chunks), next(chunks)

    assert source.audio == Audio("linear16", 16000, 1)
    assert (first, second) == (b"\1\0" * 320, b"\1\0" * 320)
    assert FakeDevice.closed == 1


def test_a_microphone_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers have none."""

    def absent(**_options: object) -> None:
        raise RuntimeError("no input device")

    module = types.ModuleType("sounddevice")
    module.__dict__["RawInputStream"] = absent
    monkeypatch.setitem(sys.modules, "sounddevice", module)

    with pytest.raises(UnusableAudio, match="no input device"):
        open_microphone()


class FakeDevice:
    """A microphone that hears ones."""

    closed = 0

    def __init__(self, *, samplerate: int, channels: int, dtype: str, blocksize: int) -> None:
        assert (samplerate, channels, dtype, blocksize) == (16000, 1, "int16", 320)

    def start(self) -> None:
        pass

    def read(self, frames: int) -> tuple[bytes, bool]:
        return b"\1\0" * frames, False

    def close(self) -> None:
        type(self).closed += 1
