"""Every exception of the core, as a tree.

TrunklineError
├── BadAudio          the caller sent audio that cannot be what it was declared to be
├── BadMessage        the caller sent a message this protocol does not have
├── BadRecord         a log record that this version cannot read
├── InvalidTransition a session was told something its state does not allow (a fault of ours)
└── LogError          the log did not do what was asked of it
    ├── LogUnavailable    nobody answers, for now; trying again later may help
    ├── LogRefused        the log's service does not let us: credentials or rights
    ├── LogMisconfigured  settings and service do not fit each other
    └── RecordTooLarge    one record is larger than the log takes; the next may go through
"""

from __future__ import annotations


class TrunklineError(Exception):
    """Base of everything the core raises on purpose."""


class BadAudio(TrunklineError):
    """Audio that contradicts its declared format; the message says what was expected and what came."""


class BadMessage(TrunklineError):
    """A control message that cannot be understood.

    Args:
        code: Short machine-readable word, for example ``unknown_encoding``.
        message: What was wrong and what would be right; never holds what callers said.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BadRecord(TrunklineError):
    """A log record that cannot be decoded; the message names its kind and version, never its content."""


class InvalidTransition(TrunklineError):
    """A session was told something that its state does not allow.

    Args:
        state: Name of the state the session was in.
        event: Name of the event's class.
    """

    def __init__(self, state: str, event: str) -> None:
        super().__init__(f"a session that is {state} cannot take {event}")
        self.state = state
        self.event = event


class LogError(TrunklineError):
    """The log did not do what was asked; the message says what, where, and what to do about it."""


class LogUnavailable(LogError):
    """Nobody answers, for now. Whether a record that was on its way got there is not known."""


class LogRefused(LogError):
    """The log's service does not let us in, or not do this: credentials or rights are wrong."""


class LogMisconfigured(LogError):
    """Settings and service do not fit each other; nothing changes until one of them does."""


class RecordTooLarge(LogError):
    """A record is larger than the log takes; it was not appended, and those after it are not affected."""
