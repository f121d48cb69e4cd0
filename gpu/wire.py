"""The messages between a shard and its device processes, and how they cross the socket between them.

A message is a head in JSON and a body of raw bytes: ``u32 head length | u32 body length | head | body``, little-endian.
Only a window has a body: its features as they are in memory, float32, or the bytes of its audio. float16 would halve
features, which cost nothing here (96 kB cross in 15 microseconds), and converting both ways takes 120.

Both ends are the same version on the same machine, so the messages are not versioned. Nothing is pickled: a device that
went wrong must not be able to run code in the shard.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final, cast

import numpy as np

from gpu.batcher import Load, Why
from gpu.cost import Cost, Timing
from gpu.memory import Memory
from gpu.spec import DeviceSpec
from streaming.call import Encoding
from streaming.decoding import Audio, DecodeJob, Float32Array, Hypothesis, Kind, Window, Word
from streaming.ladder import Rung

__all__ = [
    "UNSTARTED",
    "Answered",
    "Began",
    "Cancel",
    "Failed",
    "Fault",
    "FaultKind",
    "FrameProtocol",
    "Leaving",
    "LoadReport",
    "Message",
    "Ready",
    "SetRung",
    "Start",
    "Submit",
    "Undone",
    "decode",
    "encode",
]

_LENGTHS: Final = struct.Struct("<II")

BUFFER_BYTES: Final = 1 << 20
"""First size of a receive buffer: about ten windows of 3 s."""

MAX_FRAME_BYTES: Final = 1 << 26
"""A window of 30 s with 128 bands has 1.5 MB; more than this is not a frame of ours."""


class FaultKind(StrEnum):
    """What went wrong on a device."""

    START = "start"
    """A model could not be loaded or warmed."""
    OUT_OF_MEMORY = "out_of_memory"
    STUCK = "stuck"
    """A batch took many times as long as predicted."""
    ENGINE = "engine"
    """The engine raised an error over a batch; over several in a row, the process ends itself."""
    FRONT_END = "front_end"
    """No features could be made of a batch's audio, which is the device's fault: any audio has features."""
    CRASH = "crash"
    """The process went without a word; noticed by the pool."""
    SILENT = "silent"
    """The process lives and says nothing; noticed by the pool."""
    CARD = "card"
    """The driver does not answer for the GPU, or not any more."""


UNSTARTED: Final = frozenset({FaultKind.START, FaultKind.CARD})
"""Faults of a device that was never ready which it will have again."""


# --- to the device ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """The first message: what to be."""

    spec: DeviceSpec
    rung: Rung
    timings: tuple[Timing, ...] = ()
    """What it found out in an earlier life: it need not look again."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Decode this."""

    job: DecodeJob
    alone: bool = False
    """Whether it may have broken a device before and must share its batch with no other."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody wants this job's hypothesis any more."""

    job: int


@dataclass(frozen=True, slots=True)
class SetRung:
    """Other models are in force."""

    rung: Rung


# --- from the device --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """All models are loaded and warm."""

    load_s: float
    """Seconds that took."""
    timings: tuple[Timing, ...] = ()
    """What batches took in its warm-up."""


@dataclass(frozen=True, slots=True)
class Began:
    """These jobs are inside the engine now: should the device die, one of them may be why."""

    jobs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """A batch is done."""

    model: str
    beam: int
    """The widest of its windows'."""
    seconds: float
    longest_s: float
    """Of audio in the longest window."""
    jobs: tuple[int, ...]
    hypotheses: tuple[Hypothesis, ...]
    """One per job."""


@dataclass(frozen=True, slots=True)
class Undone:
    """A job left the line without being decoded."""

    job: int
    why: Why


@dataclass(frozen=True, slots=True)
class Failed:
    """A job cannot be decoded, here or anywhere."""

    job: int
    problem: str


@dataclass(frozen=True, slots=True)
class LoadReport:
    """How busy the device is; comes four times a second, also as a sign of life."""

    load: Load
    drifting: bool
    """Whether the device is no longer as fast as its profile."""
    memory: Memory | None = None
    """Of the device; None where nothing reads it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something went wrong."""

    kind: FaultKind
    problem: str
    suspects: tuple[int, ...] = ()
    """Jobs that may be the reason."""
    fatal: bool = False
    """Whether the process ends itself."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """No more jobs, please: it finishes those it has and ends."""


Message = Start | Submit | Cancel | SetRung | Ready | Began | Answered | Undone | Failed | LoadReport | Fault | Leaving


def encode(message: Message) -> bytes:
    """Turn a message into a frame."""
    body: bytes | memoryview = b""
    match message:
        case Submit(job, alone):
            window = job.window
            sound, body = _dump_sound(window.sound)
            head: dict[str, Any] = {
                "job": job.job,
                "call": job.call,
                "channel": job.channel,
                "tenant": job.tenant,
                "at": job.submitted_at,
                "deadline": job.deadline,
                "sound": sound,
                "kind": window.kind,
                "language": window.language,
                "context": window.context,
                "hotwords": window.hotwords,
                "model": window.model,
                "beam": window.beam,
                "voice": window.voice,
                "draft": window.draft,
                "alone": alone,
            }
        case Answered():
            head = {
                "model": message.model,
                "beam": message.beam,
                "seconds": message.seconds,
                "longest_s": message.longest_s,
                "jobs": message.jobs,
                "hypotheses": [_dump(hypothesis) for hypothesis in message.hypotheses],
            }
        case _:
            head = asdict(message)
    head["type"] = type(message).__name__
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join((_LENGTHS.pack(len(text), len(body)), text, body))


def decode(text: bytes, body: bytes) -> Message:
    """Turn a frame's head and body back into the message.

    Raises:
        ValueError: If it is none of ours.
    """
    head: dict[str, Any] = json.loads(text)
    name = head.pop("type", None)
    if name not in _READERS:
        raise ValueError(f"no message between a shard and a device is called {name!r}")
    return _READERS[name](head, body)


def _job(head: dict[str, Any], body: bytes) -> DecodeJob:
    window = Window(
        sound=_load_sound(head["sound"], body),
        kind=Kind(head["kind"]),
        language=head["language"],
        context=head["context"],
        hotwords=tuple(head["hotwords"]),
        model=head["model"],
        beam=head["beam"],
        voice=head["voice"],
        draft=tuple(head["draft"]),
    )
    return DecodeJob(head["job"], head["call"], head["channel"], head["tenant"], window, head["at"], head["deadline"])


def _dump_sound(sound: Float32Array | Audio) -> tuple[dict[str, Any], bytes | memoryview]:
    if isinstance(sound, Audio):
        told = {"encoding": sound.encoding, "rate": sound.rate, "frames": sound.frames, "before": sound.before}
        return told, sound.payload
    return {"shape": sound.shape}, np.ascontiguousarray(sound, np.float32).data.cast("B")


def _load_sound(told: dict[str, Any], body: bytes) -> Float32Array | Audio:
    if "shape" in told:
        return np.frombuffer(body, np.float32).reshape(told["shape"])
    return Audio(body, Encoding(told["encoding"]), told["rate"], told["frames"], told["before"])


def _dump(hypothesis: Hypothesis) -> list[Any]:
    return [
        [(word.text, word.start, word.end, word.confidence) for word in hypothesis.words],
        hypothesis.language,
        hypothesis.language_confidence,
        hypothesis.no_speech,
        hypothesis.model,
        hypothesis.aligned,
        hypothesis.retried,
        hypothesis.queue_s,
        hypothesis.compute_s,
        hypothesis.tokens,
    ]


def _load(dumped: list[Any]) -> Hypothesis:
    words, *rest = dumped
    heard = Hypothesis(tuple(Word(*word) for word in words), *rest)
    return replace(heard, tokens=tuple(heard.tokens))


def _start(head: dict[str, Any]) -> Start:
    spec = head["spec"]
    spec["models"] = tuple(spec["models"])
    spec["profile"] = tuple(Cost(**cost) for cost in spec["profile"])
    spec["decodes"] = tuple((model, beam) for model, beam in spec["decodes"])
    return Start(DeviceSpec(**spec), Rung(**head["rung"]), _timings(head))


def _timings(head: dict[str, Any]) -> tuple[Timing, ...]:
    return tuple(Timing(**timing) for timing in head["timings"])


def _answered(head: dict[str, Any]) -> Answered:
    hypotheses = tuple(_load(dumped) for dumped in head["hypotheses"])
    jobs = tuple(head["jobs"])
    return Answered(head["model"], head["beam"], head["seconds"], head["longest_s"], jobs, hypotheses)


_READERS: Final[Mapping[str, Callable[[dict[str, Any], bytes], Message]]] = {
    "Start": lambda head, _: _start(head),
    "Submit": lambda head, body: Submit(_job(head, body), head["alone"]),
    "Cancel": lambda head, _: Cancel(**head),
    "SetRung": lambda head, _: SetRung(Rung(**head["rung"])),
    "Ready": lambda head, _: Ready(head["load_s"], _timings(head)),
    "Began": lambda head, _: Began(tuple(head["jobs"])),
    "Answered": lambda head, _: _answered(head),
    "Undone": lambda head, _: Undone(head["job"], Why(head["why"])),
    "Failed": lambda head, _: Failed(**head),
    "LoadReport": lambda head, _: LoadReport(
        Load(**head["load"]), head["drifting"], Memory(**head["memory"]) if head["memory"] else None
    ),
    "Fault": lambda head, _: Fault(FaultKind(head["kind"]), head["problem"], tuple(head["suspects"]), head["fatal"]),
    "Leaving": lambda _head, _body: Leaving(),
}


class FrameProtocol(asyncio.BufferedProtocol):
    """One end of the socket: whole messages in, frames out.

    Args:
        on_message: Called with each message, in order.
        on_lost: Called once, when the other end is gone.
    """

    def __init__(self, on_message: Callable[[Message], None], on_lost: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._buffer = bytearray(BUFFER_BYTES)
        self._filled = 0
        self._transport: asyncio.WriteTransport | None = None

    def send(self, message: Message) -> None:
        """Send a message; one to an end that is gone goes nowhere, and ``on_lost`` tells."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(message))

    def close(self) -> None:
        """Close this end once all is sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close this end now, whatever was not sent yet."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's are no subclass of asyncio's

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner."""
        self._on_lost()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go; always behind those of an unfinished frame."""
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Hand out the frames that are complete now."""
        self._filled += nbytes
        at = 0
        while self._filled - at >= _LENGTHS.size:
            head_length, body_length = _LENGTHS.unpack_from(self._buffer, at)
            start, length = at + _LENGTHS.size, _LENGTHS.size + head_length + body_length
            if length > MAX_FRAME_BYTES:
                self.abort()
                return
            if self._filled - at < length:
                self._make_room(at, length)
                return
            with memoryview(self._buffer) as view:
                head = bytes(view[start : start + head_length])
                body = bytes(view[start + head_length : at + length])
            at += length
            self._on_message(decode(head, body))
        self._make_room(at, _LENGTHS.size)

    def _make_room(self, at: int, length: int) -> None:
        """Move the unfinished frame to the front of a buffer that holds all of it."""
        rest = self._buffer[at : self._filled]
        if length > len(self._buffer):
            self._buffer = bytearray(max(length, 2 * len(self._buffer)))
        self._buffer[: len(rest)] = rest
        self._filled = len(rest)
