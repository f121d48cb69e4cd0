"""Reading without end: a reader's batches one after another, whatever becomes of the log meanwhile."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from streaming.errors import LogError
from streaming.log import Entry, Reader
from streaming.log.asking import asked


async def follow(reader: Reader, trouble: Callable[[LogError], None]) -> AsyncGenerator[list[Entry]]:
    """Yield what ``next`` returns until the reader is closed; then the reader is closed.

    Args:
        reader: With slots assigned, or not yet.
        trouble: Told of each failure; reading goes on after it.
    """
    try:
        while True:
            yield await asked(reader.next, trouble)
    finally:
        await reader.close()
