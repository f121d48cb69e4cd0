"""Plain TCP with the face of a WebSocket."""

from __future__ import annotations

import asyncio
import socket

import pytest
from websockets.exceptions import ConnectionClosed

from server.dialect import Dialect
from server.errors import BadSetting
from server.settings import AudioSocket
from server.tcp import FramedSocket, audiosocket, read_audiosocket
from server.transport import Socket
from tests.support.bridge_sessions import audiosocket_frame

FRAMES = [audiosocket_frame(0x01, b"u" * 16), audiosocket_frame(0x10, b"\x01\x00" * 160), audiosocket_frame(0x00)]


async def refuse(_socket: Socket, _dialect: Dialect, _tenant: str, _idle_s: float) -> None:
    raise AssertionError("nobody may come here")


async def flood(framed: FramedSocket) -> None:
    """Send more than a closed connection can swallow."""
    for _ in range(10):
        await framed.send(b"x" * 65536)


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
async def test_frames_are_whole_however_the_stream_is_cut_and_half_a_frame_is_none(size: int) -> None:
    """TCP keeps no frames together."""
    stream = b"".join(FRAMES) + FRAMES[1][:7]
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near)
    _, peer = await asyncio.open_connection(sock=far)
    for at in range(0, len(stream), size):
        peer.write(stream[at : at + size])
        await peer.drain()
    peer.close()
    framed = FramedSocket(reader, writer, read_audiosocket)
    assert [frame async for frame in framed] == FRAMES
    await framed.close(1000, "")


async def test_what_is_sent_arrives_and_a_peer_that_is_gone_is_reported_as_such() -> None:
    """The connection knows one way to be told."""
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near)
    framed = FramedSocket(reader, writer, read_audiosocket)
    await framed.send(b"\x00\x00\x00")
    await framed.send("text")
    assert far.recv(100) == b"\x00\x00\x00text"
    far.close()
    with pytest.raises(ConnectionClosed):
        await flood(framed)
    await framed.close(1011, "gone")


async def test_it_is_off_until_a_port_is_set() -> None:
    """The protocol has no keys."""
    async with audiosocket(AudioSocket(), 300, refuse) as port:
        assert port is None


@pytest.mark.parametrize(
    ("chosen", "problem"),
    [
        (AudioSocket(port=0, peers=("nowhere",)), "audiosocket.peers"),
        (AudioSocket(port=0, host="192.0.2.1"), "cannot be listened on"),
    ],
)
async def test_settings_that_cannot_be_used_are_named(chosen: AudioSocket, problem: str) -> None:
    """At the start, not at the first call."""
    with pytest.raises(BadSetting, match=problem):
        async with audiosocket(chosen, 300, refuse):
            pass
