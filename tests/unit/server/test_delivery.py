"""What the log says, brought to listeners."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from server.delivery import Delivery, Told
from server.directory import Directory
from server.metrics import Metrics
from streaming.log import Topic
from streaming.log.memory import MemoryLog
from streaming.record_codec import encode
from streaming.records import CallClosed, CallRemoved, Fence, OutRecord, Partial, Progress, SpeechStarted
from tests.support.dialects import final, partial

CLOSED = CallClosed(0, "call-1", "hangup", 3.0, 0.0)


class Setup:
    """A delivery over a log, and one listener of ``call-1``."""

    def __init__(self) -> None:
        self.log = MemoryLog(slots=2)
        self.metrics = Metrics(CollectorRegistry())
        self.now = 0.0
        self.delivery = Delivery(self.log, Directory(self.log), self.metrics, lambda: self.now, keep_ended_s=10.0)
        self.heard: list[Told] = []
        self._came = asyncio.Event()
        self.delivery.listen("call-1", self.hear)

    def hear(self, record: Told) -> None:
        self.heard.append(record)
        self._came.set()

    async def say(self, *records: OutRecord | Partial | CallRemoved) -> None:
        for record in records:
            topic = Topic.PARTIALS if isinstance(record, Partial) else Topic.OUT
            await self.log.append(topic, 1, "call-1", encode(record))

    async def until(self, count: int) -> list[Told]:
        while len(self.heard) < count:
            self._came.clear()
            await self._came.wait()
        return self.heard

    def counted(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(name) or 0.0


@asynccontextmanager
async def running() -> AsyncGenerator[Setup]:
    setup = Setup()
    task = asyncio.create_task(setup.delivery.run())
    try:
        yield setup
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_only_the_newest_owner_is_believed_and_nothing_is_told_twice() -> None:
    """A former owner may still write; nobody must hear it."""
    one, two = final("one", 0.0, 1.0), final("two", 1.0, 2.0, number=1)
    stale = dataclasses.replace(final("wrong", 1.0, 2.0, number=1), epoch=0)
    async with running() as setup:
        await setup.say(Fence(0, "a"), one, one, Fence(5, "b"), stale, dataclasses.replace(two, epoch=5))
        await setup.say(dataclasses.replace(CLOSED, epoch=5))
        heard = await setup.until(3)
        assert heard[:2] == [one, dataclasses.replace(two, epoch=5)]
        assert setup.counted("trunkline_superseded_total") == 2
        assert setup.counted("trunkline_slot_epoch_fenced_total") == 2
        assert setup.counted("trunkline_final_gap_total") == 0


async def test_a_final_whose_number_skips_one_is_counted_as_a_gap() -> None:
    async with running() as setup:
        await setup.say(Fence(0, "a"), final("two", 1.0, 2.0, number=1), final("one", 0.0, 1.0))
        await setup.until(1)
        assert setup.counted("trunkline_final_gap_total") == 1


async def test_partials_of_text_that_is_final_are_dropped() -> None:
    async with running() as setup:
        await setup.say(Fence(0, "a"), final("one", 0.0, 1.0))
        await setup.until(1)
        await setup.say(partial("on", 0.0, 0.5), partial("tw", 1.0, 1.5, number=1))
        assert (await setup.until(2))[1] == partial("tw", 1.0, 1.5, number=1)


async def test_late_listeners_find_all_finals_until_the_call_is_long_over() -> None:
    one = final("one", 0.0, 1.0)
    async with running() as setup:
        await setup.say(Fence(0, "a"), SpeechStarted(0, "call-1", 0, 0.0), one, Progress(0, "call-1", 0, 16000, 20000))
        await setup.until(3)
        assert setup.delivery.so_far("call-1") == [one]
        setup.delivery.prune(100.0)
        await setup.say(CLOSED)
        await setup.until(4)
        assert setup.delivery.so_far("call-1") == [one, CLOSED]
        setup.delivery.prune(9.9)
        assert setup.delivery.so_far("call-1") == [one, CLOSED]
        setup.delivery.prune(10.0)
        assert setup.delivery.so_far("call-1") == []


async def test_who_stopped_listening_hears_nothing_and_others_still_do() -> None:
    async with running() as setup:
        others: list[Told] = []
        setup.delivery.listen("call-1", others.append)
        setup.delivery.ignore("call-1", others.append)
        setup.delivery.ignore("call-2", others.append)
        await setup.say(Fence(0, "a"), final("one", 0.0, 1.0))
        await setup.until(1)
        assert others == []
        setup.delivery.ignore("call-1", setup.hear)
        setup.delivery.ignore("call-1", setup.hear)


async def test_records_that_cannot_be_read_are_counted_and_passed_over() -> None:
    """A newer version may write kinds that this one does not know."""
    async with running() as setup:
        await setup.log.append(Topic.OUT, 1, "call-1", b"\xee{}")
        await setup.say(CallRemoved("call-1"), Fence(0, "a"), final("one", 0.0, 1.0))
        await setup.until(1)
        assert setup.counted("trunkline_unreadable_records_total") == 2
