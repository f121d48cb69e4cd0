"""The native protocol's messages, version 1, as ``docs/protocol.md`` has them, and the bounds of what they hold."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final as Constant

from streaming.call import AudioFormat
from streaming.decoding import Word
from streaming.errors import BadMessage

VERSION: Constant = 1
"""Version of the protocol, sent in ``ready``."""

MAX_HOTWORDS: Constant = 200
"""Hotwords a call may have: a decoder's prompt holds no more."""

MAX_NAME: Constant = 200
"""Characters of an id, label, hotword or metadata value."""

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
