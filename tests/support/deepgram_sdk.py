"""The official deepgram-sdk, pointed at a gateway under test."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

with warnings.catch_warnings():
    # The SDK still prefers the client that websockets has deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from deepgram import AsyncDeepgramClient
    from deepgram.core.api_error import ApiError
    from deepgram.core.events import EventType
    from deepgram.environment import DeepgramClientEnvironment
    from deepgram.listen.v1 import client as _listen
    from deepgram.listen.v1.socket_client import AsyncV1SocketClient
    from deepgram.listen.v1.types import ListenV1Metadata, ListenV1Results, ListenV1SpeechStarted

from tests.support.gateways import Running

_ = _listen  # imported on first use otherwise, where its warning would fail a test

__all__ = [
    "ApiError",
    "Heard",
    "ListenV1Metadata",
    "ListenV1Results",
    "ListenV1SpeechStarted",
    "client",
    "client_at",
    "media",
    "transcript",
]


def client(served: Running, key: str = "any") -> AsyncDeepgramClient:
    """Return the SDK's client, pointed at the gateway."""
    return client_at(served.port, key)


def client_at(port: int, key: str = "any") -> AsyncDeepgramClient:
    """Return the SDK's client, pointed at a port of this machine."""
    ws, web = f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}"
    environment = DeepgramClientEnvironment(base=web, production=ws, agent=ws, agent_rest=web)
    return AsyncDeepgramClient(api_key=key, environment=environment)


def media(served: Running) -> Any:
    """Return the SDK's half for recordings, whose types are only half known."""
    return client(served).listen.v1.media


class Heard:
    """Everything one connection of the SDK hands to its user."""

    def __init__(self, connection: AsyncV1SocketClient) -> None:
        self.messages: list[object] = []
        self._came = asyncio.Event()
        connection.on(EventType.MESSAGE, self._take)
        self.listening = asyncio.create_task(connection.start_listening())  # type: ignore[no-untyped-call]  # the SDK's

    def _take(self, message: object) -> None:
        self.messages.append(message)
        self._came.set()

    async def until(self, count: int) -> None:
        """Wait until so many final results came."""
        while len(self.finals) < count:
            self._came.clear()
            await self._came.wait()

    @property
    def results(self) -> list[ListenV1Results]:
        """All results, interim and final."""
        return [message for message in self.messages if isinstance(message, ListenV1Results)]

    @property
    def finals(self) -> list[ListenV1Results]:
        """Results that will not change."""
        return [result for result in self.results if result.is_final]


def transcript(result: ListenV1Results) -> str:
    """Return the text of a result."""
    return result.channel.alternatives[0].transcript
