"""What every log keeps, whichever it is: one suite, run on each implementation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from streaming.log import Entry, Log, Reader, Topic
from streaming.log.memory import READ_ENTRIES
from tests.support.logs import IMPLEMENTATIONS, SLOTS, Brokers, OpenLog, opener


@pytest.fixture(scope="session")
def brokers() -> Iterator[Brokers]:
    """Brokers, each started when the first test asks for it."""
    started = Brokers()
    yield started
    started.stop()


@pytest.fixture(params=IMPLEMENTATIONS)
def open_log(request: pytest.FixtureRequest, brokers: Brokers) -> OpenLog:
    """Opens a log of ``SLOTS`` slots, and closes it; other tests may have written to it."""
    assert isinstance(request.node, pytest.Function)
    return opener(request.param, brokers, request.node.originalname)


async def append(log: Log, slot: int, *values: bytes, topic: Topic = Topic.AUDIO) -> list[int]:
    """Append and wait until the records are durable; returns their offsets."""
    futures = [await log.append(topic, slot, f"call-{slot}", value) for value in values]
    return [await future for future in futures]


async def read(reader: Reader, count: int) -> list[Entry]:
    """Read until there are so many entries."""
    entries: list[Entry] = []
    while len(entries) < count:
        entries += await reader.next()
    assert len(entries) == count
    return entries


def values(entries: list[Entry], slot: int | None = None) -> list[bytes]:
    """Values in the order read."""
    return [entry.value for entry in entries if slot is None or entry.slot == slot]


async def test_offsets_of_a_slot_count_up_by_one(open_log: OpenLog) -> None:
    """Epochs and replays are offsets: a hole would look like a lost record."""
    async with open_log() as log:
        first = await log.end_offset(Topic.AUDIO, 3)

        assert await append(log, 3, b"a", b"b", b"c") == [first, first + 1, first + 2]
        assert await log.end_offset(Topic.AUDIO, 3) == first + 3


async def test_the_ends_of_all_slots_can_be_asked_for_at_once(open_log: OpenLog) -> None:
    async with open_log() as log:
        await append(log, 2, b"a", b"b")
        ends = await log.end_offsets(Topic.AUDIO)

        assert set(ends) == set(range(SLOTS))
        assert ends[2] == await log.end_offset(Topic.AUDIO, 2)
        assert set(await log.end_offsets(Topic.CONTROL)) == {0}


async def test_an_entry_is_what_was_appended_and_where_it_lies(open_log: OpenLog) -> None:
    async with open_log() as log:
        (offset,) = await append(log, 2, b"\x00\xffvalue")
        reader = log.reader(Topic.AUDIO)
        reader.assign({2: offset})

        assert await read(reader, 1) == [Entry(Topic.AUDIO, 2, offset, "call-2", b"\x00\xffvalue")]


async def test_records_of_a_slot_are_read_in_the_order_they_were_handed_over(open_log: OpenLog) -> None:
    """Also where nobody waited for one before handing over the next."""
    written = [str(number).encode() for number in range(300)]
    async with open_log() as log:
        start = await log.end_offset(Topic.AUDIO, 0)
        await append(log, 0, *written)
        reader = log.reader(Topic.AUDIO)
        reader.assign({0: start})

        assert values(await read(reader, 300)) == written


async def test_a_reader_gets_what_is_appended_while_it_waits(open_log: OpenLog) -> None:
    async with open_log() as log:
        reader = log.reader(Topic.AUDIO)
        reader.assign({1: await log.end_offset(Topic.AUDIO, 1)})
        waiting = asyncio.create_task(reader.next())
        await asyncio.sleep(0)

        await append(log, 1, b"news")

        assert values(await waiting) == [b"news"]


async def test_a_slot_can_be_read_again_from_any_offset(open_log: OpenLog) -> None:
    """A new owner replays; the log does not care who has read what."""
    async with open_log() as log:
        offsets = await append(log, 0, b"a", b"b", b"c")
        first, second = log.reader(Topic.AUDIO), log.reader(Topic.AUDIO)
        first.assign({0: offsets[0]})
        second.assign({0: offsets[1]})

        assert values(await read(first, 3)) == [b"a", b"b", b"c"]
        assert values(await read(second, 2)) == [b"b", b"c"]
        first.assign({0: offsets[2]})
        assert values(await read(first, 1)) == [b"c"]


async def test_a_reader_reads_its_slots_and_no_others(open_log: OpenLog) -> None:
    async with open_log() as log:
        starts = {slot: await log.end_offset(Topic.AUDIO, slot) for slot in range(SLOTS)}
        for slot in range(SLOTS):
            await append(log, slot, *(f"{slot}-{number}".encode() for number in range(20)))
        reader = log.reader(Topic.AUDIO)
        reader.assign({slot: starts[slot] for slot in (1, 4, 6)})

        entries = await read(reader, 60)

        for slot in (1, 4, 6):
            assert values(entries, slot) == [f"{slot}-{number}".encode() for number in range(20)]


async def test_topics_do_not_mix(open_log: OpenLog) -> None:
    async with open_log() as log:
        start = await log.end_offset(Topic.OUT, 0)
        await append(log, 0, b"audio")
        await append(log, 0, b"text", topic=Topic.OUT)
        reader = log.reader(Topic.OUT)
        reader.assign({0: start})

        assert values(await read(reader, 1)) == [b"text"]


async def test_slots_that_stay_assigned_keep_their_place_when_others_come_and_go(open_log: OpenLog) -> None:
    """A shard that is given another slot must not hear its old ones again."""
    async with open_log() as log:
        starts = {slot: await log.end_offset(Topic.AUDIO, slot) for slot in (0, 1, 2)}
        reader = log.reader(Topic.AUDIO)
        reader.assign({0: starts[0], 1: starts[1]})
        for slot in (0, 1, 2):
            await append(log, slot, f"{slot}-old".encode())
        await read(reader, 2)

        reader.assign({0: starts[0] + 1, 2: starts[2]})
        for slot in (0, 1, 2):
            await append(log, slot, f"{slot}-new".encode())

        entries = await read(reader, 3)
        assert values(entries, 0) == [b"0-new"]
        assert values(entries, 2) == [b"2-old", b"2-new"]


async def test_a_reader_with_nothing_assigned_waits_until_it_has_something(open_log: OpenLog) -> None:
    async with open_log() as log:
        (offset,) = await append(log, 5, b"there")
        reader = log.reader(Topic.AUDIO)
        waiting = asyncio.create_task(reader.next())
        await asyncio.sleep(0)
        assert not waiting.done()

        reader.assign({5: offset})

        assert values(await waiting) == [b"there"]


async def test_a_slow_reader_loses_nothing_that_is_kept(open_log: OpenLog) -> None:
    """It is handed a bounded piece at a time, so that it does not hold up the others of its process."""
    count = READ_ENTRIES * 2 + 7
    async with open_log() as log:
        start = await log.end_offset(Topic.AUDIO, 0)
        reader = log.reader(Topic.AUDIO)
        reader.assign({0: start, 1: await log.end_offset(Topic.AUDIO, 1)})
        await append(log, 0, *(str(number).encode() for number in range(count)))
        await append(log, 1, b"other")

        entries = await read(reader, count + 1)

        assert values(entries, 0) == [str(number).encode() for number in range(count)]
        assert values(entries, 1) == [b"other"]


async def test_closing_a_reader_wakes_who_waits_for_it(open_log: OpenLog) -> None:
    """Nothing may hang when a process stops."""
    async with open_log() as log:
        reader = log.reader(Topic.AUDIO)
        reader.assign({0: await log.end_offset(Topic.AUDIO, 0)})
        waiting = asyncio.create_task(reader.next())
        await asyncio.sleep(0)

        await reader.close()

        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_a_log_tells_how_many_slots_it_has(open_log: OpenLog) -> None:
    async with open_log() as log:
        assert log.slots == SLOTS
