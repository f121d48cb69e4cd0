"""A share of a topic's partitions: Kafka's consumer groups decide who has which, and remember how far each is done.

For what has no owner of its own: topics that others write, and outlets that tell the world. Slots are never shared this
way; theirs are claims.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from streaming.log.kafka_client import admin_library, connection, library, may_pass, translating
from streaming.log.kafka_settings import KafkaSettings
from streaming.log.kafka_types import Admin, Consumer, Partition

READ_RECORDS: Final = 256
"""Records one ``read`` returns at most, so that a backlog does not hold the event loop."""

WAIT_MS: Final = 200
"""How long a read waits for records."""

AGAIN_S: Final = 1.0
"""Seconds until brokers that did not say how far a share is done are asked again."""

SESSION_MS: Final = 10_000
"""After so long without a heartbeat a member's partitions go to the others."""


@dataclass(frozen=True, slots=True)
class Message:
    """A record of somebody's topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """How far a partition is done."""

    offset: int
    """Of the first record that is to be read again."""
    note: str = ""
    """Whatever its reader wants to remember beside it; at most a few kilobytes."""


Assigned = Callable[[Mapping[int, Place]], Awaitable[None]]
"""Called with the new share, and how far each partition of it is done; those never read before are at -1."""


class Group:
    """One member of a consumer group; made by ``join``."""

    def __init__(self, consumer: Consumer, admin: Admin, topic: str, group: str) -> None:
        self._consumer = consumer
        self._admin = admin
        self._topic = topic
        self._group = group
        self._closed = False

    @classmethod
    async def join(
        cls,
        settings: KafkaSettings,
        topic: str,
        group: str,
        *,
        assigned: Assigned,
        revoked: Callable[[], Awaitable[None]],
    ) -> Group:
        """Join, and get a share.

        Args:
            settings: Where the cluster is.
            topic: To share.
            group: Its name.
            assigned: Called when there is a new share.
            revoked: Called before the share changes; nothing of the old one may be going on when it returns.

        Raises:
            LogError: If the cluster cannot be reached, or does not let us.
        """
        common = await asyncio.to_thread(connection, settings.bootstrap, settings.security)
        consumer = library().AIOKafkaConsumer(
            **common,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=SESSION_MS // 4,
        )
        admin = admin_library().AIOKafkaAdminClient(**common)
        member = cls(consumer, admin, topic, group)
        try:
            with translating(f"joining {group} to read {topic}"):
                consumer.subscribe([topic], listener=member._listener(assigned, revoked))
                async with asyncio.timeout(settings.request_timeout_s):
                    await admin.start()
                await consumer.start()
        except BaseException:
            await member.close()
            raise
        return member

    async def read(self) -> list[Message]:
        """Return the next records of the share, in order within each partition; none if there are none for a moment.

        Raises:
            LogError: If the cluster refuses.
        """
        with translating(f"reading {self._topic}"):
            found = await self._consumer.getmany(timeout_ms=WAIT_MS, max_records=READ_RECORDS)
        return [
            Message(place.partition, record.offset, record.key, record.value, tuple(record.headers))
            for place, records in found.items()
            for record in records
        ]

    def pause(self, partitions: Collection[int]) -> None:
        """Read no more of these partitions, which stay ours."""
        self._consumer.pause(*self._ours(partitions))

    def resume(self, partitions: Collection[int]) -> None:
        """Go on with these."""
        self._consumer.resume(*self._ours(partitions))

    async def commit(self, places: Mapping[int, Place]) -> None:
        """Remember how far partitions are done; of those that are no longer ours, nothing.

        Raises:
            LogError: If the cluster refuses.
        """
        ours = {place.partition for place in self._consumer.assignment()}
        offsets = {
            library().TopicPartition(self._topic, partition): (place.offset, place.note)
            for partition, place in places.items()
            if partition in ours
        }
        if not offsets:
            return
        with translating(f"committing for {self._group}"), suppress(library().errors.CommitFailedError):
            await self._consumer.commit(offsets)  # one that fails because the share changed is another's to make

    async def close(self) -> None:
        """Leave the group."""
        self._closed = True
        with suppress(library().errors.KafkaError, OSError):
            await self._consumer.stop()
        with suppress(library().errors.KafkaError, OSError):
            await self._admin.close()

    def _ours(self, partitions: Collection[int]) -> list[Partition]:
        return [place for place in self._consumer.assignment() if place.partition in partitions]

    async def _given(self, partitions: Collection[Partition], assigned: Assigned) -> None:
        """Tell of a share; nothing of it is read before whoever shares knows that it is theirs."""
        self._consumer.pause(*partitions)
        places: dict[int, Place] = {}
        while partitions and not self._closed:
            try:
                places = await self._places(partitions)
                break
            except (library().errors.KafkaError, OSError) as problem:
                if not may_pass(problem):
                    raise
                await asyncio.sleep(AGAIN_S)
        await assigned(places)
        self._consumer.resume(*partitions)

    async def _places(self, partitions: Collection[Partition]) -> dict[int, Place]:
        noted = await self._admin.list_consumer_group_offsets(self._group, partitions=list(partitions))
        return {place.partition: Place(noted[place].offset, noted[place].metadata) for place in partitions}

    def _listener(self, assigned: Assigned, revoked: Callable[[], Awaitable[None]]) -> object:
        async def taken(_: object, partitions: Collection[Partition]) -> None:
            del partitions  # all of them: the protocol is the eager one
            await revoked()

        async def given(_: object, partitions: Collection[Partition]) -> None:
            await self._given(partitions, assigned)

        methods = {"on_partitions_revoked": taken, "on_partitions_assigned": given}
        return type("Listener", (library().ConsumerRebalanceListener,), methods)()
