"""Reading without end: a reader's batches one after another, whatever becomes of the log meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final, TypeVar

from streaming.errors import LogError
from streaming.log import Entry, Reader

T = TypeVar("T")

RETRY_S: Final = 1.0
"""Seconds until a log that refused or did not answer is asked again."""


async def follow(reader: Reader, trouble: Callable[[LogError], None]) -> AsyncGenerator[list[Entry]]:
    """Yield what ``next`` returns until the reader is closed; then the reader is closed.

    Args:
        reader: With slots assigned, or not yet.
        trouble: Told of each failure; reading goes on after it.
    """
    try:
        while True:
            try:
                entries = await reader.next()
            except LogError as problem:
                trouble(problem)
                await asyncio.sleep(RETRY_S)
            else:
                yield entries
    finally:
        await reader.close()


async def asked(question: Callable[[], Awaitable[T]], trouble: Callable[[LogError], None]) -> T:
    """Return the answer of a log, asked until it gives one."""
    while True:
        try:
            return await question()
        except LogError as problem:
            trouble(problem)
            await asyncio.sleep(RETRY_S)
