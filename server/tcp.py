"""Protocols that come over plain TCP: their frames with the face of a WebSocket, and the listener that accepts them."""

from __future__ import annotations

import asyncio
import ipaddress
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger
from websockets.exceptions import ConnectionClosedError

from server.apis.wyoming import WyomingDialect, read_event
from server.bridges.audiosocket import HEADER_BYTES, AudioSocketDialect
from server.dialect import Dialect, Upgrade
from server.errors import BadSetting
from server.settings import AudioSocket, Wyoming
from server.transport import Socket

log: FilteringBoundLogger = structlog.get_logger()

CLOSE_S: Final = 5.0
"""Seconds a peer has to take what was sent before a close."""

Carry = Callable[[Socket, Dialect, str, float], Awaitable[None]]
"""Serves an open connection, for a tenant and with an idle limit in seconds, until it is closed."""

ReadFrame = Callable[[asyncio.StreamReader], Awaitable[bytes]]
"""Reads one frame, headers and all, or raises as ``StreamReader`` does."""


@dataclass(frozen=True, slots=True)
class _Protocol:
    """What is spoken at a port."""

    name: str
    read_frame: ReadFrame
    build: Callable[[Upgrade], Dialect]


class FramedSocket:
    """A TCP stream as whole frames.

    Args:
        reader: Where bytes come from.
        writer: Where they go.
        read_frame: Reads one frame, headers and all.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, read_frame: ReadFrame) -> None:
        self._reader = reader
        self._writer = writer
        self._read_frame = read_frame

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Give out frames, headers and all, until the peer closes; half a frame at the end is none."""
        with suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            while True:
                yield await self._read_frame(self._reader)

    async def send(self, message: str | bytes) -> None:
        """Send one frame.

        Raises:
            ConnectionClosedError: If the peer is gone.
        """
        try:
            self._writer.write(message.encode() if isinstance(message, str) else message)
            await self._writer.drain()
        except OSError as problem:
            raise ConnectionClosedError(None, None) from problem

    async def close(self, code: int, reason: str) -> None:
        """Close; TCP cannot say why, so the log does."""
        log.debug("tcp.closed", code=code, reason=reason)
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._writer.wait_closed()


@asynccontextmanager
async def audiosocket(chosen: AudioSocket, idle_s: float, carry: Carry) -> AsyncGenerator[int | None]:
    """Listen for Asterisk's AudioSocket while the context lasts; its value is the port, or None if that is off.

    Args:
        chosen: The settings.
        idle_s: Silence on the wire after which a call counts as gone, in seconds.
        carry: Serves each connection.

    Raises:
        BadSetting: If the address cannot be listened on, or a peer is no address.
    """
    protocol = _Protocol("audiosocket", read_audiosocket, AudioSocketDialect)
    async with _listening(protocol, chosen, idle_s, carry) as port:
        yield port


@asynccontextmanager
async def wyoming(chosen: Wyoming, idle_s: float, carry: Carry, models: Sequence[str]) -> AsyncGenerator[int | None]:
    """Listen for Wyoming while the context lasts; its value is the port, or None if that is off.

    Args:
        chosen: The settings.
        idle_s: Silence on the wire after which a call counts as gone, in seconds.
        carry: Serves each connection.
        models: Names of the models served, the default one first.

    Raises:
        BadSetting: If the address cannot be listened on, or a peer is no address.
    """
    protocol = _Protocol("wyoming", read_event, lambda upgrade: WyomingDialect(upgrade, models))
    async with _listening(protocol, chosen, idle_s, carry) as port:
        yield port


async def read_audiosocket(reader: asyncio.StreamReader) -> bytes:
    """Read one frame of AudioSocket off the wire."""
    header = await reader.readexactly(HEADER_BYTES)
    return header + await reader.readexactly(int.from_bytes(header[1:], "big"))


@asynccontextmanager
async def _listening(
    protocol: _Protocol, chosen: AudioSocket | Wyoming, idle_s: float, carry: Carry
) -> AsyncGenerator[int | None]:
    if chosen.port is None:
        yield None
        return
    allowed = _networks(protocol.name, chosen.peers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        socket = FramedSocket(reader, writer, protocol.read_frame)
        if not _may(str(writer.get_extra_info("peername")[0]), allowed):
            await socket.close(1008, f"the peer is not among {protocol.name}.peers")
            return
        upgrade = Upgrade(chosen.tenant, str(uuid.uuid4()), f"/{protocol.name}")
        await carry(socket, protocol.build(upgrade), chosen.tenant, idle_s)
        await socket.close(1000, "")

    try:
        server = await asyncio.start_server(serve, chosen.host, chosen.port)
    except OSError as problem:
        raise BadSetting(f"{protocol.name}: {chosen.host}:{chosen.port} cannot be listened on: {problem}") from problem
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def _networks(name: str, peers: Sequence[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    try:
        return [ipaddress.ip_network(peer) for peer in peers]
    except ValueError as problem:
        raise BadSetting(f"{name}.peers: {problem}") from problem


def _may(address: str, allowed: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    return not allowed or any(ipaddress.ip_address(address) in network for network in allowed)
