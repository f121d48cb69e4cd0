"""One connection: what one peer, dialect or log does wrong stays with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, MutableMapping
from dataclasses import replace

import pytest
import structlog.testing
from prometheus_client import CollectorRegistry

from server.admission import CountingAdmission
from server.connection import Connection
from server.delivery import Delivery
from server.dialect import Action, Audio, Close, Dialect, End, Event, Open, Opened, Send, Trouble, Watch
from server.directory import Directory
from server.feed import LOG_BACKLOG
from server.metrics import Metrics
from server.services import Services
from server.settings import Limits
from streaming.call import AudioFormat, CallSpec, Encoding
from streaming.log import Topic
from streaming.log.memory import MemoryLog
from streaming.record_codec import decode
from streaming.records import INTERNAL, UNTIMED, AudioChunk, CallClosed, CallEnded, CallOpened, Partial
from tests.support.dice import thrown

SPEC = CallSpec(call="call-1", tenant="acme", audio=AudioFormat(Encoding.MULAW, 8000), labels=("customer",))
CLOSED = CallClosed(0, "call-1", "hangup", 1.0, 0.0)


class ScriptedDialect(Dialect):
    """Does what the frames say, and remembers what it was told."""

    name = "scripted"

    def __init__(self) -> None:
        self.told: list[Event] = []

    def receive(self, message: str | bytes, now: float) -> list[Action]:
        if isinstance(message, bytes):
            return [Audio(0, UNTIMED, message)]
        match message:
            case "open":
                return [Open(SPEC)]
            case "end":
                return [End("hangup")]
            case "watch":
                return [Watch("call-1")]
            case "close":
                return [Close(1000, "done")]
            case "tick":
                self.deadline = now + 5.0
                return []
            case "break":
                raise ValueError("a fault of the dialect")
            case _:
                return []

    def deliver(self, event: Event, now: float) -> list[Action]:
        self.told.append(event)
        match event:
            case Trouble(ill):
                return [Send(f"trouble {ill}"), Close(4000, ill)]
            case Partial():
                raise ValueError("a fault of the dialect")
            case CallClosed():
                return [Close(1000)]
            case _:
                return [Send(type(event).__name__)]

    def tick(self, now: float) -> list[Action]:
        self.deadline = float("inf")
        return [Send(f"tick {now:g}")]


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, object]]]:
    """What is logged; nothing is printed."""
    with structlog.testing.capture_logs() as entries:
        yield entries


class FakeSocket:
    """A socket whose peer is the test."""

    def __init__(self) -> None:
        self._frames: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.sent: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.closed_with: tuple[int, str] | None = None

    def receive(self, *frames: str | bytes) -> None:
        for frame in frames:
            self._frames.put_nowait(frame)

    def hang_up(self) -> None:
        self._frames.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        while (frame := await self._frames.get()) is not None:
            yield frame

    async def send(self, message: str | bytes) -> None:
        self.sent.put_nowait(message)

    async def close(self, code: int, reason: str) -> None:
        self.closed_with = self.closed_with or (code, reason)
        self._frames.put_nowait(None)


class StuckLog(MemoryLog):
    """Takes audio only when told to, or fails."""

    def __init__(self) -> None:
        super().__init__(slots=1)
        self.open = asyncio.Event()
        self.open.set()
        self.fails = False
        self.late: asyncio.Future[int] | None = None

    async def append(self, topic: Topic, slot: int, key: str, value: bytes) -> asyncio.Future[int]:
        await self.open.wait()
        if self.fails:
            raise ConnectionError("the log is gone")
        return self.late or await super().append(topic, slot, key, value)

    def written(self) -> list[object]:
        return [decode(entry.value) for entry in self.read(Topic.AUDIO, 0, 0, 10_000)]


class Setup:
    """One connection between a fake socket and a log."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.now = 0.0
        self.log = StuckLog()
        self.socket = FakeSocket()
        self.dialect = ScriptedDialect()
        directory, metrics = Directory(self.log), Metrics(CollectorRegistry())
        self.metrics = metrics
        services = Services(
            log=self.log,
            directory=directory,
            delivery=Delivery(self.log, directory, metrics, lambda: self.now, 10.0),
            admission=CountingAdmission(directory, lambda: [0], 10, 10, 5.0, rng=thrown(1)),
            metrics=metrics,
            limits=limits or Limits(),
            clock=lambda: self.now,
            wall_clock=lambda: 1000.0,
        )
        self.connection = Connection(self.socket, self.dialect, "acme", 60.0, services)

    async def heard(self) -> str | bytes:
        """Return the next frame the peer gets."""
        return await self.socket.sent.get()

    def closes(self, reason: str) -> float | None:
        """Return how many connections ended for a reason."""
        return self.metrics.registry.get_sample_value(
            "trunkline_closes_total", {"protocol": "scripted", "reason": reason}
        )


async def test_a_call_is_written_in_order_and_its_end_once() -> None:
    setup = Setup()
    setup.socket.receive("open", b"\xff" * 200, b"\xff" * 200, b"\xff", "end", "end", b"\xff")
    running = asyncio.create_task(setup.connection.run())
    assert await setup.heard() == "Opened"
    setup.socket.hang_up()
    await running
    opened, first, last, ended = setup.log.written()
    assert isinstance(opened, CallOpened)
    assert (opened.spec.protocol, opened.spec.opened_at) == ("scripted", 1000.0)
    assert first == AudioChunk("call-1", 0, 0, UNTIMED, b"\xff" * 400)
    assert last == AudioChunk("call-1", 1, 0, UNTIMED, b"\xff")
    assert ended == CallEnded("call-1", "hangup")
    assert setup.closes("hangup") == 1


async def test_a_fault_of_a_dialect_closes_its_connection_and_still_ends_its_call() -> None:
    """One bug must cost one connection, not the process."""
    setup = Setup()
    setup.socket.receive("open", b"\xff", "break", b"\xff")
    await setup.connection.run()
    assert setup.socket.closed_with == (1011, "internal")
    assert setup.log.written()[-1] == CallEnded("call-1", "internal")
    assert setup.closes("internal") == 1


async def test_a_fault_while_text_is_delivered_does_not_reach_who_delivers() -> None:
    setup = Setup()
    setup.socket.receive("open")
    running = asyncio.create_task(setup.connection.run())
    await setup.heard()
    setup.connection.hear(Partial(0, "call-1", 0, 0, 0, (), 0, 0.0, 0.5, "en", "m"))
    await running
    assert setup.socket.closed_with == (1011, "internal")


async def test_a_log_that_fails_closes_the_connection_as_our_fault() -> None:
    setup = Setup()
    setup.log.fails = True
    setup.socket.receive("open")
    await setup.connection.run()
    assert setup.socket.closed_with == (1011, "internal")


async def test_a_record_the_log_lost_ends_the_connection_instead_of_an_ack() -> None:
    """An ack is a promise."""
    setup = Setup()
    setup.socket.receive("open")
    running = asyncio.create_task(setup.connection.run())
    await setup.heard()
    setup.log.late = asyncio.get_running_loop().create_future()
    setup.socket.receive(b"\xff" * 400)
    await everything_ready()
    setup.now = 1.0
    setup.connection.pulse(1.0)
    assert [type(event) for event in setup.dialect.told] == [Opened]
    setup.log.late.set_exception(ConnectionError("lost"))
    setup.connection.pulse(2.0)
    await running
    assert setup.socket.closed_with == (1011, "internal")


async def test_reading_pauses_only_when_the_log_has_taken_nothing_for_long() -> None:
    """Slow models never stop the reader; a log that is stuck must not fill the memory."""
    setup = Setup()
    setup.socket.receive("open")
    running = asyncio.create_task(setup.connection.run())
    await setup.heard()
    setup.log.open.clear()
    for _ in range(LOG_BACKLOG + 20):
        setup.socket.receive(b"\xff" * 320)
    await everything_ready(LOG_BACKLOG * 3)
    setup.log.open.set()
    setup.socket.hang_up()
    await running
    written = setup.log.written()
    assert sum(isinstance(record, AudioChunk) for record in written) == LOG_BACKLOG + 20
    assert written[-1] == CallEnded("call-1", "disconnected")


async def test_a_flood_of_control_messages_is_stopped() -> None:
    setup = Setup(Limits(control_per_s=1.0))
    setup.socket.receive(*["nothing"] * 11)
    await setup.connection.run()
    assert setup.socket.closed_with == (4000, "too_fast")


async def test_the_time_of_a_dialect_comes() -> None:
    """Some protocols must say something every few seconds."""
    setup = Setup()
    setup.socket.receive("open", "tick")
    running = asyncio.create_task(setup.connection.run())
    await setup.heard()
    await everything_ready()
    setup.connection.pulse(4.9)
    setup.connection.pulse(5.0)
    setup.connection.pulse(6.0)
    assert await setup.heard() == "tick 5"
    assert setup.socket.sent.empty()
    setup.socket.hang_up()
    await running


async def test_a_call_that_its_shard_ended_is_not_ended_again() -> None:
    setup = Setup()
    setup.socket.receive("open")
    running = asyncio.create_task(setup.connection.run())
    await setup.heard()
    setup.connection.hear(CLOSED)
    await running
    assert setup.socket.closed_with == (1000, "")
    assert [type(record) for record in setup.log.written()] == [CallOpened]


async def test_a_call_that_its_shard_had_to_give_up_ends_as_our_fault() -> None:
    """A plain end would say that the transcript is whole."""
    setup = Setup()
    setup.socket.receive("open")
    running = asyncio.create_task(setup.connection.run())
    await setup.heard()
    setup.connection.hear(replace(CLOSED, reason=INTERNAL))
    await running
    assert setup.socket.closed_with == (4000, "internal")
    assert isinstance(setup.dialect.told[-1], Trouble)
    assert [type(record) for record in setup.log.written()] == [CallOpened]


@pytest.mark.parametrize(("frames", "reason"), [(["open", "close"], "done"), (["open"], "disconnected")])
async def test_however_a_connection_ends_its_call_ends_too(frames: list[str], reason: str) -> None:
    setup = Setup()
    setup.socket.receive(*frames)
    if "close" not in frames:
        setup.socket.hang_up()
    await setup.connection.run()
    assert setup.log.written()[-1] == CallEnded("call-1", reason)


async def test_audio_before_a_call_and_a_watcher_of_nothing_are_harmless() -> None:
    setup = Setup()
    setup.socket.receive(b"\xff", "watch")
    running = asyncio.create_task(setup.connection.run())
    assert await setup.heard() == "Watched"
    setup.socket.hang_up()
    await running
    assert setup.log.written() == []


async def everything_ready(turns: int = 20) -> None:
    """Let every task that is ready run."""
    for _ in range(turns):
        await asyncio.sleep(0)
