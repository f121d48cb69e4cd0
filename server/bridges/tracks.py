"""Audio that travels as base64 in JSON, one message a track: put in order, and placed on the call's clock."""

from __future__ import annotations

import binascii
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from server.dialect import Audio
from server.json_frames import Fields, integer, string
from streaming.call import AudioFormat, Encoding
from streaming.errors import BadMessage

ROUNDING_MS: Final = 10
"""How far a stamp may be from where the audio before it ended, where a chunk number is missing or skipped."""

JITTER_MS: Final = 100
"""The same where the chunk numbers follow each other: some bridges stamp with the time of sending."""

HELD_CHUNKS: Final = 5
"""Chunks of a track that wait for a missing one: 100 ms of 20 ms each."""

TRACKS: Final = ("inbound", "outbound")
"""Tracks of a stream that does not say which it sends; one that stays silent costs nothing."""

_LATEST_MS: Final = 1 << 50
"""No clock says more: positions must stay within 64 bits."""

_CERTAIN: Final = 4.0
"""How much rougher the wrong byte order must make audio to be told at once; speech makes it 10 to 100."""


class Chunk(NamedTuple):
    """One message's audio."""

    track: str
    payload: bytes
    number: int | None = None
    """Counts a track's chunks."""
    milliseconds: int | None = None
    """When it was heard, by the bridge's clock."""


def payload_of(media: Fields, sample_bytes: int) -> bytes:
    """Return the samples in the ``media`` object that Twilio made up and others took over.

    Raises:
        BadMessage: If its payload is not base64 or does not hold whole samples.
    """
    payload = media.get("payload")
    try:
        samples = binascii.a2b_base64(payload if isinstance(payload, str) else "?", strict_mode=True)
    except ValueError as problem:
        raise BadMessage("bad_audio", "media.payload is not base64") from problem
    if len(samples) % sample_bytes:
        raise BadMessage("bad_audio", "media.payload does not hold whole samples")
    return samples


def chunk_of(media: Fields, audio: AudioFormat) -> Chunk:
    """Read a whole ``media`` object.

    Raises:
        BadMessage: As ``payload_of``.
    """
    track = string(media, "track") or TRACKS[0]
    samples = payload_of(media, audio.encoding.sample_bytes)
    return Chunk(track, samples, integer(media.get("chunk")), _milliseconds(media.get("timestamp")))


def _milliseconds(stamp: object) -> int | None:
    number = integer(stamp)
    return number if number is not None and 0 <= number <= _LATEST_MS else None


@dataclass(slots=True)
class _Track:
    channel: int
    ends_at: int = 0
    """Where the audio placed last ended, in samples."""
    number: int | None = None
    """Of the chunk placed last."""
    heard: bool = False


class Tracks:
    """Where each track's audio belongs.

    Stamps count from the first one that comes on any track, so that it does not matter whether a bridge counts from the
    stream's beginning or in Unix time, and tracks stay aligned. They are rounded, so only a real gap moves audio away
    from the end of what came before.

    Args:
        names: The tracks, in the order of the call's channels.
        rate: Hz.
    """

    def __init__(self, names: tuple[str, ...], rate: int) -> None:
        self._tracks = {name: _Track(channel) for channel, name in enumerate(names)}
        self._rate = rate
        self._first_ms: int | None = None

    def channel_of(self, track: str) -> int | None:
        """Return a track's channel; None for one the call does not have."""
        found = self._tracks.get(track)
        return None if found is None else found.channel

    def place(self, chunk: Chunk, sample_bytes: int) -> list[Audio]:
        """Return a chunk as audio of its channel; nothing for a track the call does not have, or an empty chunk."""
        track = self._tracks.get(chunk.track)
        if track is None or not chunk.payload:
            return []
        position = self._position(track, chunk)
        track.ends_at = position + len(chunk.payload) // sample_bytes
        track.number = chunk.number
        track.heard = True
        return [Audio(track.channel, position, chunk.payload)]

    def _position(self, track: _Track, chunk: Chunk) -> int:
        if chunk.milliseconds is None:
            return track.ends_at
        if self._first_ms is None:
            self._first_ms = chunk.milliseconds
        stamped = max(0, (chunk.milliseconds - self._first_ms) * self._rate // 1000)
        follows = track.number is not None and chunk.number == track.number + 1
        tolerance = (JITTER_MS if follows else ROUNDING_MS) * self._rate // 1000
        return track.ends_at if track.heard and abs(stamped - track.ends_at) <= tolerance else stamped


@dataclass(slots=True)
class _Held:
    last: int = 0
    """Number of the chunk given out last; chunks count from 1."""
    waiting: dict[int, Chunk] = field(default_factory=dict[int, Chunk])


class Reorderer:
    """Puts each track's chunks in the order of their numbers: a jitter buffer that does not delay what is in order.

    A chunk that is missing is given up once ``HELD_CHUNKS`` later ones are there; if it comes after that, it is too
    late.
    """

    def __init__(self) -> None:
        self._tracks: dict[str, _Held] = {}
        self.late = 0
        """Chunks that came too late, or twice."""

    def push(self, chunk: Chunk) -> list[Chunk]:
        """Take a chunk; return those whose turn it is now. One without a number is never held."""
        if chunk.number is None:
            return [chunk]
        held = self._tracks.get(chunk.track)
        if held is None:
            held = self._tracks[chunk.track] = _Held(min(0, chunk.number - 1))
        if chunk.number == held.last + 1 and not held.waiting:  # in order, as nearly always
            held.last = chunk.number
            return [chunk]
        if chunk.number <= held.last or chunk.number in held.waiting:
            self.late += 1
            return []
        held.waiting[chunk.number] = chunk
        ready = self._ready(held)
        if len(held.waiting) >= HELD_CHUNKS:
            held.last = min(held.waiting) - 1
            ready += self._ready(held)
        return ready

    def flush(self) -> list[Chunk]:
        """Return all that is held, in order: nothing more comes."""
        held = [(number, chunk) for track in self._tracks.values() for number, chunk in track.waiting.items()]
        self._tracks.clear()
        return [chunk for _, chunk in sorted(held, key=lambda item: item[0])]

    @staticmethod
    def _ready(held: _Held) -> list[Chunk]:
        ready: list[Chunk] = []
        while (chunk := held.waiting.pop(held.last + 1, None)) is not None:
            ready.append(chunk)
            held.last += 1
        return ready


class ByteOrder:
    """Finds out whether 16-bit samples are little- or big-endian, and gives them out little-endian.

    Speech changes little from sample to sample; read in the wrong order it is noise. What comes before the order is
    certain is held back, one second at most: silence is the same in both orders and does not wait.

    Args:
        rate: Hz.
    """

    def __init__(self, rate: int) -> None:
        self._bound = 2 * rate
        self._held: list[Audio] = []
        self._held_bytes = 0
        self._little = 0.0
        self._big = 0.0
        self.encoding: Encoding | None = None
        """The order that was found."""

    def push(self, audio: Audio) -> list[Audio]:
        """Take audio; return what can be given out, in order."""
        if self.encoding is not None:
            return [self._turned(audio)]
        if not self._held and not any(audio.payload):
            return [audio]
        self._little += _roughness(audio.payload, "<i2")
        self._big += _roughness(audio.payload, ">i2")
        self._held.append(audio)
        self._held_bytes += len(audio.payload)
        low, high = sorted((self._little, self._big))
        if high > _CERTAIN * low or self._held_bytes >= self._bound:
            return self.flush()
        return []

    def flush(self) -> list[Audio]:
        """Decide by what came so far, and return all that is held."""
        self.encoding = Encoding.L16BE if self._big < self._little else Encoding.L16
        held, self._held = self._held, []
        return [self._turned(audio) for audio in held]

    def _turned(self, audio: Audio) -> Audio:
        if self.encoding is Encoding.L16:
            return audio
        return Audio(audio.channel, audio.position, np.frombuffer(audio.payload, ">i2").astype("<i2").tobytes())


def _roughness(payload: bytes, order: str) -> float:
    return float(np.abs(np.diff(np.frombuffer(payload, order).astype(np.int32))).sum())
