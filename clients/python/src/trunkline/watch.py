"""Watching a call that somebody else makes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection

from trunkline.errors import Refused
from trunkline.link import address, authorization, open_socket
from trunkline.messages import ServerMessage, Watching
from trunkline.stream import EventStream

RETRY_S: Final = 0.1
"""Seconds between looks whether an awaited call has begun."""


@asynccontextmanager
async def watch(
    url: str, call: str, *, key: str | None = None, wait_s: float = 0.0, open_timeout_s: float = 10.0
) -> AsyncGenerator[WatchedCall]:
    """Watch a call: every final so far, in order, then everything as it happens.

    Args:
        url: Address of the server, such as ``ws://127.0.0.1:8080``.
        call: Id of the call.
        key: API key of the call's tenant.
        wait_s: How long to wait for the call to begin, in seconds.
        open_timeout_s: How long connecting may take, in seconds.

    Raises:
        Refused: If there is no such call, or the key may not see it.
        Unreachable: If there is no server.
        ValueError: If the address is none.
    """
    where = address(url, f"/v1/calls/{quote(call, safe='')}/events")
    async with AsyncExitStack() as connection:
        tries_left = round(wait_s / RETRY_S)
        socket: ClientConnection | None = None
        while socket is None:
            opening = open_socket(where, authorization(key), open_timeout_s=open_timeout_s)
            try:
                socket = await connection.enter_async_context(opening)
            except Refused as refusal:
                if not tries_left or refusal.status != HTTPStatus.NOT_FOUND:
                    raise
                tries_left -= 1
                await asyncio.sleep(RETRY_S)
        watched = WatchedCall(socket)
        await connection.enter_async_context(watched.running())
        yield watched


class WatchedCall(EventStream):
    """Somebody else's call; made by ``watch``.

    Iterating over it gives every message of the server after ``watching``.

    Args:
        socket: An open connection.
    """

    def __init__(self, socket: ClientConnection) -> None:
        super().__init__(socket)
        self.call: Watching | None = None
        """The call's id and labels, once the server has said them."""

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Read events while the context lasts."""
        async with self._reading():
            yield

    def _take(self, event: ServerMessage) -> None:
        if isinstance(event, Watching):
            self.call = event
            self.transcript.add(event)
            return
        super()._take(event)
