"""What lies in the log; ``streaming.record_codec`` says how it is written."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from enum import StrEnum

from streaming.call import CallSpec
from streaming.decoding import Word

ALL_CHANNELS: typing.Final = 255
"""Channel number of a payload whose samples are interleaved."""

UNTIMED: typing.Final = -1
"""Media position of a payload that simply follows the one before it."""

UNMARKED: typing.Final = -1
"""Mark of a record whose owner does not count marks: it is of an older version."""

INTERNAL: typing.Final = "internal"
"""Reason of a ``CallClosed`` that a fault of ours brought about: finals may be missing before it."""

FINAL_LOST: typing.Final = "final_lost"
"""Reason of a ``QualityChanged`` that says: no device could decode a stretch, and nothing could stand in for it."""


LOG_AWAY: typing.Final = "log_away"
"""Reason of a ``QualityChanged`` that a gateway tells its callers: what they send waits, and text will be late."""

LOG_BACK: typing.Final = "log_back"
"""Reason of the one that says that this is over."""


# --- audio topic ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CallOpened:
    """First record of a call."""

    spec: CallSpec


class AudioChunk(typing.NamedTuple):
    """Samples of one channel, or of all channels interleaved.

    A tuple, unlike the others: it is nearly all that is written and read, and is made in half the time.
    """

    call: str
    sequence: int
    """0 and up over all chunks of the call."""
    channel: int
    """0 and up, or ``ALL_CHANNELS``."""
    position: int
    """Media clock of the first sample, in samples per channel at the call's own rate, or ``UNTIMED``."""
    payload: bytes
    """In the call's own codec."""
    connection: int = 0
    """Who wrote it: 0 for the connection that opened the call, then as ``Resumed`` says. What an earlier connection
    writes after a later one took the call over does not count; the same goes for all that follows here."""


@dataclass(frozen=True, slots=True)
class CallResumed:
    """Another connection takes the call over; answered by ``Resumed``."""

    call: str
    nonce: str
    """Comes back in the answer; the same one twice in a row is one request, written twice."""


@dataclass(frozen=True, slots=True)
class CallKept:
    """Whoever writes the call is still there, though there is nothing to write."""

    call: str


@dataclass(frozen=True, slots=True)
class PauseChanged:
    """From here on what is said is not to be heard, or is again; meanwhile silence takes its place."""

    call: str
    paused: bool
    connection: int = 0


@dataclass(frozen=True, slots=True)
class FinalizeRequested:
    """The caller wants everything heard so far as finals now."""

    call: str
    channel: int | None
    """One channel, or None for all."""
    marker: str
    """Comes back in ``Finalized`` once those finals are out."""
    connection: int = 0


@dataclass(frozen=True, slots=True)
class DtmfReceived:
    """A key was pressed; it lies among the audio where it was heard."""

    call: str
    channel: int
    digit: str
    """``0`` to ``9``, ``*``, ``#`` or ``A`` to ``D``; customer data, as words are."""
    connection: int = 0


@dataclass(frozen=True, slots=True)
class CallEnded:
    """Last record of a call."""

    call: str
    reason: str
    """``hangup``, ``disconnected``, ``idle`` and the like."""
    connection: int = 0


# --- out topic -----------------------------------------------------------------------------------------------------


class EndReason(StrEnum):
    """Why a final ends where it does."""

    ENDPOINT = "endpoint"
    """The speaker paused."""
    CUT = "cut"
    """The utterance reached its bound; the speaker goes on."""
    FINALIZE = "finalize"
    """The caller asked."""
    END = "end"
    """The call ended."""


@dataclass(frozen=True, slots=True)
class Fence:
    """From here on only records of this epoch, or a newer one, count in this slot."""

    epoch: int
    owner: str


@dataclass(frozen=True, slots=True)
class CallStarted:
    """First record of a call's output, so that the output alone says whose it is; an owner may say it again."""

    epoch: int
    call: str
    tenant: str
    labels: tuple[str, ...]
    """One name per side."""
    protocol: str
    """The wire protocol it came by."""
    opened_at: float
    """Unix time in seconds."""


@dataclass(frozen=True, slots=True)
class Final:
    """Text that never changes. Positions are samples at 16 kHz of the channel's media clock."""

    epoch: int
    call: str
    channel: int
    number: int
    """0 and up per channel of a call, without gaps."""
    from_sample: int
    """Where the previous ``Final`` or ``Progress`` of the channel stopped."""
    to_sample: int
    """Audio before this is done with."""
    words: tuple[Word, ...]
    """At least one; times in seconds from the call's start."""
    language: str
    language_confidence: float
    model: str
    reason: EndReason
    speech_end: float
    """Where the speaker stopped, in seconds from the call's start."""
    latency_s: float
    """Seconds from the arrival of the audio at ``speech_end`` to the writing of this record."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Audio done with that held no words; lets an owner, after a restart, start later."""

    epoch: int
    call: str
    channel: int
    from_sample: int
    to_sample: int


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """A speaker began."""

    epoch: int
    call: str
    channel: int
    at: float
    """Seconds from the call's start."""


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """A speaker paused long enough to end an utterance."""

    epoch: int
    call: str
    channel: int
    at: float
    """Seconds from the call's start."""


@dataclass(frozen=True, slots=True)
class UtteranceEnded:
    """The gap since the last word reached the caller's ``utterance_end_ms``."""

    epoch: int
    call: str
    channel: int
    last_word_end: float
    """Seconds from the call's start."""


@dataclass(frozen=True, slots=True)
class Finalized:
    """Everything before the caller's finalize request is out."""

    epoch: int
    call: str
    channel: int | None
    marker: str
    mark: int = UNMARKED
    """Number of the request, 0 and up over all requests, keys and pauses of a call. A later owner hears them again, and
    gives them the same numbers."""


@dataclass(frozen=True, slots=True)
class Dtmf:
    """A key was pressed."""

    epoch: int
    call: str
    channel: int
    digit: str
    """``0`` to ``9``, ``*``, ``#`` or ``A`` to ``D``."""
    at: float
    """Seconds from the call's start."""
    mark: int = UNMARKED
    """Number of the key, as of a ``Finalized``."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """Another connection has the call from here on: what it missed is before this."""

    epoch: int
    call: str
    nonce: str
    """Of the request."""
    connection: int
    """1 and up: marks what the new connection writes."""
    next_sequence: int
    """Number of the chunk that comes next."""
    heard: tuple[int, ...]
    """Samples that came of each side, at the call's own rate: its audio goes on there."""
    paused: bool
    """Whether the call is paused."""


@dataclass(frozen=True, slots=True)
class Paused:
    """What is said is not heard from here on, or is again."""

    epoch: int
    call: str
    paused: bool
    at: float
    """Seconds from the call's start."""
    mark: int = UNMARKED
    """Number of the pause, as of a ``Finalized``."""


@dataclass(frozen=True, slots=True)
class QualityChanged:
    """The call is served by another model or cadence from here on."""

    epoch: int
    call: str
    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class CallClosed:
    """Last record of a call's output: all its finals are before it."""

    epoch: int
    call: str
    reason: str
    audio_s: float
    """Seconds of media, the longest channel's."""
    padded_s: float
    """Seconds of silence put where the media clock had gaps, all channels together."""


# --- partials topic ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Partial:
    """Text that may still change; it replaces the channel's previous partial."""

    epoch: int
    call: str
    channel: int
    number: int
    """The final that will replace it."""
    revision: int
    """0 and up within ``number``."""
    words: tuple[Word, ...]
    """Times in seconds from the call's start."""
    stable: int
    """How many of the first words will not change in later partials of this number."""
    start: float
    """Where the open utterance begins, in seconds from the call's start."""
    end: float
    """How far the audio was heard, in seconds from the call's start."""
    language: str
    model: str


# --- calls topic ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CallPlaced:
    """A call lives in this slot."""

    spec: CallSpec
    slot: int
    resume_hash: str = ""
    """SHA-256, in hex, of what who resumes the call must show; empty where nobody can."""


@dataclass(frozen=True, slots=True)
class CallRemoved:
    """A call is over and its slot free."""

    call: str


# --- control topic -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """A slot is to be owned by somebody from now on. The offset of this record is the owner's epoch."""

    slot: int
    owner: str
    by: str
    """The coordinator that decided."""
    reason: str
    """``new``, ``lost``, ``idle``, ``drained``, ``spread``, ``moved`` or ``again``."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A shard lives."""

    owner: str
    slots: tuple[int, ...]
    """The slots it serves."""
    load: float
    """Share of what it can do that it does, 0 and up."""
    draining: bool
    """Whether it wants to be rid of its slots."""
    busy: tuple[int, ...] = ()
    """Those of its slots that have calls."""
    calls: int = 0
    """Calls in progress."""
    room: int | None = None
    """Further calls it can take; None from one that does not say."""
    rung: int = 0
    """Step of the quality ladder in force; 0 is the best."""
    wait_s: float = 0.0
    """Seconds a final handed over now would wait."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A coordinator leads, or wants to."""

    coordinator: str
    term: int
    """Offset of the record that began its time as leader, or ``STANDING``: this record is to begin it."""


@dataclass(frozen=True, slots=True)
class SideProgress:
    """How far one channel of a call is final."""

    call: str
    channel: int
    next_number: int
    done_to: int
    """Samples at 16 kHz."""
    context: str
    """Text of the last final."""
    language: str = ""
    """Of the last final."""
    language_confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class ClockState:
    """All that a channel's media clock remembers; see ``streaming.media``."""

    received: int
    padded: int
    dropped: int
    jumps: int
    offset: int
    late_in_a_row: int
    stands_still: bool

    @property
    def position(self) -> int:
        """Place of the next sample, at the call's own rate."""
        return self.received + self.padded - self.dropped


@dataclass(frozen=True, slots=True)
class CallState:
    """An open call after some record of the audio topic: what is needed to go on hearing it from there."""

    spec: CallSpec
    next_sequence: int
    """Sequence number of the chunk that comes next; smaller ones were heard."""
    clocks: tuple[ClockState, ...]
    """One per side."""
    connection: int = 0
    """The one that has the call."""
    nonce: str = ""
    """Of its request; empty for the connection that opened the call."""
    paused: bool = False
    next_mark: int = 0
    """Number of the request, key or pause that comes next."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where a new owner of a slot may begin to read instead of at the beginning.

    Both halves are what the slot's records up to an offset add up to, whoever added them: a snapshot stays true when
    its writer is not the owner any more. No channel's clock is past what is final of it.
    """

    slot: int
    out_offset: int
    """``epoch``, ``progress`` and ``closed`` are what the records of ``out`` before this offset say."""
    epoch: int
    progress: tuple[SideProgress, ...]
    closed: tuple[str, ...]
    audio_offset: int
    """``calls`` are the calls open after the records of ``audio`` before this offset."""
    calls: tuple[CallState, ...]
    began: int = 0
    """Offset of ``out`` before which nothing is of a call that is open: who wants all of their text begins there."""
    began_epoch: int = -1
    """Epoch in force at that offset."""


STANDING: typing.Final = -1
"""Term of a coordinator that does not lead yet."""

AudioRecord = (
    CallOpened | AudioChunk | CallResumed | CallKept | PauseChanged | FinalizeRequested | DtmfReceived | CallEnded
)
OutRecord = (
    Fence
    | CallStarted
    | Final
    | Progress
    | SpeechStarted
    | SpeechEnded
    | UtteranceEnded
    | Finalized
    | QualityChanged
    | Resumed
    | Paused
    | CallClosed
    | Dtmf
)
CallRecord = CallPlaced | CallRemoved
ControlRecord = Claim | Heartbeat | Lease | Snapshot
Record = AudioRecord | OutRecord | Partial | CallRecord | ControlRecord
