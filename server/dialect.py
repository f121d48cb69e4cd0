"""One wire protocol on one connection, as a pure translator.

A dialect turns what its peer sends into actions and what happens to the call into actions; the connection carries them
out. It reads no clock, owns no task, opens no socket, so that a further protocol is one file and its test.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from server.directory import Place
from streaming.call import CallSpec
from streaming.records import OutRecord, Partial

# --- what a dialect is told ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opened:
    """The call was admitted and placed."""

    spec: CallSpec
    resume_token: str | None = None
    """What who resumes the call must show; None where nobody can."""


@dataclass(frozen=True, slots=True)
class Rejoined:
    """The call to resume was found; its finals so far follow, then a ``Resumed`` record, then what happens."""

    spec: CallSpec


@dataclass(frozen=True, slots=True)
class GoAway:
    """The server is about to stop; the call goes on at another gateway."""

    within_s: float
    """Seconds until the connection is closed."""


@dataclass(frozen=True, slots=True)
class Watched:
    """The call to watch was found; what it said so far follows."""

    call: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Followed:
    """The tenant's calls in progress; what they say follows."""

    calls: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Appeared:
    """A further call of the tenant began."""

    call: Place


@dataclass(frozen=True, slots=True)
class Acked:
    """Audio before this time is in the log."""

    audio_s: float


class Ill(StrEnum):
    """Why a connection cannot go on, whatever its protocol."""

    OVERLOADED = "overloaded"
    DUPLICATE_CALL = "duplicate_call"
    TAKEN_OVER = "taken_over"
    UNKNOWN_CALL = "unknown_call"
    TOO_FAST = "too_fast"
    SLOW_READER = "slow_reader"
    START_TIMEOUT = "start_timeout"
    IDLE = "idle"
    DRAINING = "draining"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Trouble:
    """The connection cannot go on; the dialect tells its peer in the protocol's own words and closes."""

    ill: Ill
    message: str
    """What happened and what to do."""
    retry_after_s: float | None = None


Event = OutRecord | Partial | Opened | Rejoined | GoAway | Watched | Followed | Appeared | Acked | Trouble

# --- what a dialect wants done -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Open:
    """Ask for the call to be admitted; answered by ``Opened`` or ``Trouble`` before the next message is read."""

    spec: CallSpec
    resumable: bool = False
    """Whether the peer may come back after its connection broke."""
    channel: int | None = None
    """Which channel of the call this connection is, where the others have connections of their own; else None."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Ask for a call that another connection opened; answered by ``Rejoined`` or ``Trouble`` at once."""

    call: str
    token: str
    """As ``Opened`` gave it."""


@dataclass(frozen=True, slots=True)
class Pause:
    """What comes from here on is not to be heard, or is again."""

    paused: bool


@dataclass(frozen=True, slots=True)
class Watch:
    """Ask for everything a call in progress, or ended lately, said and says."""

    call: str


@dataclass(frozen=True, slots=True)
class Follow:
    """Ask for all calls of the tenant: those in progress and those that begin."""


class Audio(NamedTuple):
    """Samples for the log; a tuple, because there is one for each 20 ms and a frozen dataclass takes twice as long."""

    channel: int
    """0 and up, or ``ALL_CHANNELS`` for interleaved samples."""
    position: int
    """Media clock of the first sample, in samples per channel at the call's own rate, or ``UNTIMED``."""
    payload: bytes


@dataclass(frozen=True, slots=True)
class Finalize:
    """Everything heard so far should become final now."""

    channel: int | None
    marker: str


@dataclass(frozen=True, slots=True)
class Dtmf:
    """A key was pressed on one side of the call."""

    channel: int
    digit: str
    """``0`` to ``9``, ``*``, ``#`` or ``A`` to ``D``."""


@dataclass(frozen=True, slots=True)
class End:
    """No more audio comes; what was heard is still finished and delivered."""

    reason: str


@dataclass(frozen=True, slots=True)
class Send:
    """One frame for the peer."""

    payload: str | bytes
    replaces: str | None = None
    """An unsent frame of the same name is dropped in favour of this one."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection once everything sent before is out."""

    code: int = 1000
    reason: str = ""


Action = Open | Resume | Pause | Watch | Follow | Audio | Finalize | Dtmf | End | Send | Close


# --- the translator ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The request that became the connection, after authentication."""

    tenant: str
    request_id: str
    """Made up per request; the id of a call whose peer names none."""
    path: str
    """Without the query."""
    query: tuple[tuple[str, str], ...] = ()
    """Decoded, in order, repeated names kept."""
    captured: Mapping[str, str] = field(default_factory=dict[str, str])
    """What stood at the named places of the route's pattern."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Those that the route says its dialect reads, by their names in lower case."""


class Dialect(ABC):
    """One protocol on one connection."""

    name: str
    """For logs, metrics and ``CallSpec.protocol``."""
    patient: bool = False
    """Whether a connection may go without a call for as long as a call may be silent."""
    resumable: bool = False
    """Whether the peer may come back after its connection broke, so that its call is kept for a while."""
    deadline: float = math.inf
    """Monotonic seconds at which ``tick`` wants to be called."""

    def begin(self, now: float) -> list[Action]:
        """Act on the connection itself, before anything was received."""
        del now
        return []

    @abstractmethod
    def receive(self, message: str | bytes, now: float) -> list[Action]:
        """Act on one frame: ``str`` for text, ``bytes`` for binary."""

    @abstractmethod
    def deliver(self, event: Event, now: float) -> list[Action]:
        """Act on what happened to the call."""

    def tick(self, now: float) -> list[Action]:
        """Act on ``deadline`` having passed."""
        del now
        return []

    def hung_up(self) -> list[Action]:
        """Act on the peer having gone; nothing can be sent any more."""
        return [End("disconnected")]
