"""The messages of the native protocol, version 1, and how they are read and written.

Fields that are not known are ignored, and so are messages whose type is not known: a newer server may send both.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final as Constant

from trunkline.wire import Fields, read_object

SAMPLE_BYTES: Constant[Mapping[str, int]] = {"mulaw": 1, "alaw": 1, "linear16": 2, "linear16be": 2}
"""Encodings that are served, and the bytes of a sample."""

SAMPLE_RATES: Constant = (8000, 16000, 24000, 44100, 48000)
"""Rates that are served, in Hz."""


@dataclass(frozen=True, slots=True)
class Audio:
    """What a call's audio is.

    Raises:
        ValueError: If the encoding or the rate is not served, or there is no channel.
    """

    encoding: str
    """``mulaw``, ``alaw``, ``linear16`` or ``linear16be``."""
    sample_rate: int
    """Hz."""
    channels: int = 1

    def __post_init__(self) -> None:
        if self.encoding not in SAMPLE_BYTES:
            raise ValueError(f"encoding {self.encoding!r} is not served; use one of {', '.join(SAMPLE_BYTES)}")
        if self.sample_rate not in SAMPLE_RATES:
            raise ValueError(f"{self.sample_rate} Hz is not served; use one of {', '.join(map(str, SAMPLE_RATES))}")
        if self.channels < 1:
            raise ValueError(f"audio has at least one channel, not {self.channels}")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return SAMPLE_BYTES[self.encoding] * self.channels

    @property
    def second_bytes(self) -> int:
        """Bytes of one second of every channel."""
        return self.frame_bytes * self.sample_rate


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a transcript."""

    text: str
    start: float
    """Seconds from the call's first sample."""
    end: float
    """Seconds from the call's first sample."""
    confidence: float
    """0..1."""


# --- to the server -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """What the call is; the first message of a connection."""

    audio: Audio
    call: str | None = None
    """Id of the call, or None to have one made up."""
    labels: tuple[str, ...] = ()
    """Names of the channels: one for each, or none."""
    language: str | None = None
    hotwords: tuple[str, ...] = ()
    model: str | None = None
    interim: bool = True
    """Whether partials are wanted."""
    endpoint_ms: int | None = None
    """Pause that ends an utterance, in milliseconds; None for the server's own."""
    utterance_end_ms: int | None = None
    """Gap after the last word that is worth an ``UtteranceEnd``, in milliseconds; None for none."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    resumable: bool = False
    """Whether the call is to be kept for a while after its connection broke."""


@dataclass(frozen=True, slots=True)
class Resume:
    """A call goes on that began on another connection."""

    call: str
    token: str
    """As ``Ready`` gave it."""
    finals: tuple[int, ...] = ()
    """How many finals of each channel have arrived."""


@dataclass(frozen=True, slots=True)
class Pause:
    """What is said from here on is not to be heard."""


@dataclass(frozen=True, slots=True)
class Unpause:
    """What is said is to be heard again."""


@dataclass(frozen=True, slots=True)
class Finalize:
    """Everything heard so far becomes final now."""

    id: str
    """Comes back in ``Finalized``."""
    channel: int | None = None
    """One channel, or None for all."""


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """The call is alive though no audio comes."""


@dataclass(frozen=True, slots=True)
class Close:
    """No more audio comes."""


ClientMessage = Start | Resume | Pause | Unpause | Finalize | KeepAlive | Close


# --- from the server -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """The call is accepted."""

    call: str
    labels: tuple[str, ...]
    model: str
    version: int
    resume_token: str | None = None
    """What to show to resume the call; None where it cannot be resumed."""
    resume_s: float | None = None
    """Seconds a lost connection may be away."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The call goes on, on another connection; every final that was missed is before this."""

    call: str
    labels: tuple[str, ...]
    model: str
    samples: int
    """Samples of each channel that had arrived."""
    audio_s: float
    """The same in seconds."""
    paused: bool
    """Whether the call is paused."""
    version: int


@dataclass(frozen=True, slots=True)
class GoAway:
    """The server is about to stop; the call goes on at another one."""

    within_s: float
    """Seconds until it closes the connection."""


@dataclass(frozen=True, slots=True)
class Paused:
    """From here on silence is heard."""

    at: float
    """Seconds from the call's first sample."""


@dataclass(frozen=True, slots=True)
class Unpaused:
    """From here on the call is heard again."""

    at: float
    """Seconds from the call's first sample."""


@dataclass(frozen=True, slots=True)
class Watching:
    """The call that is watched, and its sides."""

    call: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ack:
    """Audio before ``audio_s`` will not be lost."""

    audio_s: float
    """Seconds from the call's first sample."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """A speaker began."""

    channel: int
    label: str
    at: float
    """Seconds from the call's first sample."""


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """A speaker paused long enough to end an utterance."""

    channel: int
    label: str
    at: float
    """Seconds from the call's first sample."""


@dataclass(frozen=True, slots=True)
class Partial:
    """Text that may still change; replaces the channel's previous partial."""

    channel: int
    label: str
    number: int
    """The final that will replace it."""
    revision: int
    start: float
    """Where the utterance begins, in seconds."""
    end: float
    """How far was heard, in seconds."""
    text: str
    stable: int
    """How many of the first words will not change in later partials of this number."""
    words: tuple[Word, ...]
    language: str
    model: str


@dataclass(frozen=True, slots=True)
class Final:
    """Text that never changes."""

    channel: int
    label: str
    number: int
    """Counts from 0 per channel, without gaps."""
    start: float
    """Where the first word begins, in seconds."""
    end: float
    """Where the last word ends, in seconds."""
    text: str
    words: tuple[Word, ...]
    confidence: float
    """0..1."""
    language: str
    model: str
    reason: str
    """``endpoint``, ``cut``, ``finalize`` or ``end``."""
    speech_end: float
    """Where the speech ended, in seconds."""
    latency_s: float
    """From the arrival of that sample at the server to this final, as the server measured it."""


@dataclass(frozen=True, slots=True)
class UtteranceEnd:
    """The gap after the last word reached ``utterance_end_ms``."""

    channel: int
    label: str
    last_word_end: float
    """Seconds from the call's first sample."""


@dataclass(frozen=True, slots=True)
class Finalized:
    """All finals asked for by this ``finalize`` are before it."""

    id: str
    channel: int | None


@dataclass(frozen=True, slots=True)
class Dtmf:
    """A key was pressed; only bridges that hear keys apart from the audio tell."""

    channel: int
    label: str
    digit: str
    """``0`` to ``9``, ``*``, ``#``, ``A`` to ``D``."""
    at: float
    """Seconds from the call's first sample."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Another model or cadence serves the call from here on."""

    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class Error:
    """What was wrong and what to do."""

    code: str
    message: str
    fatal: bool
    """Whether the server closes next."""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """The last message of a call."""

    call: str
    reason: str
    audio_s: float
    """Audio that was heard, in seconds."""
    padded_s: float
    """Silence put in where audio was missing, in seconds."""
    finals: int


ServerMessage = (
    Ready
    | Resumed
    | GoAway
    | Paused
    | Unpaused
    | Watching
    | Ack
    | SpeechStarted
    | SpeechEnded
    | Partial
    | Final
    | UtteranceEnd
    | Finalized
    | Dtmf
    | Quality
    | Error
    | Closed
)

# --- from this client itself ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The connection broke, and another one is made to go on with the call; ``Resumed`` follows if that succeeds."""

    tries: int
    """1 and up within one break."""
    wait_s: float
    """Seconds until this try."""
    reason: str
    """What broke the connection, or why the last try failed."""


Event = ServerMessage | Reconnecting
"""What a call tells its user."""

TYPES: Constant[Mapping[type[object], str]] = {
    Start: "start",
    Resume: "resume",
    Pause: "pause",
    Unpause: "unpause",
    Finalize: "finalize",
    KeepAlive: "keepalive",
    Close: "close",
    Ready: "ready",
    Resumed: "resumed",
    GoAway: "goaway",
    Paused: "paused",
    Unpaused: "unpaused",
    Watching: "watching",
    Ack: "ack",
    SpeechStarted: "speech_started",
    SpeechEnded: "speech_ended",
    Partial: "partial",
    Final: "final",
    UtteranceEnd: "utterance_end",
    Finalized: "finalized",
    Dtmf: "dtmf",
    Quality: "quality",
    Error: "error",
    Closed: "closed",
}
"""What each message is called on the wire."""

_LEFT_OUT: Constant = frozenset({"retry_after_s", "resume_token", "resume_s"})
_DEFAULTS: Constant[Mapping[str, bool]] = {"interim": True, "resumable": False}


def dump(message: ClientMessage | Event) -> str:
    """Write a message as the text of one frame; what was left at its default is left out of a client's message."""
    return json.dumps(as_dict(message), separators=(",", ":"), ensure_ascii=False)


def as_dict(message: ClientMessage | Event) -> dict[str, object]:
    """Return the fields of a message as they stand in its JSON object."""
    fields: dict[str, object] = {"type": TYPES.get(type(message), "reconnecting")}
    sparse = isinstance(message, ClientMessage)
    for name, value in dataclasses.asdict(message).items():
        optional = sparse or name in _LEFT_OUT
        if optional and (value in (None, (), {}) or _DEFAULTS.get(name) is value):
            continue
        fields[name] = value
    return fields


def parse(text: str) -> ServerMessage | None:
    """Read a server's text frame.

    Returns:
        The message, or None if its type is not known.

    Raises:
        ValueError: If the frame holds no message, or one without the fields its type must have.
    """
    fields = read_object(text)
    reader = _SERVER.get(fields.text("type"))
    return None if reader is None else reader(fields)


def parse_client(text: str) -> ClientMessage | None:
    """Read a client's text frame, as a server does; for fakes and relays.

    Returns:
        The message, or None if its type is not known.

    Raises:
        ValueError: If the frame holds no message, or one without the fields its type must have.
    """
    fields = read_object(text)
    match fields.text("type"):
        case "start":
            return _start(fields)
        case "resume":
            return Resume(fields.text("call"), fields.text("token"), fields.integers("finals"))
        case "pause":
            return Pause()
        case "unpause":
            return Unpause()
        case "finalize":
            return Finalize(fields.text("id"), fields.maybe_integer("channel"))
        case "keepalive":
            return KeepAlive()
        case "close":
            return Close()
        case _:
            return None


def _start(fields: Fields) -> Start:
    audio = fields.section("audio")
    return Start(
        audio=Audio(audio.text("encoding"), audio.integer("sample_rate"), audio.integer("channels")),
        call=fields.maybe_text("call"),
        labels=fields.texts("labels"),
        language=fields.maybe_text("language"),
        hotwords=fields.texts("hotwords"),
        model=fields.maybe_text("model"),
        interim=fields.flag("interim", default=True),
        endpoint_ms=fields.maybe_integer("endpoint_ms"),
        utterance_end_ms=fields.maybe_integer("utterance_end_ms"),
        metadata=fields.table("metadata"),
        resumable=fields.flag("resumable", default=False),
    )


def _word(fields: Fields) -> Word:
    return Word(fields.text("text"), fields.number("start"), fields.number("end"), fields.number("confidence"))


def _partial(fields: Fields) -> Partial:
    return Partial(
        channel=fields.integer("channel"),
        label=fields.text("label"),
        number=fields.integer("number"),
        revision=fields.integer("revision"),
        start=fields.number("start"),
        end=fields.number("end"),
        text=fields.text("text"),
        stable=fields.integer("stable"),
        words=tuple(map(_word, fields.sections("words"))),
        language=fields.text("language"),
        model=fields.text("model"),
    )


def _final(fields: Fields) -> Final:
    return Final(
        channel=fields.integer("channel"),
        label=fields.text("label"),
        number=fields.integer("number"),
        start=fields.number("start"),
        end=fields.number("end"),
        text=fields.text("text"),
        words=tuple(map(_word, fields.sections("words"))),
        confidence=fields.number("confidence"),
        language=fields.text("language"),
        model=fields.text("model"),
        reason=fields.text("reason"),
        speech_end=fields.number("speech_end"),
        latency_s=fields.number("latency_s"),
    )


_SERVER: Constant[Mapping[str, Callable[[Fields], ServerMessage]]] = {
    "ready": lambda given: Ready(
        given.text("call"),
        given.texts("labels"),
        given.text("model"),
        given.integer("version"),
        given.maybe_text("resume_token"),
        given.maybe_number("resume_s"),
    ),
    "resumed": lambda given: Resumed(
        given.text("call"),
        given.texts("labels"),
        given.text("model"),
        given.integer("samples"),
        given.number("audio_s"),
        given.flag("paused", default=False),
        given.integer("version"),
    ),
    "goaway": lambda given: GoAway(given.number("within_s")),
    "paused": lambda given: Paused(given.number("at")),
    "unpaused": lambda given: Unpaused(given.number("at")),
    "watching": lambda given: Watching(given.text("call"), given.texts("labels")),
    "ack": lambda given: Ack(given.number("audio_s")),
    "speech_started": lambda given: SpeechStarted(given.integer("channel"), given.text("label"), given.number("at")),
    "speech_ended": lambda given: SpeechEnded(given.integer("channel"), given.text("label"), given.number("at")),
    "partial": _partial,
    "final": _final,
    "utterance_end": lambda given: UtteranceEnd(
        given.integer("channel"), given.text("label"), given.number("last_word_end")
    ),
    "finalized": lambda given: Finalized(given.text("id"), given.maybe_integer("channel")),
    "dtmf": lambda given: Dtmf(given.integer("channel"), given.text("label"), given.text("digit"), given.number("at")),
    "quality": lambda given: Quality(given.text("model"), given.text("reason")),
    "error": lambda given: Error(
        given.text("code"),
        given.text("message"),
        given.flag("fatal", default=False),
        given.maybe_number("retry_after_s"),
    ),
    "closed": lambda given: Closed(
        given.text("call"),
        given.text("reason"),
        given.number("audio_s"),
        given.number("padded_s"),
        given.integer("finals"),
    ),
}
