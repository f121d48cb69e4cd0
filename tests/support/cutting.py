"""A network that breaks: a TCP proxy on loopback that cuts its connections at random, in both directions at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass


@dataclass(slots=True)
class Network:
    """What became of it."""

    url: str
    cuts: int = 0


@asynccontextmanager
async def cutting(port: int, dice: random.Random, after_s: tuple[float, float]) -> AsyncGenerator[Network]:
    """Stand before a server while the context lasts.

    Args:
        port: Of the server, on this machine.
        dice: Decides how long each connection lives.
        after_s: Shortest and longest life, in seconds.
    """
    network = Network("")

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near = asyncio.current_task()
        assert near is not None
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(dice.uniform(*after_s)), asyncio.TaskGroup() as tasks:
                tasks.create_task(_pass_on(reader, far_writer))
                tasks.create_task(_pass_on(far_reader, writer))
        except TimeoutError:
            network.cuts += 1
        finally:
            for end in (writer, far_writer):
                end.transport.abort()  # a reset, with whatever is on its way

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    network.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield network
    finally:
        server.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
