"""What the log in memory adds to the contract of all logs: exact retention, and fairness between slots."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from streaming.log import Topic
from streaming.log.memory import KEEP_S, READ_ENTRIES, MemoryLog
from tests.support.virtual_time import run_virtually


class Clock:
    """Monotonic seconds that move when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def fill(log: MemoryLog, slot: int, count: int, topic: Topic = Topic.AUDIO) -> None:
    for number in range(count):
        await log.append(topic, slot, "call", str(number).encode())


async def test_records_older_than_their_topic_keeps_are_gone_and_readers_move_to_the_oldest_kept() -> None:
    """Memory is bounded by age, whoever reads or does not."""
    clock = Clock()
    log = MemoryLog(1, clock=clock)
    await fill(log, 0, 3)
    clock.now += KEEP_S[Topic.AUDIO] + 0.1
    await fill(log, 0, 2)
    reader = log.reader(Topic.AUDIO)
    reader.assign({0: 0})

    assert [entry.offset for entry in await reader.next()] == [3, 4]
    assert await log.end_offset(Topic.AUDIO, 0) == 5


async def test_a_reader_that_falls_behind_what_is_kept_goes_on_with_the_oldest_kept() -> None:
    clock = Clock()
    log = MemoryLog(1, dict.fromkeys(Topic, 1.0), clock)
    reader = log.reader(Topic.PARTIALS)
    reader.assign({0: 0})
    await fill(log, 0, 2, Topic.PARTIALS)
    clock.now += 2
    await fill(log, 0, 1, Topic.PARTIALS)

    assert [entry.offset for entry in await reader.next()] == [2]


def test_what_was_said_is_gone_in_time_though_nothing_more_is_said() -> None:
    """A server that nobody calls any more must not remember its last calls for good."""

    async def story(clock: Callable[[], float]) -> None:
        log = MemoryLog(3, clock=clock)
        await fill(log, 0, 3)
        await fill(log, 1, 2, Topic.OUT)
        await asyncio.sleep(KEEP_S[Topic.AUDIO] / 2)
        await fill(log, 2, 2)

        await asyncio.sleep(KEEP_S[Topic.AUDIO] * 0.7)
        assert await log.start_offsets(Topic.AUDIO) == {0: 3, 1: 0, 2: 0}
        assert await log.start_offsets(Topic.OUT) == {0: 0, 1: 0, 2: 0}
        await asyncio.sleep(KEEP_S[Topic.OUT] * 1.2)
        assert await log.start_offsets(Topic.AUDIO) == await log.end_offsets(Topic.AUDIO) == {0: 3, 1: 0, 2: 2}
        assert await log.start_offsets(Topic.OUT) == await log.end_offsets(Topic.OUT) == {0: 0, 1: 2, 2: 0}

    run_virtually(story)


def test_a_log_that_is_closed_leaves_no_timer_behind() -> None:
    """It would hold what the log held for as long as it runs."""

    async def story(clock: Callable[[], float]) -> None:
        log = MemoryLog(1, clock=clock)
        await fill(log, 0, 1)

        await log.close()
        await asyncio.sleep(2 * KEEP_S[Topic.AUDIO])

        assert await log.start_offsets(Topic.AUDIO) == {0: 0}

    run_virtually(story)


async def test_a_reader_ahead_of_the_log_gets_nothing_until_the_log_is_there() -> None:
    log = MemoryLog(1)
    reader = log.reader(Topic.AUDIO)
    reader.assign({0: 2})
    waiting = asyncio.create_task(reader.next())

    await fill(log, 0, 2)
    await asyncio.sleep(0)
    assert not waiting.done()
    await fill(log, 0, 1)

    assert [entry.offset for entry in await waiting] == [2]


async def test_a_slot_with_much_to_read_does_not_hold_up_the_others() -> None:
    """One call that floods its slot is its neighbours' problem for one piece only."""
    log = MemoryLog(2)
    await fill(log, 0, READ_ENTRIES * 3)
    await fill(log, 1, 1)
    reader = log.reader(Topic.AUDIO)
    reader.assign({0: 0, 1: 0})

    first, second = await reader.next(), await reader.next()

    assert len(first) == READ_ENTRIES
    assert second[0].slot == 1
    assert len(second) == READ_ENTRIES


async def test_a_record_in_a_slot_that_is_not_read_wakes_nobody() -> None:
    log = MemoryLog(2)
    reader = log.reader(Topic.AUDIO)
    reader.assign({0: 0})
    waiting = asyncio.create_task(reader.next())
    await asyncio.sleep(0)

    await fill(log, 1, 1)
    await asyncio.sleep(0)

    assert not waiting.done()
    waiting.cancel()


@pytest.mark.parametrize("slot", [-1, 2])
async def test_a_slot_the_log_does_not_have_is_refused(slot: int) -> None:
    log = MemoryLog(2)

    with pytest.raises(IndexError, match="does not exist; this log has 2"):
        await log.append(Topic.AUDIO, slot, "call", b"")


async def test_closing_the_log_closes_its_readers() -> None:
    log = MemoryLog(1)
    waiting = [asyncio.create_task(log.reader(topic).next()) for topic in (Topic.AUDIO, Topic.OUT)]
    await asyncio.sleep(0)

    await log.close()

    for task in waiting:
        with pytest.raises(asyncio.CancelledError):
            await task
