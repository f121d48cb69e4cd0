"""The receiving half that calls and watchers share: events in order, the transcript, and how it all ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from trunkline.errors import CallFailed, ConnectionLost, TrunklineError
from trunkline.inbox import Inbox
from trunkline.messages import Closed, Error, Event, ServerMessage, parse
from trunkline.transcript import Transcript


class EventStream:
    """Events of one call, as an asynchronous iterator.

    It stops when the call has ended, and raises ``CallFailed`` or ``ConnectionLost`` after the last event where that is
    how it ended. Nobody needs to iterate: unread partials give way to newer ones, and ``transcript`` grows by itself.

    Args:
        socket: An open connection.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.transcript = Transcript()
        """Finals of every side so far."""
        self.closed: Closed | None = None
        """How the call ended, once it has."""
        self._socket = socket
        self._inbox = Inbox()
        self._over = asyncio.Event()
        self._fatal: Error | None = None
        self._failure: TrunklineError | None = None
        self._told = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._inbox.get()
        if event is not None:
            return event
        self._check()
        raise StopAsyncIteration

    @property
    def over(self) -> bool:
        """Whether nothing more can come."""
        return self._over.is_set()

    def _check(self) -> None:
        """Raise what ended the call, if it did not end well."""
        if self._failure is not None:
            self._told = True
            raise self._failure

    def _take(self, event: ServerMessage) -> None:
        """Act on an event before its reader sees it."""
        self.transcript.add(event)
        match event:
            case Closed():
                self.closed = event
            case Error(fatal=True):
                self._fatal = event
            case _:
                pass
        self._inbox.put(event)

    def _ended_well(self) -> bool:
        return self.closed is not None and self._fatal is None

    @asynccontextmanager
    async def _reading(self) -> AsyncGenerator[None]:
        """Read the socket while the context lasts."""
        reader = asyncio.create_task(self._read(), name="trunkline-reader")
        try:
            yield
        finally:
            reader.cancel()
            await asyncio.wait((reader,))
            if not reader.cancelled():
                reader.result()  # a mistake of ours in there must not stay there

    async def _read(self) -> None:
        try:
            await self._listen()
            while await self._go_on():
                await self._listen()
            self._failure = self._why()
        except ValueError as problem:
            self._failure = CallFailed("bad_message", f"the server sent what this client cannot read: {problem}")
        except TrunklineError as problem:
            self._failure = problem
        finally:
            self._over.set()
            self._inbox.end()

    async def _listen(self) -> None:
        """Take every event of the connection there is, to its end."""
        with suppress(ConnectionClosed):
            async for frame in self._socket:
                event = parse(frame if isinstance(frame, str) else frame.decode("utf-8", "replace"))
                if event is not None:
                    self._take(event)

    async def _go_on(self) -> bool:
        """Make another connection where that is possible.

        Returns:
            Whether there is one.
        """
        return False

    def _why(self) -> TrunklineError | None:
        if self._ended_well():
            return None
        if self._fatal is not None:
            return CallFailed(self._fatal.code, self._fatal.message, retry_after_s=self._fatal.retry_after_s)
        code, reason = self._socket.close_code, self._socket.close_reason
        said = f" ({reason})" if reason else ""
        return ConnectionLost(
            f"the connection was closed with code {code}{said} before the call had ended", close_code=code
        )
