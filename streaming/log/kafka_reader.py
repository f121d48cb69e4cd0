"""Reads slots of a topic in Kafka: as many consumers as it takes for each to be answered soon.

A fetch names every partition that it asks for, and broker and client look at each of them, whether it has anything or
not. One fetch for 256 slots took longer than four of five records had waited; shares of 32 halve the median.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from streaming.errors import LogError
from streaming.log import Entry, Topic
from streaming.log.kafka_client import library, translating
from streaming.log.kafka_refusals import Refusals
from streaming.log.kafka_types import Consumer, Found, Partition

SHARE: Final = 32
"""Slots that one consumer reads at most."""

READ_ENTRIES: Final = 512
"""Entries one ``next`` returns at most, so that a reader far behind does not hold the event loop."""

FETCH_WAIT_MS: Final = 100
"""How long a broker holds a fetch that finds nothing. Records end it at once; a new assignment waits for it."""


class KafkaReader:
    """A ``Reader`` of a ``KafkaLog``; made by ``KafkaLog.reader``.

    Args:
        make: Makes a consumer.
        topic: To read.
        name: Of the topic in the cluster.
        slots: How many it has.
        refusals: Told what the cluster does not let us read.
    """

    def __init__(self, make: Callable[[], Consumer], topic: Topic, name: str, slots: int, refusals: Refusals) -> None:
        shares = -(-slots // SHARE)
        self._tails = [_Tail(make(), topic, name, refusals, READ_ENTRIES // min(shares, 8)) for _ in range(shares)]
        self._reading: dict[_Tail, asyncio.Task[list[Entry]]] = {}
        self._closed = False

    def assign(self, positions: Mapping[int, int]) -> None:
        """Read exactly these slots from now on; see ``Reader.assign``."""
        for tail, task in list(self._reading.items()):
            if task.done():  # read, but not returned by ``next``: what is wanted now is read again
                _forget(task)
                del self._reading[tail]
        for number, tail in enumerate(self._tails):
            tail.assign({slot: offset for slot, offset in positions.items() if slot // SHARE == number})

    async def next(self) -> list[Entry]:
        """Wait for records; see ``Reader.next``.

        Raises:
            asyncio.CancelledError: If the reader is closed.
            LogError: If the cluster refuses, or does not answer the first call; ``next`` may be called again. Brokers
                that go away later are waited for.
        """
        while not self._closed:
            for tail in self._tails:
                if tail not in self._reading:
                    self._reading[tail] = asyncio.create_task(tail.next(), name="kafka-read")
            await asyncio.wait(self._reading.values(), return_when=asyncio.FIRST_COMPLETED)
            entries = self._take()
            if entries:
                return entries
        raise asyncio.CancelledError

    async def close(self) -> None:
        """Stop; a waiting ``next`` is cancelled."""
        self._closed = True
        for tail in self._tails:
            await tail.close()
        for task in self._reading.values():
            task.cancel()
        if self._reading:
            await asyncio.wait(self._reading.values())
        for task in self._reading.values():
            _forget(task)

    def _take(self) -> list[Entry]:
        """Return what was read; what went wrong comes first, and what was read beside it with the next call."""
        done = {tail: task for tail, task in self._reading.items() if task.done() and not task.cancelled()}
        for tail, task in done.items():
            if (problem := task.exception()) is not None:
                del self._reading[tail]
                raise problem
        for tail in done:
            del self._reading[tail]
        return [entry for task in done.values() for entry in task.result()]


def _forget(task: asyncio.Task[list[Entry]]) -> None:
    """Have nobody complain that an answer was not looked at."""
    if not task.cancelled():
        task.exception()


class _Tail:
    """Reads some slots of a topic, by one consumer."""

    def __init__(self, consumer: Consumer, topic: Topic, name: str, refusals: Refusals, most: int) -> None:
        self._most = most
        self._consumer = consumer
        self._refusals = refusals
        self._topic = topic
        self._name = name
        self._positions: dict[int, int] = {}
        self._assigned = asyncio.Event()
        self._turn = asyncio.Lock()  # starting and stopping, one after the other: a half-started consumer cannot stop
        self._started = False
        self._closed = False

    def assign(self, positions: Mapping[int, int]) -> None:
        """Read exactly these slots from now on; see ``Reader.assign``. What is read already goes on undisturbed."""
        if positions == self._positions:
            return
        self._positions = dict(positions)
        self._assigned.set()
        if self._started:
            self._apply()

    async def next(self) -> list[Entry]:
        """Wait for records; see ``Reader.next``.

        Raises:
            asyncio.CancelledError: If the reader is closed.
            LogError: If the cluster refuses, or does not answer the first call; ``next`` may be called again. Brokers
                that go away later are waited for.
        """
        while not self._closed:
            if not self._positions:
                self._assigned.clear()
                await self._assigned.wait()
            elif not self._started:
                await self._start()
            else:
                entries = await self._read()
                if entries:
                    return entries
        raise asyncio.CancelledError

    async def close(self) -> None:
        """Stop; a waiting ``next`` is cancelled."""
        self._closed = True
        self._assigned.set()
        async with self._turn:
            self._started = False
            with suppress(library().errors.KafkaError, OSError):
                await self._consumer.stop()

    async def _start(self) -> None:
        async with self._turn:
            if self._closed:
                return
            with translating(f"reading {self._name}"):
                await self._consumer.start()
            self._started = True
            self._apply()

    def _apply(self) -> None:
        if not self._positions:
            self._consumer.pause(*self._consumer.assignment())
            return
        places = {slot: library().TopicPartition(self._name, slot) for slot in self._positions}
        self._consumer.assign(list(places.values()))
        for slot, offset in self._positions.items():
            self._consumer.seek(places[slot], offset)

    async def _read(self) -> list[Entry]:
        try:
            with translating(f"reading {self._name}"):
                found = await self._consumer.getmany(timeout_ms=FETCH_WAIT_MS, max_records=self._most)
        except library().errors.ConsumerStoppedError:
            return []
        except LogError as problem:
            self._refusals.note(f"reading {self._name}", problem)
            raise
        return [entry for place, records in found.items() for entry in self._wanted(place, records)]

    def _wanted(self, place: Partition, records: Sequence[Found]) -> list[Entry]:
        """Turn records into entries, and leave out what lies before the place wanted.

        That happens where an offset lies beyond the end: Kafka then begins at the oldest kept.
        """
        slot = place.partition
        wanted = self._positions.get(slot)
        if wanted is None:
            return []
        entries = [
            Entry(self._topic, slot, each.offset, (each.key or b"").decode(), each.value or b"")
            for each in records
            if each.offset >= wanted
        ]
        if entries:
            self._positions[slot] = entries[-1].offset + 1
        return entries
