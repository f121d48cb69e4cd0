"""A piece of network to break: a TCP proxy on loopback that delays, holds, cuts and resets what goes through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

HOST: Final = "127.0.0.1"
PIECE: Final = 65_536


@dataclass(slots=True)
class Wire:
    """Between clients and whoever of its targets answers; like a load balancer if there are several."""

    targets: Sequence[int]
    """Ports on this machine; each new connection goes to the next one that answers."""
    port: int = 0
    delay_s: float = 0.0
    """How long everything takes in each direction."""
    life_s: Callable[[], float | None] = lambda: None
    """How long the next connection lives, in seconds; None for as long as its ends want."""
    cuts: int = 0
    """Connections whose life was over before they were."""
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _turn: int = 0
    _ends: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    @property
    def url(self) -> str:
        """Where clients of a WebSocket connect."""
        return f"ws://{HOST}:{self.port}"

    def hold(self) -> None:
        """Let nothing through, and let nobody know: a cable that is pulled."""
        self._open.clear()

    def release(self) -> None:
        """Let everything through again."""
        self._open.set()

    def reset(self) -> None:
        """End all connections at once."""
        for end in list(self._ends):
            end.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._ends.add(writer)
        try:
            far_reader, far = await self._connect()
            self._ends.add(far)
            try:
                async with asyncio.timeout(self.life_s()), asyncio.TaskGroup() as ways:
                    ways.create_task(self._pass(reader, far))
                    ways.create_task(self._pass(far_reader, writer))
            finally:
                far.transport.abort()
                self._ends.discard(far)
        except TimeoutError:
            self.cuts += 1
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._ends.discard(writer)
            self._tasks.discard(task)

    async def close(self) -> None:
        """End everything."""
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        problem: OSError = ConnectionRefusedError()
        for _ in self.targets:
            self._turn += 1
            try:
                return await asyncio.open_connection(HOST, self.targets[self._turn % len(self.targets)])
            except OSError as refused:
                problem = refused
        raise problem

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one direction; its end too, so that the other may still say something."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as halves:
            halves.create_task(self._deliver(under_way, writer))
            data = b"?"
            while data:
                with suppress(ConnectionError):
                    data = await reader.read(PIECE)
                    under_way.put_nowait((loop.time() + self.delay_s, data))
                    continue
                data = b""
                under_way.put_nowait((loop.time(), data))

    async def _deliver(self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                await self._open.wait()
                if not data:
                    writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def wired(*targets: int, port: int = 0) -> AsyncGenerator[Wire]:
    """Stand before servers while the context lasts."""
    wire = Wire(list(targets))
    wire.release()
    server = await asyncio.start_server(wire.carry, HOST, port)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        await wire.close()
