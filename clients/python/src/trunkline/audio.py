"""Where audio comes from: WAV files in the codecs calls use, raw samples, other files, standard input, a microphone."""

from __future__ import annotations

import asyncio
import importlib
import io
import struct
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final, Protocol, Self, cast

from trunkline.messages import Audio

CHUNK_S: Final = 0.02
"""Seconds of audio in a chunk: what telephony puts into a packet."""

QUEUED_CHUNKS: Final = 50
"""Chunks read ahead of the network, a second's worth."""

MICROPHONE: Final = Audio("linear16", 16000)

_RIFF: Final = b"RIFF"
_CODECS: Final = {(1, 16): "linear16", (6, 8): "alaw", (7, 8): "mulaw"}
"""Format tag and bits of a sample."""
_EXTENSIBLE: Final = 0xFFFE
_FORMAT_BYTES: Final = 16
_EXTENDED_BYTES: Final = 26
_ENDLESS: Final = (0, 0xFFFFFFFF)
_MAX_SKIP: Final = 1 << 26


class UnusableAudio(ValueError):
    """The audio cannot be read, or no server takes it."""


@dataclass(frozen=True, slots=True)
class Source:
    """Audio as it comes; a context that closes what it comes from."""

    audio: Audio
    chunks: Iterable[bytes]
    """20 ms each, channels interleaved; getting the next one may block."""
    close: Callable[[], None] = lambda: None
    """Closes the file or device."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_problem: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Recording:
    """Audio that is there completely."""

    audio: Audio
    data: bytes
    """Samples, channels interleaved."""

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.data) / self.audio.second_bytes

    def chunks(self) -> Iterator[bytes]:
        """Yield the audio in chunks of 20 ms; the last may be shorter."""
        return _cut(io.BytesIO(self.data), self.audio, None)


def open_file(path: Path, raw: Audio | None = None) -> Source:
    """Open a file.

    Args:
        path: WAV, or anything that soundfile reads where it is installed.
        raw: What the samples are if the file is nothing but samples, else None.

    Returns:
        The audio; it must be closed.

    Raises:
        UnusableAudio: If the audio cannot be read, or no server takes it.
        OSError: If the file cannot be opened.
    """
    stream = path.open("rb")
    try:
        return replace(open_stream(stream, raw), close=stream.close)
    except UnusableAudio as problem:
        stream.close()
        return _decoded(path, problem)


def open_stream(stream: BinaryIO, raw: Audio | None = None) -> Source:
    """Read a stream of bytes, such as standard input; closing it stays with the caller.

    Args:
        stream: WAV, or samples.
        raw: What the samples are if the stream is nothing but samples, else None.

    Raises:
        UnusableAudio: If this is no WAV, or no server takes what it holds.
    """
    if raw is not None:
        return Source(raw, _cut(stream, raw, None))
    audio, length = _read_head(stream)
    return Source(audio, _cut(stream, audio, length))


def read_file(path: Path, raw: Audio | None = None) -> Recording:
    """Read a file completely; arguments and errors are those of ``open_file``."""
    with open_file(path, raw) as source:
        return Recording(source.audio, b"".join(source.chunks))


def open_microphone() -> Source:
    """Open the default microphone; its chunks never end.

    Raises:
        UnusableAudio: If the extra ``mic`` is not installed, or there is no microphone.
    """
    try:
        sounddevice = cast("_SoundDevice", importlib.import_module("sounddevice"))
    except ImportError as problem:
        raise UnusableAudio("the microphone needs sounddevice; pip install 'trunkline[mic]'") from problem
    except OSError as problem:
        raise UnusableAudio("the microphone needs the library PortAudio; on Debian: libportaudio2") from problem
    samples = round(MICROPHONE.sample_rate * CHUNK_S)
    try:
        stream = sounddevice.RawInputStream(
            samplerate=MICROPHONE.sample_rate, channels=1, dtype="int16", blocksize=samples
        )
        stream.start()
    except Exception as problem:  # its errors have no type of their own that can be named without it
        raise UnusableAudio(f"the microphone cannot be opened: {problem}") from problem
    return Source(MICROPHONE, (bytes(stream.read(samples)[0]) for _ in iter(int, 1)), stream.close)


async def background(chunks: Iterable[bytes]) -> AsyncGenerator[bytes]:
    """Read chunks in a thread that dies with the process: a read from a pipe can be neither awaited nor interrupted.

    Args:
        chunks: Getting the next one may block.

    Raises:
        Exception: Whatever reading raised.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()
    room = threading.Semaphore(QUEUED_CHUNKS)
    stop = threading.Event()

    def put(item: bytes | BaseException | None) -> None:
        if not stop.is_set():
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def read() -> None:
        try:
            for chunk in chunks:
                room.acquire()
                if stop.is_set():
                    return
                put(chunk)
            put(None)
        except BaseException as problem:  # noqa: BLE001 - raised again where the chunks are awaited
            put(problem)

    threading.Thread(target=read, name="trunkline-audio", daemon=True).start()
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            room.release()
            yield item
    finally:
        stop.set()
        room.release()


def _cut(stream: BinaryIO, audio: Audio, length: int | None) -> Iterator[bytes]:
    """Yield 20 ms at a time, and in the end whole samples only."""
    size = round(audio.sample_rate * CHUNK_S) * audio.frame_bytes
    left = length
    while left is None or left > 0:
        chunk = stream.read(size if left is None else min(size, left))
        chunk = chunk[: len(chunk) - len(chunk) % audio.frame_bytes]
        if not chunk:
            return
        yield chunk
        left = None if left is None else left - len(chunk)


def _read_head(stream: BinaryIO) -> tuple[Audio, int | None]:
    """Read a WAV stream up to its first sample; the length of the samples is None where the writer did not know."""
    if stream.read(4) != _RIFF or len(stream.read(4)) < 4 or stream.read(4) != b"WAVE":  # noqa: PLR2004 - the size
        raise UnusableAudio("this is no WAV; say --encoding, --rate and --channels if it is nothing but samples")
    audio: Audio | None = None
    while len(head := stream.read(8)) == 8:  # noqa: PLR2004 - name and size
        name, size = struct.unpack("<4sI", head)
        if name == b"data":
            if audio is None:
                raise UnusableAudio("the WAV has samples before it says their format")
            return audio, None if size in _ENDLESS else size
        if size > _MAX_SKIP:
            break
        body = stream.read(size + size % 2)
        if name == b"fmt ":
            audio = _format(body[:size])
    raise UnusableAudio("the WAV ends before its samples")


def _format(chunk: bytes) -> Audio:
    if len(chunk) < _FORMAT_BYTES:
        raise UnusableAudio("the WAV's format is cut short")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= _EXTENDED_BYTES:
        tag = int.from_bytes(chunk[24:26], "little")
    codec = _CODECS.get((tag, bits))
    if codec is None:
        raise UnusableAudio(f"WAV format {tag} with {bits} bits is not served; use 16-bit PCM, mu-law or A-law")
    try:
        return Audio(codec, rate, channels)
    except ValueError as problem:
        raise UnusableAudio(str(problem)) from problem


class _SoundFile(Protocol):
    """What is used of soundfile."""

    def read(self, file: str, *, dtype: str, always_2d: bool) -> tuple[_Samples, int]: ...


class _Samples(Protocol):
    """What is used of numpy's arrays."""

    shape: tuple[int, int]

    def tobytes(self) -> bytes: ...


class _Microphone(Protocol):
    """What is used of a stream of sounddevice."""

    def start(self) -> None: ...
    def read(self, frames: int) -> tuple[bytes, bool]: ...
    def close(self) -> None: ...


class _SoundDevice(Protocol):
    """What is used of sounddevice."""

    def RawInputStream(  # noqa: N802 - its name there
        self, *, samplerate: int, channels: int, dtype: str, blocksize: int
    ) -> _Microphone: ...


def _decoded(path: Path, problem: UnusableAudio) -> Source:
    """Read what is no WAV of a call's kind, if soundfile can."""
    try:
        soundfile = cast("_SoundFile", importlib.import_module("soundfile"))
    except ImportError:
        raise UnusableAudio(f"{problem}; other formats need: pip install 'trunkline[files]'") from problem
    try:
        samples, rate = soundfile.read(str(path), dtype="int16", always_2d=True)
    except Exception as failure:  # its errors have no type of their own that can be named without it
        raise UnusableAudio(f"{path.name} is no audio file that can be read: {problem}") from failure
    try:
        audio = Audio("linear16", rate, samples.shape[1])
    except ValueError as failure:
        raise UnusableAudio(str(failure)) from failure
    return Source(audio, Recording(audio, samples.tobytes()).chunks())
