"""A server to test against: it speaks the native protocol on a port of this machine and understands nothing.

What it "hears" is how much audio came: every whole second of each channel is one word, ``one two three``.
"""

from __future__ import annotations

import http
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from trunkline import messages
from trunkline.errors import Refused
from trunkline.messages import ClientMessage, Start, Word

WORDS: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
MODEL: Final = "fake"


class Peer:
    """A client, as the server sees it.

    Args:
        socket: Its connection.
    """

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.path = socket.request.path if socket.request is not None else ""
        self.start: Start | None = None
        self.audio = bytearray()
        """All that came."""
        self.said: list[ClientMessage] = []
        """All messages that came."""

    async def receive(self) -> ClientMessage | bytes | None:
        """Return the next frame, or None once the client has hung up."""
        try:
            frame = await self.socket.recv()
        except ConnectionClosed:
            return None
        if isinstance(frame, bytes):
            self.audio += frame
            return frame
        message = messages.parse_client(frame)
        if message is not None:
            self.said.append(message)
        if isinstance(message, Start):
            self.start = message
        return message

    async def send(self, *answers: messages.ServerMessage) -> None:
        """Send messages."""
        for answer in answers:
            await self.socket.send(messages.dump(answer))

    async def accept(self) -> Start:
        """Receive ``start`` and answer ``ready``.

        Raises:
            ValueError: If something else comes.
        """
        start = await self.receive()
        if not isinstance(start, Start):
            raise ValueError("the first message was no start")  # noqa: TRY004 - the peer's fault
        labels = start.labels or tuple(f"channel {number}" for number in range(start.audio.channels))
        await self.send(messages.Ready(start.call or "made-up", labels, start.model or MODEL, 1))
        return start


Behaviour = Callable[[Peer], Awaitable[None]]
"""What the server does with a client; the connection is closed afterwards."""


class FakeServer:
    """A server that runs; made by ``fake_server``.

    Args:
        behave: What it does with each client.
        refusal: What it answers requests with, or None to take them.
        refusals: How many requests are refused; None for all.
    """

    def __init__(self, behave: Behaviour, refusal: Refused | None, refusals: int | None) -> None:
        self.url = ""
        self.peers: list[Peer] = []
        """All clients that ever connected."""
        self.requests: list[Request] = []
        """All requests, refused ones too."""
        self._refusal = refusal
        self._refusals = refusals
        self._behave = behave

    async def serve_one(self, socket: ServerConnection) -> None:
        """Serve a connection."""
        peer = Peer(socket)
        self.peers.append(peer)
        await self._behave(peer)

    def check(self, _socket: ServerConnection, request: Request) -> Response | None:
        """Refuse a request, or let it pass."""
        self.requests.append(request)
        if self._refusal is None or (self._refusals is not None and len(self.requests) > self._refusals):
            return None
        status = self._refusal.status or http.HTTPStatus.SERVICE_UNAVAILABLE
        body = json.dumps({"error": {"code": self._refusal.code, "message": self._refusal.message}}).encode()
        headers = Headers({"Content-Length": str(len(body)), "Connection": "close"})
        if self._refusal.retry_after_s is not None:
            headers["Retry-After"] = f"{self._refusal.retry_after_s:.0f}"
        return Response(status, http.HTTPStatus(status).phrase, headers, body)


async def polite(peer: Peer) -> None:
    """Carry a whole call: partials as seconds of audio come, finals when asked and at the end."""
    start = await peer.accept()
    ear = _Ear(start)
    while not isinstance(frame := await peer.receive(), messages.Close | None):
        match frame:
            case bytes():
                await peer.send(*ear.hear(frame))
            case messages.Finalize(marker, channel):
                channels = range(start.audio.channels) if channel is None else [channel]
                for number in channels:
                    await peer.send(*ear.final(number, "finalize"))
                await peer.send(messages.Finalized(marker, channel))
            case _:
                pass
    for number in range(start.audio.channels):
        await peer.send(*ear.final(number, "end"))
    await peer.send(messages.Closed(start.call or "made-up", "hangup", ear.heard_s, 0.0, ear.finals))


class _Ear:
    """Counts seconds."""

    def __init__(self, start: Start) -> None:
        self.finals = 0
        self._audio = start.audio
        self._labels = start.labels or tuple(f"channel {number}" for number in range(start.audio.channels))
        self._interim = start.interim
        self._bytes = 0
        self._final_s = [0] * start.audio.channels
        self._numbers = [0] * start.audio.channels

    @property
    def heard_s(self) -> float:
        return self._bytes / self._audio.second_bytes

    def hear(self, audio: bytes) -> list[messages.ServerMessage]:
        before = int(self.heard_s)
        self._bytes += len(audio)
        heard = int(self.heard_s)
        if heard == before:
            return []
        told: list[messages.ServerMessage] = [messages.Ack(self.heard_s)]
        for channel, final_s in enumerate(self._final_s):
            if before == final_s:
                told.append(messages.SpeechStarted(channel, self._labels[channel], float(final_s)))
            if self._interim:
                told.append(self._partial(channel, heard))
        return told

    def _partial(self, channel: int, heard: int) -> messages.Partial:
        words = self._words(channel, heard)
        return messages.Partial(
            channel=channel,
            label=self._labels[channel],
            number=self._numbers[channel],
            revision=len(words) - 1,
            start=float(self._final_s[channel]),
            end=float(heard),
            text=" ".join(word.text for word in words),
            stable=len(words) - 1,
            words=words,
            language="en",
            model=MODEL,
        )

    def final(self, channel: int, reason: str) -> list[messages.ServerMessage]:
        heard = int(self.heard_s)
        words = self._words(channel, heard)
        if not words:
            return []
        number = self._numbers[channel]
        self._numbers[channel] += 1
        self._final_s[channel] = heard
        self.finals += 1
        return [
            messages.Final(
                channel=channel,
                label=self._labels[channel],
                number=number,
                start=words[0].start,
                end=words[-1].end,
                text=" ".join(word.text for word in words),
                words=words,
                confidence=1.0,
                language="en",
                model=MODEL,
                reason=reason,
                speech_end=words[-1].end,
                latency_s=0.0,
            )
        ]

    def _words(self, channel: int, heard: int) -> tuple[Word, ...]:
        seconds = range(self._final_s[channel], heard)
        return tuple(Word(WORDS[second % len(WORDS)], float(second), second + 1.0, 1.0) for second in seconds)


@asynccontextmanager
async def fake_server(
    behave: Behaviour = polite, *, refusal: Refused | None = None, refusals: int | None = None
) -> AsyncGenerator[FakeServer]:
    """Serve on a free port of this machine while the context lasts.

    Args:
        behave: What to do with each client; ``polite`` carries calls properly.
        refusal: What to answer requests with, or None to take them.
        refusals: How many requests are refused; None for all.
    """
    fake = FakeServer(behave, refusal, refusals)
    async with serve(fake.serve_one, "127.0.0.1", 0, process_request=fake.check, compression=None) as server:
        fake.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield fake
