"""Asking again: a log that is away comes back, so nobody has to fail because of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from streaming.errors import LogError

T = TypeVar("T")

RETRY_S: Final = 1.0
"""Seconds until a log that refused or did not answer is asked again."""


async def asked(question: Callable[[], Awaitable[T]], trouble: Callable[[LogError], float | None]) -> T:
    """Return the answer of a log, asked until it gives one.

    Args:
        question: Asks once.
        trouble: Told of each failure; may return the seconds until the next try, instead of ``RETRY_S``, or raise what
            ends the asking.
    """
    while True:
        try:
            return await question()
        except LogError as problem:
            pause_s = trouble(problem)
            await asyncio.sleep(RETRY_S if pause_s is None else pause_s)
