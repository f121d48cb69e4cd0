"""The public port: a WebSocket, a GET or a POST, told apart by their first bytes.

``websockets`` serves upgrades and answers GETs; a POST is answered on the same connection by ``http_exchange``. The
decision is made before the library sees a byte, and the task that would wait for its handshake serves the POST.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from server.http_exchange import HttpExchange

POST: Final = b"POST "

FLUSH_S: Final = 10.0
"""Time a peer has to take the last bytes of an answer, in seconds."""

_ProcessRequest = Callable[[ServerConnection, Request], Awaitable[Response | None] | Response | None]
_ProcessResponse = Callable[[ServerConnection, Request, Response], Awaitable[Response | None] | Response | None]


class Front(ServerConnection):
    """A connection of which nothing is known yet; subclasses say who answers a POST, and how long it may take."""

    patience_s: float = 10.0
    """Time a peer has to finish its upgrade, or may be silent within a POST, in seconds."""
    _first = b""
    _decided = False
    _body: asyncio.StreamReader | None = None

    async def post(self, exchange: HttpExchange) -> None:
        """Answer a POST."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        """Decide by the first bytes; then pass on."""
        if self._body is not None:
            self._body.feed_data(data)
        elif self._decided:
            super().data_received(data)
        else:
            self._first += data
            if len(self._first) >= len(POST) or not POST.startswith(self._first):
                self._decide()

    def eof_received(self) -> None:
        """Pass on that nothing more comes."""
        if self._body is not None:
            self._body.feed_eof()
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that nobody is there any more."""
        if self._body is not None:
            self._body.feed_eof()
        super().connection_lost(exc)

    async def handshake(
        self,
        process_request: _ProcessRequest | None = None,
        process_response: _ProcessResponse | None = None,
        server_header: str | None = None,
    ) -> None:
        """Open the WebSocket, or serve the POST to its end."""
        async with asyncio.timeout(self.patience_s):
            await asyncio.wait([self._known, self.connection_lost_waiter], return_when=asyncio.FIRST_COMPLETED)
            if self._body is None:
                await super().handshake(process_request, process_response, server_header)
                return
        exchange = HttpExchange(self._body, self._send, self.patience_s, self.connection_lost_waiter)
        await self.post(exchange)
        self.transport.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await asyncio.shield(self.connection_lost_waiter)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to listen."""
        self._known: asyncio.Future[None] = self.loop.create_future()
        super().connection_made(transport)

    def _decide(self) -> None:
        self._decided = True
        if self._first.startswith(POST):
            self._body = asyncio.StreamReader()
            self._body.set_transport(self.transport)
            self._body.feed_data(self._first)
        else:
            super().data_received(self._first)
        if not self._known.done():
            self._known.set_result(None)

    async def _send(self, data: bytes) -> None:
        self.transport.write(data)
        await self.drain()
