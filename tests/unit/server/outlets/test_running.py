"""Ways out that open once they can: a gateway serves calls meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, suppress

import pytest
import structlog.testing
from prometheus_client import CollectorRegistry

from server.metrics import Metrics
from server.outlets.documents import Document
from server.outlets.outlet import Outlet, WholeLedger
from server.outlets.running import Way, tell
from streaming.errors import LogError, LogMisconfigured, LogUnavailable
from streaming.log import Topic
from streaming.log.memory import MemoryLog
from streaming.record_codec import encode
from streaming.records import Fence
from tests.support.outputs import a_call
from tests.support.virtual_time import run_virtually


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, object]]]:
    """What is logged; nothing is printed."""
    with structlog.testing.capture_logs() as entries:
        yield entries


class ListSink:
    """Tells a list."""

    partials = False
    transcripts = False

    def __init__(self) -> None:
        self.told: list[Document] = []
        self.open = False

    def wants(self, document: Document) -> bool:
        del document
        return True

    async def put(self, document: Document) -> asyncio.Future[None]:
        self.told.append(document)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    @asynccontextmanager
    async def opened(self, clock: Callable[[], float], back_s: float, problem: LogError) -> AsyncGenerator[ListSink]:
        """Open it; before some moment that fails."""
        if clock() < back_s:
            raise problem
        self.open = True
        try:
            yield self
        finally:
            self.open = False


def test_a_gateway_whose_broker_is_away_at_its_start_tells_everything_once_it_is_back() -> None:
    """It is in the log already, so a minute's outage must cost neither the process nor a word."""

    async def story(clock: Callable[[], float]) -> None:
        log, sink, running = MemoryLog(slots=1, clock=clock), ListSink(), list[Outlet]()
        for record in (Fence(0, "shard"), *a_call("call-1", finals=3)):
            await log.append(Topic.OUT, 0, "call-1", encode(record))
        way = Way("crm", lambda: sink.opened(clock, 60.0, LogUnavailable("no broker answers")))
        telling = asyncio.create_task(
            tell(way, log, lambda: WholeLedger(1), Metrics(CollectorRegistry()), running.append)
        )
        await asyncio.sleep(59.5)
        assert running == []
        await asyncio.sleep(1.0)
        assert [document.id for document in sink.told][-1] == "call-1/ended"
        assert len(running) == 1
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
        assert not sink.open

    run_virtually(story)


def test_a_way_out_that_opens_after_an_hour_tells_all_that_is_kept_and_is_settled_then() -> None:
    """By then the log has let go of the fences of all slots, and of everything in some."""

    async def story(clock: Callable[[], float]) -> None:
        log, sink, running = MemoryLog(slots=2, clock=clock), ListSink(), list[Outlet]()
        for slot in (0, 1):
            await log.append(Topic.OUT, slot, "", encode(Fence(0, "shard")))
        way = Way("crm", lambda: sink.opened(clock, 3600.0, LogUnavailable("no broker answers")))
        telling = asyncio.create_task(
            tell(way, log, lambda: WholeLedger(2), Metrics(CollectorRegistry()), running.append)
        )
        await asyncio.sleep(3500.0)
        for record in a_call("call-1", finals=3):
            await log.append(Topic.OUT, 0, "call-1", encode(record))
        await asyncio.sleep(200.0)
        assert len(sink.told) == 5
        await asyncio.wait_for(running[0].settled(), 1.0)
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling

    run_virtually(story)


def test_a_way_out_that_does_not_fit_the_cluster_ends_no_call_and_says_so_until_it_fits(
    logged: list[MutableMapping[str, object]],
) -> None:
    """It is opened while calls are served; who operates the server hears of it from the log and from a metric."""
    registry = CollectorRegistry()

    def is_open() -> float | None:
        return registry.get_sample_value("trunkline_part_open", {"part": "crm"})

    async def story(clock: Callable[[], float]) -> None:
        log, sink, running = MemoryLog(slots=1, clock=clock), ListSink(), list[Outlet]()
        for record in (Fence(0, "shard"), *a_call("call-1", finals=3)):
            await log.append(Topic.OUT, 0, "call-1", encode(record))
        way = Way("crm", lambda: sink.opened(clock, 60.0, LogMisconfigured("the topic does not exist")))
        telling = asyncio.create_task(tell(way, log, lambda: WholeLedger(1), Metrics(registry), running.append))
        await asyncio.sleep(59.5)
        assert is_open() == 0
        await asyncio.sleep(1.0)
        assert is_open() == 1
        assert [document.id for document in sink.told][-1] == "call-1/ended"
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling

    run_virtually(story)
    assert {(entry["event"], entry["log_level"], entry["problem"]) for entry in logged} == {
        ("outlet.misconfigured", "error", "the topic does not exist")
    }
