"""One HTTP request with a body, and its answer: what the WebSocket library does not read.

The connection is closed after the answer, so there is never a second request. Nothing is read of the body until
somebody asks for it: who may not ask for anything should not make us keep what was sent.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final

import h11
from websockets.datastructures import Headers

from server.errors import Refusal

READ_BYTES: Final = 65_536
"""The most that is read at once."""

LINGER_S: Final = 2.0
"""Time that a body nobody wants may still come, in seconds: closing at once would also throw our answer away."""


class PeerGone(Exception):
    """The connection broke before the request was there."""


class HttpExchange:
    """A request and its answer.

    Args:
        reader: Where the request comes from.
        write: Sends bytes; waits where the peer reads slowly.
        patience_s: Time the peer may be silent within its request, in seconds.
        gone: Done once the connection is lost.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        write: Callable[[bytes], Awaitable[None]],
        patience_s: float,
        gone: asyncio.Future[None],
    ) -> None:
        self._reader = reader
        self._write = write
        self._patience_s = patience_s
        self.gone = gone
        """Done once nobody waits for the answer any more."""
        self._h11 = h11.Connection(h11.SERVER)
        self.target = ""
        """Path and query as they came."""
        self.headers = Headers()

    async def read_head(self) -> None:
        """Read the request up to its body.

        Raises:
            PeerGone: If the connection breaks.
            Refusal: 400 if this is not HTTP.
        """
        request = await self._next()
        assert isinstance(request, h11.Request)  # what a server hears first
        self.target = request.target.decode("ascii", "replace")
        self.headers = Headers((name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers)

    async def read_body(self, max_bytes: int) -> bytes:
        """Read the whole body.

        Raises:
            PeerGone: If the connection breaks.
            Refusal: 413 if it is longer, 400 if it is no HTTP.
        """
        too_long = Refusal(413, "too_large", f"the body may have {max_bytes} bytes")
        with suppress(ValueError):
            if int(self.headers.get("Content-Length", "0")) > max_bytes:
                raise too_long
        if self._h11.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, headers=[]))
        body = bytearray()
        while isinstance(event := await self._next(), h11.Data):
            body += event.data
            if len(body) > max_bytes:
                raise too_long
        return bytes(body)

    async def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send the whole answer."""
        await self.begin(status, {**headers, "Content-Length": str(len(body))})
        await self.send(body)
        await self.finish()

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the answer up to its body."""
        fields: Iterable[tuple[str, str]] = {**headers, "Connection": "close"}.items()
        reason = http.HTTPStatus(status).phrase
        await self._send(h11.Response(status_code=status, headers=list(fields), reason=reason))

    async def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        if data:
            await self._send(h11.Data(data=data))

    async def finish(self) -> None:
        """End the answer; read and throw away what still comes of a body that nobody wanted."""
        await self._send(h11.EndOfMessage())
        if self._h11.their_state is h11.SEND_BODY:
            with suppress(TimeoutError, OSError):
                async with asyncio.timeout(LINGER_S):
                    while await self._reader.read(READ_BYTES):
                        pass

    @property
    def answered(self) -> bool:
        """Whether an answer was begun."""
        return self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE)

    async def _send(self, event: h11.Event) -> None:
        data = self._h11.send(event)
        if data and not self.gone.done():
            await self._write(data)

    async def _next(self) -> h11.Event:
        try:
            while True:
                event = self._h11.next_event()
                if event is h11.NEED_DATA:
                    async with asyncio.timeout(self._patience_s):
                        self._h11.receive_data(await self._reader.read(READ_BYTES))
                elif isinstance(event, h11.ConnectionClosed):
                    raise PeerGone
                else:
                    assert isinstance(event, h11.Request | h11.Data | h11.EndOfMessage)  # no more kinds before the end
                    return event
        except h11.RemoteProtocolError as problem:
            if self._reader.at_eof():
                raise PeerGone from problem
            raise Refusal(400, "bad_http", "the request is not HTTP/1.1") from problem
        except TimeoutError as problem:
            raise Refusal(408, "too_slow", f"nothing came of the request for {self._patience_s:g} s") from problem
