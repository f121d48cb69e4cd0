"""The wire under a connection: an open socket, and who writes to it at the pace of its peer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from websockets.exceptions import ConnectionClosed

from server.dialect import Close, Send
from server.outbox import Outbox


class Socket(Protocol):
    """The part of a WebSocket that a connection uses."""

    def __aiter__(self) -> AsyncIterator[str | bytes]: ...

    async def send(self, message: str | bytes) -> None:
        """Send one frame; waits where the peer reads slowly."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close, and wait until the peer did or too long has passed."""
        ...


class Writer:
    """Sends frames one after the other, so that nobody else waits for a peer that reads slowly.

    Args:
        socket: Where they go.
        max_bytes: Unsent characters or bytes beyond which the peer counts as too slow.
    """

    def __init__(self, socket: Socket, max_bytes: int) -> None:
        self._socket = socket
        self._outbox = Outbox(max_bytes)
        self._unsent = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Send from now on, until a ``Close`` is out or the peer is gone."""
        self._sending = tasks.create_task(self._send(), name="connection-writer")

    def stop(self) -> None:
        """Send nothing more: there is nobody to read it."""
        if self._sending is not None:
            self._sending.cancel()

    def put(self, frame: Send | Close) -> bool:
        """Send a frame behind those before it; see ``Outbox.put``.

        Returns:
            Whether the peer keeps up.
        """
        within = self._outbox.put(frame)
        self._unsent.set()
        return within

    async def cut_off(self, close: Close) -> None:
        """Close without waiting for what the peer does not read."""
        self.stop()
        await self._socket.close(close.code, close.reason)

    async def _send(self) -> None:
        try:
            while True:
                await self._unsent.wait()
                match self._outbox.take():
                    case None:
                        self._unsent.clear()
                    case Send(payload):
                        await self._socket.send(payload)
                    case Close(code, reason):
                        await self._socket.close(code, reason)
                        return
        except ConnectionClosed:
            return
