"""Takes its share of a topic of call audio and runs a call for every key; commits what needs no second reading."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

from server.ingest.call import Arrived, IngestedCall
from server.ingest.cloud_events import read
from server.services import Services
from server.settings import Ingest
from streaming.call import AudioFormat, Encoding
from streaming.errors import BadMessage, LogError
from streaming.log.asking import asked
from streaming.log.kafka_group import Group, Message, Place
from streaming.log.kafka_settings import KafkaSettings

log: FilteringBoundLogger = structlog.get_logger()

COMMIT_EVERY_S: Final = 1.0
"""Seconds between commits; what was written since the last is read again after a crash, and dropped by number."""

FULL: Final = 2000
"""Records under way of a partition from which it is read no further, until half of them are done."""


class _Partition:
    """Where a partition is: its calls, and the offsets that are under way."""

    def __init__(self) -> None:
        self.calls: dict[str, IngestedCall] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.paused = False
        self._under_way: dict[int, str] = {}  # call by offset, in the order read; empty before that is known
        self._next = -1

    @property
    def waiting(self) -> int:
        """Records under way."""
        return len(self._under_way)

    @property
    def next_offset(self) -> int:
        """Of the first record that must be read again; -1 if none was read."""
        return next(iter(self._under_way), self._next)

    def begin(self, offset: int) -> None:
        """Note that a record was read."""
        self._under_way[offset] = ""
        self._next = offset + 1

    def belongs(self, offset: int, call: str) -> None:
        """Note whose a record is."""
        self._under_way[offset] = call

    def done(self, offset: int) -> None:
        """Note that it needs no second reading."""
        self._under_way.pop(offset, None)

    def over(self, call: str) -> None:
        """Note that nothing of a call needs a second reading: what it did not write would never be committed past."""
        for offset in [offset for offset, name in self._under_way.items() if name == call]:
            del self._under_way[offset]


class Ingester:
    """One gateway's part in ingestion.

    Args:
        settings: Of ingestion; the topic is set.
        cluster: Where the topic is.
        services: The gateway's.
    """

    def __init__(self, settings: Ingest, cluster: KafkaSettings, services: Services) -> None:
        self._settings = settings
        self._cluster = cluster
        self._services = services
        self._partitions: dict[int, _Partition] = {}
        self._bare: AudioFormat | None = None
        if settings.encoding is not None:
            self._bare = AudioFormat(Encoding(settings.encoding), settings.sample_rate, settings.channels)

    async def run(self) -> None:
        """Ingest until cancelled; calls in progress are left to whoever takes the share over.

        Raises:
            LogError: If the cluster refuses us at the start.
        """
        assert self._settings.topic is not None  # or there would be nothing to run
        is_open = self._services.metrics.part_open.labels("ingest")
        is_open.set(0)
        await self._services.directory.caught_up.wait()  # a call that is not known there is new
        group = await Group.join(
            self._cluster,
            self._settings.topic,
            f"{self._cluster.prefix}.ingest",
            assigned=self._assigned,
            revoked=self._revoked,
        )
        is_open.set(1)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(group), name="ingest-read")
                tasks.create_task(self._commit(group), name="ingest-commit")
        finally:
            await self._revoked()
            await group.close()

    async def _assigned(self, places: Mapping[int, Place]) -> None:
        self._partitions = {partition: _Partition() for partition in places}

    async def _revoked(self) -> None:
        partitions, self._partitions = self._partitions, {}
        tasks = [task for partition in partitions.values() for task in partition.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, group: Group) -> None:
        while True:
            for message in await asked(group.read, _not_read):
                self._take(message)
            self._hold_back(group)

    def _hold_back(self, group: Group) -> None:
        """Let Kafka keep what we have no room for."""
        full = [number for number, each in self._partitions.items() if not each.paused and each.waiting >= FULL]
        free = [number for number, each in self._partitions.items() if each.paused and each.waiting < FULL // 2]
        group.pause(full)
        group.resume(free)
        for number in (*full, *free):
            self._partitions[number].paused = number in full

    async def _commit(self, group: Group) -> None:
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            places = {
                number: Place(each.next_offset) for number, each in self._partitions.items() if each.next_offset >= 0
            }
            with suppress(LogError):  # the next one says it too
                await group.commit(places)

    def _take(self, message: Message) -> None:
        partition = self._partitions.get(message.partition)
        if partition is None:
            return
        partition.begin(message.offset)
        try:
            event = read(message.key, message.value, message.headers, self._bare)
        except BadMessage as problem:
            place = {"partition": message.partition, "offset": message.offset}
            log.warning("ingest.unreadable", code=problem.code, problem=str(problem), **place)
            self._services.metrics.ingest_unreadable.labels(problem.code).inc()
            partition.done(message.offset)
            return
        call = partition.calls.get(event.call)
        if call is None:
            call = self._start(partition, event.call)
        partition.belongs(message.offset, event.call)
        call.inbox.put_nowait(Arrived(message.offset, event))

    def _start(self, partition: _Partition, name: str) -> IngestedCall:
        call = partition.calls[name] = IngestedCall(name, partition.done, self._settings, self._services)
        task = asyncio.get_running_loop().create_task(call.run(), name="ingested-call")
        partition.tasks.add(task)
        task.add_done_callback(lambda done: self._finished(partition, call, done))
        return call

    def _finished(self, partition: _Partition, call: IngestedCall, task: asyncio.Task[None]) -> None:
        partition.tasks.discard(task)
        partition.calls.pop(call.name, None)
        partition.over(call.name)
        if not task.cancelled() and (problem := task.exception()) is not None:
            log.error("ingest.call_failed", call=call.name, error=type(problem).__name__)


def _not_read(problem: LogError) -> None:
    log.warning("ingest.not_read", problem=str(problem))
