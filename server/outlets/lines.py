"""Documents on their way out, a line for each call: within a line one after another, lines beside each other.

So a document never overtakes one of its call that was not taken yet, and a call that is held up holds up no other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from server.outlets.documents import Document

Tell = Callable[[Document, float], Awaitable[None]]
"""Tells a document, however long that takes, or gives it up; it must not fail. It is also told when the document was
handed over, in the loop's seconds."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    document: Document
    done: asyncio.Future[None]
    since: float


class Lines:
    """Every call's line; an ``async with`` block is their life.

    Args:
        tell: Tells one document.
        name: Of the tasks.
        room: Documents that may wait in memory; more wait in the log.
    """

    def __init__(self, tell: Tell, name: str, room: int) -> None:
        self._tell = tell
        self._name = name
        self._room = asyncio.Semaphore(room)
        self._lines: dict[str, deque[_Waiting]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Lines:
        """Begin."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop where it stands."""
        for task in list(self._tasks):
            task.cancel()
        for task in list(self._tasks):
            with suppress(asyncio.CancelledError):
                await task

    @property
    def waiting(self) -> int:
        """Documents that are neither told nor given up."""
        return sum(len(line) for line in self._lines.values())

    async def put(self, document: Document) -> asyncio.Future[None]:
        """Take a document; its future is done once it is told or given up."""
        await self._room.acquire()
        loop = asyncio.get_running_loop()
        waiting = _Waiting(document, loop.create_future(), loop.time())
        line = self._lines.get(document.call)
        if line is None:
            line = self._lines[document.call] = deque()
            task = loop.create_task(self._work_off(document.call, line), name=self._name)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        line.append(waiting)
        return waiting.done

    async def _work_off(self, call: str, line: deque[_Waiting]) -> None:
        while line:
            first = line[0]
            await self._tell(first.document, first.since)
            line.popleft()
            first.done.set_result(None)
            self._room.release()
        del self._lines[call]
