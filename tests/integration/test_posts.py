"""Requests with a body, byte by byte, on the port that WebSockets come to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pytest
from websockets.asyncio.client import connect

from server.gateway import PULSE_S
from streaming.records import CallEnded, CallOpened
from tests.support.gateways import START, Running, hear, running, say, settings
from tests.support.sound import tone

PATH = "/v1/audio/transcriptions"


def form(file: bytes, **fields: str) -> bytes:
    head = "--XX\r\nContent-Disposition: form-data; name="
    parts = [f'{head}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    parts.append(f'{head}"file"; filename="a.wav"\r\n\r\n')
    return "".join(parts).encode() + file + b"\r\n--XX--\r\n"


def request(body: bytes, path: str = PATH, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: here", "Content-Type: multipart/form-data; boundary=XX", *headers]
    if not any(header.startswith("Transfer-Encoding") for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def line(served: Running) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def answer(served: Running, *pieces: bytes) -> tuple[int, bytes]:
    """Send a request in pieces; return the answer's status and body."""
    async with line(served) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        told = await reader.read()
    head, _, body = told.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def test_a_request_may_come_in_any_pieces() -> None:
    """Its first bytes decide what it is, and they may come one by one."""
    whole = request(form(tone(1.5), response_format="text"))
    async with running() as served:
        status, body = await answer(served, b"P", b"OS", b"T /v1", whole[8:40], whole[40:5000], whole[5000:])
        assert (status, body) == (200, b"word0 word1\n")
        chunks = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (form(tone(1.0)),))
        status, body = await answer(served, request(chunks + b"0\r\n\r\n", PATH, "Transfer-Encoding: chunked"))
        assert (status, json.loads(body)["text"]) == (200, "word0")


async def test_a_client_that_asks_first_is_told_to_go_on() -> None:
    """curl does for larger files."""
    body = form(tone(0.5))
    async with running() as served, line(served) as (reader, writer):
        writer.write(request(body, PATH, "Expect: 100-continue")[: -len(body)])
        assert b"HTTP/1.1 100" in await reader.readuntil(b"\r\n\r\n")
        writer.write(body)
        assert b" 200 OK" in await reader.read()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(b"x", "/v1/nothing"), 404),
        (request(b"x" * 5000), 413),
        (request(b"1388\r\n" + b"x" * 5000 + b"\r\n0\r\n\r\n", PATH, "Transfer-Encoding: chunked"), 413),
        (request(b"x"), 400),
        (request(b"x").replace(b"multipart/form-data", b"text/plain"), 415),
        (request(b"x", PATH, "Origin: https://elsewhere.example"), 403),
        (b"POST nonsense\r\n\r\n", 400),
    ],
)
async def test_what_cannot_be_is_refused_and_the_answer_arrives(sent: bytes, status: int) -> None:
    """Even where the body was not read."""
    async with running(settings(files__max_bytes="4096")) as served:
        assert (await answer(served, sent))[0] == status


async def test_somebody_who_sends_slowly_is_told_and_somebody_who_goes_is_forgotten() -> None:
    """Neither keeps a place."""
    async with running(settings(limits__open_s="2", files__at_once="1")) as served:
        whole = request(form(tone(1.0)))
        assert (await answer(served, whole[:200]))[0] == 408
        async with line(served) as (_, writer):
            writer.write(whole[:200])
        assert (await answer(served, whole))[0] == 200


async def test_a_recording_whose_sender_left_ends_as_a_call_does() -> None:
    """Nobody would read the rest, and a call that never ends would stay in the log."""
    async with running(answers=False) as served:
        opened = asyncio.create_task(served.shard.next(CallOpened))
        ended = asyncio.create_task(served.shard.next(CallEnded))
        await asyncio.sleep(0)
        async with line(served) as (_, writer):
            writer.write(request(form(tone(100.0, 8000))))
            await opened
        assert isinstance(await ended, CallEnded)


async def test_a_page_and_a_websocket_may_share_an_address() -> None:
    """WhisperLive's client knows no path; and a GET that offers another protocol is still a GET."""
    async with running() as served:
        async with connect(served.url("/")) as socket:
            await say(socket, {"uid": "u", "language": "en", "task": "transcribe"})
            assert json.loads(await socket.recv())["message"] == "SERVER_READY"
        status, body = await answer(served, b"GET /healthz HTTP/1.1\r\nHost: here\r\nUpgrade: h2c\r\n\r\n")
        assert (status, body) == (200, b'{"alive":true}')


async def test_a_session_may_begin_long_before_somebody_speaks() -> None:
    """Push to talk: the limit of silence counts there, not the one of starting a call."""
    now = [0.0]
    async with (
        running(settings(limits__start_s="3", limits__idle_s="40"), clock=lambda: now[0]) as served,
        connect(served.url("/v1/realtime")) as socket,
    ):
        assert json.loads(await socket.recv())["type"] == "session.created"
        now[0] = 39.0
        await asyncio.sleep(3 * PULSE_S)  # time is looked at meanwhile
        now[0] = 40.0
        error = json.loads(await socket.recv())
        assert "40 s" in error["error"]["message"]


async def test_live_calls_come_in_beside_a_recording() -> None:
    """One port serves both."""
    async with running() as served:
        posted = asyncio.create_task(answer(served, request(form(tone(30.0, 8000)))))
        async with connect(served.url("/v1/stream")) as socket:
            await say(socket, START)
            assert (await hear(socket))["type"] == "ready"
        assert (await posted)[0] == 200


async def test_a_server_that_stops_finishes_what_it_began_and_refuses_the_rest() -> None:
    """A drain is no failure."""
    async with running(settings(limits__drain_s="0.2"), answers=False) as served:
        opened = asyncio.create_task(served.shard.next(CallOpened))
        await asyncio.sleep(0)
        async with line(served) as (reader, writer):
            writer.write(request(form(tone(2.0))))
            await opened
            drained = asyncio.create_task(served.gateway.drain())
            await asyncio.sleep(0)
            assert (await answer(served, request(form(tone(0.5)))))[0] == 503
            await drained
            assert not reader.at_eof()


async def test_a_full_server_says_when_to_come_back() -> None:
    """Libraries try again by themselves then."""
    async with running(settings(limits__max_calls="1")) as served, connect(served.url("/v1/stream")) as socket:
        await say(socket, START)
        await hear(socket, "ready")
        async with line(served) as (reader, writer):
            writer.write(request(form(tone(0.5))))
            told = await reader.read()
        assert b"503" in told.split(b"\r\n")[0]
        assert b"Retry-After" in told
