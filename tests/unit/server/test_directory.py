"""Which slot every call lives in, as several gateways know it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from server.directory import REMOVE_AFTER_S, Directory
from streaming.call import AudioFormat, CallSpec, Encoding
from streaming.log import Topic
from streaming.log.memory import MemoryLog
from streaming.record_codec import decode
from streaming.records import CallRemoved


def spec(call: str) -> CallSpec:
    return CallSpec(call, "tenant", AudioFormat(Encoding.MULAW, 8_000), ("side",))


@asynccontextmanager
async def following(log: MemoryLog) -> AsyncGenerator[Directory]:
    """A directory at work."""
    directory = Directory(log)
    task = asyncio.create_task(directory.run())
    yield directory
    task.cancel()
    await asyncio.wait([task])


async def settled() -> None:
    """Let everybody read what was written."""
    for _ in range(10):
        await asyncio.sleep(0)


def removed(log: MemoryLog) -> list[str]:
    records = [decode(entry.value) for entry in log.read(Topic.CALLS, 0, 0, 100)]
    return [record.call for record in records if isinstance(record, CallRemoved)]


async def test_a_call_is_known_and_counted_at_every_gateway() -> None:
    log = MemoryLog()
    async with following(log) as here, following(log) as there:
        here.place(spec("a"), 3)
        await settled()

        assert there.is_live("a")
        assert (there.calls_in(3), there.calls_in(4), there.live_of("tenant")) == (1, 0, 1)
        here.end("a")
        await settled()
        assert not there.is_live("a")
        assert there.find("a") is not None


async def test_a_call_whose_gateway_is_gone_is_removed_by_another() -> None:
    """Else gateways that start later would count it for a day."""
    log = MemoryLog()
    async with following(log) as gone:
        gone.place(spec("a"), 3)
        await settled()
    async with following(log) as here:
        await settled()
        here.end("a")
        here.tidy(now=5.0)
        here.tidy(now=5.0 + REMOVE_AFTER_S - 1.0)
        await settled()
        assert removed(log) == []

        here.tidy(now=5.0 + REMOVE_AFTER_S)
        here.tidy(now=500.0)
        await settled()

    assert removed(log) == ["a"]


async def test_a_call_that_its_gateway_removes_is_not_removed_again() -> None:
    log = MemoryLog()
    async with following(log) as here, following(log) as there:
        here.place(spec("a"), 3)
        await settled()
        there.end("a")
        there.tidy(now=0.0)
        here.end("a")
        await settled()
        there.tidy(now=500.0)
        await settled()

    assert removed(log) == ["a"]


async def test_a_call_that_is_read_to_be_over_before_it_is_read_where_it_was_is_not_live() -> None:
    """A gateway that starts reads both topics at once."""
    log = MemoryLog()
    async with following(log) as gone:
        gone.place(spec("a"), 3)
        await settled()
    here = Directory(log)
    here.end("a")
    task = asyncio.create_task(here.run())
    await settled()

    assert not here.is_live("a")
    assert here.live == 0
    here.tidy(now=0.0)
    here.tidy(now=500.0)
    await settled()
    assert removed(log) == ["a"]
    task.cancel()
    await asyncio.wait([task])


async def test_a_record_that_cannot_be_read_harms_no_other() -> None:
    log = MemoryLog()
    await log.append(Topic.CALLS, 0, "new", b"\xee{}")
    async with following(log) as here, following(log) as there:
        here.place(spec("a"), 3)
        await settled()
        assert there.is_live("a")
