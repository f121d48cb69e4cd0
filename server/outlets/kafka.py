"""Outlets of a cluster: who tells which slots is Kafka's to decide, and the public topic is Kafka's too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

from server.outlets.documents import Document, Kind
from server.outlets.fold import Position
from streaming.errors import LogError
from streaming.log import Topic
from streaming.log.kafka_client import admin_library, connection, library, translated, translating
from streaming.log.kafka_group import Group, Place
from streaming.log.kafka_settings import MAX_RECORD_BYTES, KafkaSettings
from streaming.log.kafka_topics import REPLICAS, TOPIC_EXISTS
from streaming.log.kafka_types import Metadata, Producer

log: FilteringBoundLogger = structlog.get_logger()

PUBLIC_PARTITIONS: Final = 12
"""Of a public topic that is made here; readers share it by these."""

ROOM: Final = 1000
"""Documents that may wait in memory; more wait in the log."""

BATCH: Final = 500
"""Documents on their way at a time."""

AGAIN_S: Final = 1.0
"""Seconds until what the brokers did not take is written again."""


class GroupLedger:
    """A ``Ledger`` whose shares are those of a consumer group; an ``async with`` block is its life.

    The group shares the topic of the output, which it does not read: the log's reader does.

    Args:
        settings: Where the log is.
        name: Of the outlet.
    """

    def __init__(self, settings: KafkaSettings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._share: Mapping[int, Position] = {}
        self._changed = asyncio.Event()
        self._group: Group | None = None
        self._membership: asyncio.Task[None] | None = None

    async def __aenter__(self) -> GroupLedger:
        """Join.

        Raises:
            LogError: If the cluster cannot be reached, or does not let us.
        """
        settings = self._settings
        group = f"{settings.prefix}.outlet.{self._name}"
        self._group = await Group.join(
            settings, settings.topic(Topic.OUT), group, assigned=self._assigned, revoked=self._revoked
        )
        self._membership = asyncio.create_task(self._stay(self._group), name=f"outlet-{self._name}-membership")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave."""
        if self._membership is not None:
            self._membership.cancel()
            with suppress(asyncio.CancelledError):
                await self._membership
        if self._group is not None:
            await self._group.close()

    async def share(self) -> Mapping[int, Position]:
        """Wait until the share is another, and return it."""
        await self._changed.wait()
        self._changed.clear()
        return self._share

    async def note(self, positions: Mapping[int, Position]) -> None:
        """Commit how far slots are told; a note that fails is made again with the next."""
        assert self._group is not None  # within the block
        with suppress(LogError):
            await self._group.commit({slot: _place_of(position) for slot, position in positions.items()})

    async def _assigned(self, places: Mapping[int, Place]) -> None:
        self._tell({slot: _position_of(place) for slot, place in places.items()})

    async def _revoked(self) -> None:
        self._tell({})

    def _tell(self, share: Mapping[int, Position]) -> None:
        self._share = share
        self._changed.set()

    async def _stay(self, group: Group) -> None:
        """Poll, or the group takes us for dead; everything is paused, so nothing comes."""
        while True:
            group.pause(self._share)
            try:
                await group.read()
            except LogError as problem:
                log.warning("outlet.log_not_read", outlet=self._name, problem=str(problem))
                await asyncio.sleep(AGAIN_S)


def _place_of(position: Position) -> Place:
    return Place(position.read_from, f"{position.epoch} {position.told_to}")


def _position_of(place: Place) -> Position:
    if place.offset < 0 or not place.note:
        return Position()
    epoch, told_to = place.note.split()
    return Position(place.offset, int(epoch), int(told_to))


@dataclass(frozen=True, slots=True)
class _Waiting:
    document: Document
    done: asyncio.Future[None]


class PublicTopicSink:
    """Writes documents to a topic of plain JSON, keyed by call; an ``async with`` block is its life."""

    transcripts = False

    def __init__(self, producer: Producer, topic: str, *, partials: bool) -> None:
        self.partials = partials
        self._producer = producer
        self._topic = topic
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(maxsize=ROOM)

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: KafkaSettings, topic: str, *, partials: bool) -> AsyncGenerator[PublicTopicSink]:
        """Write to a topic while the context lasts; it is made if it is not there and may be.

        Raises:
            LogError: If the cluster cannot be reached, or does not let us.
        """
        common = await asyncio.to_thread(connection, settings.bootstrap, settings.security)
        if settings.create_topics:
            await _see_to(topic, common)
        producer = library().AIOKafkaProducer(
            **common, acks="all", linger_ms=settings.linger_ms, max_request_size=MAX_RECORD_BYTES
        )
        with translating(f"connecting to write {topic}"):
            await producer.start()
        sink = cls(producer, topic, partials=partials)
        try:
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(sink._write(), name="public-topic")
                yield sink
                writing.cancel()
        finally:
            with suppress(library().errors.KafkaError, OSError):
                await producer.stop()

    def wants(self, document: Document) -> bool:
        """Tell whether it goes to the topic."""
        return self.partials or document.kind is not Kind.PARTIAL

    async def put(self, document: Document) -> asyncio.Future[None]:
        """Take a document; its future is done once the brokers have it, however long they are away."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._waiting.put(_Waiting(document, done))
        return done

    async def _write(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while not self._waiting.empty() and len(batch) < BATCH:
                batch.append(self._waiting.get_nowait())
            while batch := await self._sent(batch):
                log.warning("transcripts.unwritten", topic=self._topic, documents=len(batch))
                await asyncio.sleep(AGAIN_S)

    async def _sent(self, batch: list[_Waiting]) -> list[_Waiting]:
        """Write documents, and return those that were not taken."""
        with suppress(library().errors.KafkaError, OSError):
            sending = [await self._send(waiting.document) for waiting in batch]
            outcomes = await asyncio.gather(*sending, return_exceptions=True)
            left: list[_Waiting] = []
            for waiting, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, BaseException):
                    left.append(waiting)
                else:
                    waiting.done.set_result(None)
            return left
        return batch

    async def _send(self, document: Document) -> asyncio.Future[Metadata]:
        headers = [
            ("content-type", b"application/json"),
            ("type", document.kind.encode()),
            ("id", document.id.encode()),
        ]
        return await self._producer.send(self._topic, document.json(), document.call.encode(), headers=headers)


async def _see_to(topic: str, common: Mapping[str, object]) -> None:
    admin = admin_library().AIOKafkaAdminClient(**common)
    try:
        with translating(f"creating topic {topic}"):
            await admin.start()
            brokers = len((await admin.describe_cluster())["brokers"])
            new = admin_library().NewTopic(topic, PUBLIC_PARTITIONS, min(REPLICAS, brokers), topic_configs={})
            errors = (await admin.create_topics([new])).topic_errors
    finally:
        await admin.close()
    for name, code, *_ in errors:
        if code not in (0, TOPIC_EXISTS):
            raise translated(library().errors.for_code(code)(), f"creating topic {name}")
