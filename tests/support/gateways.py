"""A gateway on loopback with a log in memory and a fake shard behind it, for tests."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from server.gateway import Gateway
from server.health import ReadinessProbe, always_ready
from server.metrics import Metrics
from server.settings import Settings, load
from streaming.log.memory import MemoryLog
from tests.support.fake_shard import FakeShard

START: dict[str, object] = {
    "type": "start",
    "call": "call-1",
    "audio": {"encoding": "mulaw", "sample_rate": 8000, "channels": 1},
}
"""A native start message of a plain telephone call."""

SECOND = b"\xff" * 8000
"""One second of mu-law silence at 8 kHz."""


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that serves."""

    port: int
    gateway: Gateway
    shard: FakeShard
    log: MemoryLog
    metrics: Metrics

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return f"ws://127.0.0.1:{self.port}{path}"


def settings(**flags: str) -> Settings:
    """Return settings for a test; ``limits__idle_s="1"`` sets ``limits.idle_s``."""
    named = {name.replace("__", "."): value for name, value in flags.items()}
    return load(None, {"listen.port": "0", **named})


@asynccontextmanager
async def running(
    chosen: Settings | None = None,
    *,
    models: Collection[str] = (),
    answers: bool = True,
    readiness: ReadinessProbe = always_ready,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[Running]:
    """Serve on a port the system chose while the context lasts."""
    log = MemoryLog(slots=4)
    metrics = Metrics(CollectorRegistry())
    gateway = Gateway(chosen or settings(), log, models=models, metrics=metrics, readiness=readiness, clock=clock)
    async with FakeShard(log, answers=answers).serving() as shard, gateway.serving() as port:
        yield Running(port, gateway, shard, log, metrics)


async def say(socket: ClientConnection, message: Mapping[str, object]) -> None:
    """Send a JSON message."""
    await socket.send(json.dumps(message))


async def hear(socket: ClientConnection, *types: str) -> dict[str, object]:
    """Return the next message of one of these types, or of any."""
    while True:
        message: dict[str, object] = json.loads(await socket.recv())
        if not types or message["type"] in types:
            return message


async def hear_all(socket: ClientConnection) -> list[dict[str, object]]:
    """Return every message until the close, whatever its code."""
    messages: list[dict[str, object]] = []
    with suppress(ConnectionClosed):
        while True:
            messages.append(json.loads(await socket.recv()))
    return messages
