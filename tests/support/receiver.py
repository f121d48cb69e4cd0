"""A webhook's receiver on loopback that keeps what it gets and answers what it is told to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import h11

DROP = 0
"""Instead of a status: the connection is dropped."""
HANG = 1
"""Instead of a status: nothing is answered until the peer leaves."""


@dataclass(frozen=True, slots=True)
class Posted:
    """One request."""

    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """What came, and what to answer."""

    port: int = 0
    posts: list[Posted] = field(default_factory=list[Posted])
    answers: deque[tuple[int, dict[str, str]]] = field(default_factory=deque[tuple[int, dict[str, str]]])
    """Status and headers of the next answers; 200 once they are used up. ``DROP`` and ``HANG`` are none."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _serving: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self.port}/hooks"

    async def until(self, count: int) -> list[Posted]:
        """Wait for so many requests."""
        while len(self.posts) < count:
            self._news.clear()
            await self._news.wait()
        return self.posts

    async def finished(self) -> None:
        """Wait until everybody who connected is gone."""
        await asyncio.gather(*self._serving)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one connection's requests."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.append(task)
        connection = h11.Connection(h11.SERVER)
        try:
            while (head := await _next(connection, reader)) and isinstance(head, h11.Request):
                body = b""
                while isinstance(part := await _next(connection, reader), h11.Data):
                    body += part.data
                headers = {name.decode(): value.decode() for name, value in head.headers}
                self.posts.append(Posted(headers, body))
                self._news.set()
                status, extra = self.answers.popleft() if self.answers else (200, {})
                if status == HANG:
                    await reader.read()
                if status in (HANG, DROP):
                    return
                fields = [("content-length", "0"), *extra.items()]
                writer.write(connection.send(h11.Response(status_code=status, headers=fields)) or b"")
                writer.write(connection.send(h11.EndOfMessage()) or b"")
                connection.start_next_cycle()
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def _next(connection: h11.Connection, reader: asyncio.StreamReader) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(65536))
    return event


@asynccontextmanager
async def receiving() -> AsyncGenerator[Receiver]:
    """Listen on a port the system chose while the context lasts."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    async with server:
        yield receiver
        await receiver.finished()
