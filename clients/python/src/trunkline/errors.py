"""What can go wrong with a call.

TrunklineError
├── Refused             the server does not take this call
├── CallFailed          the server ended the call and said why
└── ConnectionLost      the connection went away without a word
    └── Unreachable     there never was one
"""

from __future__ import annotations


class TrunklineError(Exception):
    """Everything this package raises about calls."""


class Refused(TrunklineError):
    """The server does not take this call.

    Args:
        code: The protocol's name for the reason, such as ``overloaded`` or ``unauthorized``.
        message: What was wrong and what to do, in the server's words.
        status: HTTP status of the refusal, or None if it came after the connection was open.
        retry_after_s: When to try again, in seconds, or None where that would not help.
    """

    def __init__(
        self, code: str, message: str, *, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(_sentence(code, message, retry_after_s))
        self.code = code
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s


class CallFailed(TrunklineError):
    """The server ended the call and said why.

    Args:
        code: The protocol's name for the reason, such as ``too_fast`` or ``draining``.
        message: What was wrong and what to do, in the server's words.
        retry_after_s: When to try again, in seconds, or None where nothing was said.
    """

    def __init__(self, code: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(_sentence(code, message, retry_after_s))
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class ConnectionLost(TrunklineError):
    """The connection went away in the middle of a call.

    Args:
        message: What was seen.
        close_code: The WebSocket's close code; 1006 means that there was none.
    """

    def __init__(self, message: str, *, close_code: int | None = None) -> None:
        super().__init__(message)
        self.close_code = close_code


class Unreachable(ConnectionLost):
    """No connection could be made: wrong address, nothing listening, or no answer in time."""


def _sentence(code: str, message: str, retry_after_s: float | None) -> str:
    again = "" if retry_after_s is None else f" (try again in {retry_after_s:g} s)"
    return f"{code}: {message}{again}"
