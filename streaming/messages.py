"""The native protocol's messages, version 1, as ``docs/protocol.md`` has them: what is read and what is written."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from typing import Final as Constant

from streaming.call import SUPPORTED_RATES, AudioFormat, Encoding
from streaming.decoding import Word
from streaming.errors import BadMessage

VERSION: Constant = 1
"""Version of the protocol, sent in ``ready``."""

MAX_HOTWORDS: Constant = 200
"""Hotwords a call may have: a decoder's prompt holds no more."""

MAX_NAME: Constant = 200
"""Characters of an id, label, hotword or metadata value."""

_CLIENT_TYPES: Constant = "start, resume, finalize, pause, unpause, keepalive, close"
_LANGUAGE: Constant = re.compile(r"([a-z]{2,3})([-_][a-z0-9]+)*", re.IGNORECASE)
_CALL_ID: Constant = re.compile(r"[\w.:@+-]+")


# --- from the client -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """What the call is; the first message of a connection."""

    audio: AudioFormat
    call: str | None = None
    """Id the client gave it, or None to have one made up."""
    labels: tuple[str, ...] = ()
    """One per channel, or none."""
    language: str | None = None
    """ISO 639-1 code, or None to have it detected."""
    hotwords: tuple[str, ...] = ()
    model: str | None = None
    interim: bool = True
    endpoint_ms: int | None = None
    utterance_end_ms: int | None = None
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    resumable: bool = False
    """Whether the client may come back after its connection broke: the call is kept for a while."""


@dataclass(frozen=True, slots=True)
class Resume:
    """A call goes on that began on another connection; the first message of a connection."""

    call: str
    token: str
    """As ``ready`` gave it."""
    finals: tuple[int, ...] = ()
    """How many finals of each channel the client has."""


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
    channel: int | None = None
    """One channel, or None for all."""


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """The call is alive though no audio comes."""


@dataclass(frozen=True, slots=True)
class Close:
    """No more audio."""


ClientMessage = Start | Resume | Pause | Unpause | Finalize | KeepAlive | Close


# --- from the server -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """The call is accepted; audio may come."""

    call: str
    labels: tuple[str, ...]
    model: str
    version: int = VERSION
    resume_token: str | None = None
    """What to show to resume the call; absent where it cannot be resumed."""
    resume_s: float | None = None
    """Seconds a lost connection may be away."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The call goes on; every final that was missed is before this."""

    call: str
    labels: tuple[str, ...]
    model: str
    samples: int
    """Samples of each channel that arrived: the next frame must go on there."""
    audio_s: float
    """The same in seconds."""
    paused: bool
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class GoAway:
    """The server is about to stop: the call can be resumed at once, at another one."""

    within_s: float
    """Seconds until the connection is closed."""


@dataclass(frozen=True, slots=True)
class Paused:
    """From here on silence is heard."""

    at: float


@dataclass(frozen=True, slots=True)
class Unpaused:
    """From here on the call is heard again."""

    at: float


@dataclass(frozen=True, slots=True)
class Watching:
    """Answer to who watches a call: its sides."""

    call: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CallSummary:
    """One of several calls that are followed."""

    call: str
    labels: tuple[str, ...]
    opened_at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Answer to who follows all calls: those in progress."""

    calls: tuple[CallSummary, ...]
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class CallOpened:
    """A call that is followed began."""

    call: str
    labels: tuple[str, ...]
    opened_at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Ack:
    """Audio before this time is in the log."""

    audio_s: float


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """A speaker began."""

    channel: int
    label: str
    at: float


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """A speaker paused long enough to end an utterance."""

    channel: int
    label: str
    at: float


@dataclass(frozen=True, slots=True)
class Partial:
    """Text that may still change; replaces the channel's previous partial."""

    channel: int
    label: str
    number: int
    revision: int
    start: float
    end: float
    text: str
    stable: int
    words: tuple[Word, ...]
    language: str
    model: str


@dataclass(frozen=True, slots=True)
class Final:
    """Text that never changes."""

    channel: int
    label: str
    number: int
    start: float
    end: float
    text: str
    words: tuple[Word, ...]
    confidence: float
    language: str
    model: str
    reason: str
    speech_end: float
    latency_s: float


@dataclass(frozen=True, slots=True)
class UtteranceEnd:
    """The gap after the last word reached ``utterance_end_ms``."""

    channel: int
    label: str
    last_word_end: float


@dataclass(frozen=True, slots=True)
class Finalized:
    """All finals asked for by this ``finalize`` are before it."""

    id: str
    channel: int | None


@dataclass(frozen=True, slots=True)
class Dtmf:
    """A key was pressed."""

    channel: int
    label: str
    digit: str
    at: float


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
    """True where the server closes next."""
    retry_after_s: float | None = None
    """When to try again; absent where that would not help."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Last message of a call."""

    call: str
    reason: str
    audio_s: float
    padded_s: float
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

FeedMessage = ServerMessage | Calls | CallOpened
"""What who follows all calls is told; the messages of a call come with its id then."""

_TYPES: Constant[dict[type[object], str]] = {
    Ready: "ready",
    Resumed: "resumed",
    GoAway: "goaway",
    Paused: "paused",
    Unpaused: "unpaused",
    Watching: "watching",
    Calls: "calls",
    CallOpened: "opened",
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
_LEFT_OUT: Constant = frozenset({"retry_after_s", "resume_token", "resume_s"})
"""Fields that are absent rather than null."""
_DIGITS: Constant = {"confidence": 4}
_DEFAULT_DIGITS: Constant = 3


def dump(message: FeedMessage) -> str:
    """Write a message as the text of one frame; times are rounded to milliseconds."""
    return _frame(_fields(message))


def dump_of(call: str, message: ServerMessage) -> str:
    """Write a message for who follows several calls: with the call's id, without single words and counts."""
    fields = _fields(message)
    for name in ("words", "finals"):
        fields.pop(name, None)
    return _frame({"type": fields.pop("type"), "call": call, **fields})


def _frame(fields: dict[str, object]) -> str:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def _fields(message: FeedMessage) -> dict[str, object]:
    fields: dict[str, object] = {"type": _TYPES[type(message)]}
    for item in dataclasses.fields(message):
        value = getattr(message, item.name)
        if item.name == "words":
            fields["words"] = [_word(word) for word in value]
        elif item.name == "calls":
            fields["calls"] = [dataclasses.asdict(call) for call in value]
        elif value is not None or item.name not in _LEFT_OUT:
            fields[item.name] = _rounded(item.name, value)
    return fields


def _word(word: Word) -> dict[str, object]:
    return {
        "text": word.text,
        "start": _rounded("start", word.start),
        "end": _rounded("end", word.end),
        "confidence": _rounded("confidence", word.confidence),
    }


def _rounded(name: str, value: object) -> object:
    return round(value, _DIGITS.get(name, _DEFAULT_DIGITS)) if isinstance(value, float) else value


def parse(text: str) -> ClientMessage:
    """Read a client's text frame.

    Raises:
        BadMessage: If it cannot be understood; its code is one of the protocol's.
    """
    try:
        fields: object = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise BadMessage("bad_json", "the text frame is not JSON; send one object per frame") from problem
    if not isinstance(fields, dict):
        raise BadMessage("bad_message", "the text frame is not a JSON object; send one with a 'type'")
    given = _Fields({str(name): value for name, value in fields.items()})  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON
    match given.text("type"):
        case "start":
            return _start(given)
        case "resume":
            return _resume(given)
        case "pause":
            return Pause()
        case "unpause":
            return Unpause()
        case "finalize":
            return Finalize(given.text("id") or "", given.integer("channel", low=0))
        case "keepalive":
            return KeepAlive()
        case "close":
            return Close()
        case None:
            raise BadMessage("bad_message", "the message has no 'type'")
        case _:
            raise BadMessage("unknown_type", f"'type' must be one of {_CLIENT_TYPES}")


def _resume(given: _Fields) -> Resume:
    call, token = given.text("call"), given.text("token")
    if call is None or token is None:
        raise BadMessage("bad_option", "'resume' needs 'call' and 'token'")
    return Resume(call, token, given.counts("finals"))


def language_of(tag: str) -> str:
    """Return the ISO 639 code of a language tag: ``en`` of ``en-US``.

    Raises:
        BadMessage: If it is no language tag.
    """
    match = _LANGUAGE.fullmatch(tag)
    if match is None:
        raise BadMessage("bad_option", "'language' must be a code such as en or en-US")
    return match[1].lower()


def check_call_id(call: str) -> str:
    """Return a caller's id for its call.

    Raises:
        BadMessage: If it could not stand in an address.
    """
    if len(call) > MAX_NAME or not _CALL_ID.fullmatch(call):
        raise BadMessage("bad_option", f"'call' must be 1 to {MAX_NAME} letters, digits or any of . : @ + _ -")
    return call


def _start(given: _Fields) -> Start:
    audio = _audio(given)
    labels = given.texts("labels")
    if labels and len(labels) != audio.channels:
        raise BadMessage(
            "bad_option", f"'labels' must name every channel: {audio.channels} expected, {len(labels)} came"
        )
    hotwords = given.texts("hotwords")
    if len(hotwords) > MAX_HOTWORDS:
        raise BadMessage("bad_option", f"'hotwords' may hold {MAX_HOTWORDS}, {len(hotwords)} came")
    call = given.text("call")
    language = given.text("language")
    return Start(
        audio=audio,
        call=None if call is None else check_call_id(call),
        labels=labels,
        language=None if language is None else language_of(language),
        hotwords=hotwords,
        model=given.text("model"),
        interim=given.flag("interim", default=True),
        endpoint_ms=given.integer("endpoint_ms", low=0),
        utterance_end_ms=given.integer("utterance_end_ms", low=0),
        metadata=given.table("metadata"),
        resumable=given.flag("resumable", default=False),
    )


def _audio(given: _Fields) -> AudioFormat:
    audio = given.section("audio")
    name = audio.text("encoding", "unknown_encoding")
    try:
        encoding = Encoding(name or "")
    except ValueError as problem:
        known = ", ".join(Encoding)
        raise BadMessage("unknown_encoding", f"'audio.encoding' must be one of {known}") from problem
    rate = audio.integer("sample_rate", code="unknown_sample_rate")
    if rate not in SUPPORTED_RATES:
        known = ", ".join(map(str, SUPPORTED_RATES))
        raise BadMessage("unknown_sample_rate", f"'audio.sample_rate' must be one of {known}")
    channels = audio.integer("channels", code="bad_channels")
    try:
        return AudioFormat(encoding, rate, 1 if channels is None else channels)
    except ValueError as problem:
        raise BadMessage("bad_channels", f"'audio.channels': {problem}") from problem


class _Fields:
    """The fields of one JSON object, each read as what it should be; null counts as absent."""

    def __init__(self, values: dict[str, object]) -> None:
        self._values = values

    def text(self, name: str, code: str = "bad_option") -> str | None:
        value = self._values.get(name)
        if value is not None and not (isinstance(value, str) and 0 < len(value) <= MAX_NAME):
            raise BadMessage(code, f"'{name}' must be a string of 1 to {MAX_NAME} characters")
        return value

    def integer(self, name: str, *, low: int | None = None, code: str = "bad_option") -> int | None:
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or (low is not None and value < low):
            raise BadMessage(code, f"'{name}' must be a whole number" + ("" if low is None else f", {low} or more"))
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise BadMessage("bad_option", f"'{name}' must be true or false")
        return value

    def counts(self, name: str) -> tuple[int, ...]:
        value = self._values.get(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise BadMessage("bad_option", f"'{name}' must be a list of whole numbers")
        return tuple(_count_in(name, item) for item in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._values.get(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise BadMessage("bad_option", f"'{name}' must be a list of strings")
        return tuple(_text_in(name, item) for item in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON

    def table(self, name: str) -> dict[str, str]:
        return {key: _text_in(name, value) for key, value in self.section(name).items()}

    def section(self, name: str) -> _Fields:
        value = self._values.get(name)
        if value is None:
            return _Fields({})
        if not isinstance(value, dict):
            raise BadMessage("bad_option", f"'{name}' must be an object")
        return _Fields({str(key): item for key, item in value.items()})  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON

    def items(self) -> list[tuple[str, object]]:
        return list(self._values.items())


def _count_in(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadMessage("bad_option", f"'{name}' may hold whole numbers from 0 only")
    return value


def _text_in(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise BadMessage("bad_option", f"'{name}' may hold strings of up to {MAX_NAME} characters only")
    return value
