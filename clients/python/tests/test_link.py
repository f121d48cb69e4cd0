"""Addresses, keys, and what answers that are no WebSocket mean."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

import trunkline
from trunkline.link import address, open_socket


@asynccontextmanager
async def answering(answer: bytes) -> AsyncGenerator[str]:
    """A port that gives every request the same answer."""
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        served.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await served.wait()


def http(status: str, body: bytes = b"", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ws://host:8080", "ws://host:8080/v1/stream"),
        ("https://host/", "wss://host/v1/stream"),
        ("http://host/stt/", "ws://host/stt/v1/stream"),
        ("wss://host/v1/stream", "wss://host/v1/stream"),
        ("host:8080", "ws://host:8080/v1/stream"),
        ("ws://host?token=k", "ws://host/v1/stream?token=k"),
    ],
)
def test_addresses_are_taken_as_people_write_them(given: str, meant: str) -> None:
    """Whoever has the server's address should need nothing else."""
    assert address(given, "/v1/stream") == meant


@pytest.mark.parametrize("given", ["", "ftp://host", "ws://"])
def test_what_is_no_address_is_refused(given: str) -> None:
    """A mistyped address is the user's to mend, and not a server that is down."""
    with pytest.raises(ValueError, match="no server's address"):
        address(given, "/v1/stream")


@pytest.mark.parametrize(
    ("answer", "code", "message", "retry_after_s"),
    [
        (
            http("503 Busy", b'{"error": {"code": "draining", "message": "m"}}', "Retry-After: 2\r\n"),
            "draining",
            "m",
            2,
        ),
        (http("401 No", b'{"err_code": "INVALID_AUTH", "err_msg": "m"}'), "INVALID_AUTH", "m", None),
        (http("502 Bad Gateway", b"<html>"), "http_502", "the server answered 502 Bad Gateway", None),
        (http("404 Not Found", b"[]", "Retry-After: soon\r\n"), "http_404", "the server answered 404 Not Found", None),
    ],
)
async def test_refusals_are_read_whoever_wrote_them(
    answer: bytes, code: str, message: str, retry_after_s: float | None
) -> None:
    """Between the client and the server there may be a proxy that speaks another language."""
    async with answering(answer) as url:
        with pytest.raises(trunkline.Refused) as refused:
            async with open_socket(url, {}):
                pass

    assert (refused.value.code, refused.value.message, refused.value.retry_after_s) == (code, message, retry_after_s)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
        (b"", "does not speak HTTP"),
        (http("101 Switching Protocols"), "does not speak WebSocket"),
    ],
)
async def test_what_is_no_server_of_ours_is_told_apart_from_none(answer: bytes, reason: str) -> None:
    """A wrong port is a common mistake with a simple cure."""
    async with answering(answer) as url:
        with pytest.raises(trunkline.Unreachable, match=reason):
            async with open_socket(url, {}):
                pass


async def test_a_server_that_does_not_answer_is_given_up() -> None:
    """A firewall that swallows packets must not hold a call for minutes."""

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        with pytest.raises(trunkline.Unreachable, match="did not answer within"):
            async with open_socket(f"ws://localhost:{port}", {}, open_timeout_s=0.05):
                pass
