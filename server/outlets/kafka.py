"""Outlets of a cluster: who tells which slots is Kafka's to decide, and the public topic is Kafka's too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from math import inf
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

from server.outlets.documents import Document, Kind
from server.outlets.fold import Position
from server.outlets.lines import Lines
from streaming.errors import LogError
from streaming.log import Topic
from streaming.log.asking import RETRY_S, asked
from streaming.log.kafka_client import admin_library, connection, let_go, library, translating
from streaming.log.kafka_group import Group, Place
from streaming.log.kafka_settings import MAX_RECORD_BYTES, KafkaSettings
from streaming.log.kafka_topics import NewTopic, create_topics
from streaming.log.kafka_types import Producer

log: FilteringBoundLogger = structlog.get_logger()

PUBLIC_PARTITIONS: Final = 12
"""Of a public topic that is made here; readers share it by these."""

ROOM: Final = 1000
"""Documents that may wait in memory; more wait in the log."""


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

        async def poll() -> None:
            group.pause(self._share)
            await group.read()

        while True:
            await asked(poll, self._trouble)

    def _trouble(self, problem: LogError) -> None:
        log.warning("outlet.log_not_read", outlet=self._name, problem=str(problem))


def _place_of(position: Position) -> Place:
    return Place(position.read_from, f"{position.epoch} {position.told_to}")


def _position_of(place: Place) -> Position:
    if place.offset < 0 or not place.note:
        return Position()
    epoch, told_to = place.note.split()
    return Position(place.offset, int(epoch), int(told_to))


class PublicTopicSink:
    """Writes documents to a topic of plain JSON, keyed by call; an ``async with`` block is its life.

    Args:
        producer: Started, and stopped by whoever started it.
        topic: Where they go.
        partials: Whether partials are wanted.
    """

    transcripts = False

    def __init__(self, producer: Producer, topic: str, *, partials: bool) -> None:
        self.partials = partials
        self._producer = producer
        self._topic = topic
        self._lines = Lines(self._tell, "public-topic", ROOM)
        self._complained_at = -inf

    async def __aenter__(self) -> PublicTopicSink:
        """Begin."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop where it stands."""
        await self._lines.__aexit__()

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: KafkaSettings, topic: str, *, partials: bool) -> AsyncGenerator[PublicTopicSink]:
        """Write to a topic while the context lasts; it is made if it is not there and may be.

        Raises:
            LogError: If the cluster cannot be reached, does not let us, or has no such topic.
        """
        common = await asyncio.to_thread(connection, settings.bootstrap, settings.security)
        if settings.create_topics:
            await _see_to(topic, common)
        producer = library().AIOKafkaProducer(
            **common, acks="all", linger_ms=settings.linger_ms, max_request_size=MAX_RECORD_BYTES
        )
        try:
            with translating(f"connecting to write {topic}"):
                await producer.start()
                await producer.partitions_for(topic)  # is it there? Else it is known with the first document
            async with cls(producer, topic, partials=partials) as sink:
                yield sink
        finally:
            await let_go(producer)

    def wants(self, document: Document) -> bool:
        """Tell whether it goes to the topic."""
        return self.partials or document.kind is not Kind.PARTIAL

    async def put(self, document: Document) -> asyncio.Future[None]:
        """Take a document; its future is done once the brokers have it, however long they are away."""
        return await self._lines.put(document)

    async def _tell(self, document: Document, since: float) -> None:
        del since  # nothing is given up: the brokers come back
        await asked(partial(self._write, document), self._trouble)

    async def _write(self, document: Document) -> None:
        headers = [
            ("content-type", b"application/json"),
            ("type", document.kind.encode()),
            ("id", document.id.encode()),
        ]
        with translating(f"writing to {self._topic}"):
            written = await self._producer.send(self._topic, document.json(), document.call.encode(), headers=headers)
            await written

    def _trouble(self, problem: LogError) -> None:
        """Complain once a second at most, for all calls together."""
        now = asyncio.get_running_loop().time()
        if now - self._complained_at >= RETRY_S:
            self._complained_at = now
            log.warning("transcripts.unwritten", topic=self._topic, documents=self._lines.waiting, problem=str(problem))


async def _see_to(topic: str, common: Mapping[str, object]) -> None:
    admin = admin_library().AIOKafkaAdminClient(**common)
    try:
        with translating(f"creating topic {topic}"):
            await admin.start()
            await create_topics(admin, [NewTopic(topic, PUBLIC_PARTITIONS)])
    finally:
        await admin.close()
