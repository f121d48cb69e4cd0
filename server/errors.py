"""Every exception of the gateway, as a tree.

GatewayError
├── Refusal    a request that is answered with an HTTP error instead of a WebSocket
└── BadSetting a setting that cannot be used; the program ends with code 2
"""

from __future__ import annotations

import os
from collections.abc import Mapping


class GatewayError(Exception):
    """Base of everything the gateway raises on purpose."""


class Refusal(GatewayError):
    """A request that gets no WebSocket.

    Args:
        status: HTTP status, 400 to 599.
        code: Short machine-readable word.
        message: What was wrong and what would be right.
        headers: Further headers of the answer, ``Retry-After`` for example.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


class BadSetting(GatewayError):
    """Settings that cannot be used; the message names the setting, what came and what would do."""


def why(problem: OSError) -> str:
    """Say what the system says, without the event loop's prose around it."""
    return os.strerror(problem.errno).lower() if problem.errno is not None and problem.errno > 0 else str(problem)
