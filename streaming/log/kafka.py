"""The log in Kafka, for several machines: a slot is a partition, and Kafka does what Kafka does.

Ordering, replication, retention and retries are Kafka's. What is added here: topics that fit (created, or checked), the
interface of ``streaming.log``, and errors that say what to do. Needs the extra ``kafka``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from streaming.log import Topic
from streaming.log.kafka_client import (
    admin_library,
    connection,
    library,
    reached,
    translating,
)
from streaming.log.kafka_reader import FETCH_WAIT_MS, KafkaReader
from streaming.log.kafka_refusals import Refusals
from streaming.log.kafka_settings import MAX_RECORD_BYTES, KafkaSecurity, KafkaSettings
from streaming.log.kafka_topics import see_to_topics
from streaming.log.kafka_types import Admin, Consumer, Partition, Producer
from streaming.log.kafka_writer import Writer

__all__ = ["KafkaLog", "KafkaReader", "KafkaSecurity", "KafkaSettings"]

FETCH_BYTES: Final = 8 << 20
"""Most bytes of one answer, for a reader that catches up."""

CREATION_TIMEOUT_S: Final = 60.0
"""Longest wait, in seconds, for topics to be created; a small broker opens about a hundred slots a second."""

BATCH_BYTES: Final = 256 << 10
"""Room for a slot's records that wait for the batch before them: 16 s of a call with two sides in G.711."""


class KafkaLog:
    """A ``Log`` in a Kafka cluster; made by ``connect``."""

    def __init__(self, settings: KafkaSettings, common: Mapping[str, object]) -> None:
        self._settings = settings
        self._common = {**common, "request_timeout_ms": round(settings.request_timeout_s * 1000)}
        lasting = [settings.topic(topic) for topic in Topic if topic is not Topic.PARTIALS]
        patience_s = settings.request_timeout_s
        self._refusals = Refusals()
        self._lasting = Writer(self._producer, lasting, idempotent=True, patience_s=patience_s, refusals=self._refusals)
        # Partials have a producer of their own: they neither wait for finals nor make finals wait.
        passing = [settings.topic(Topic.PARTIALS)]
        self._passing = Writer(
            self._hasty_producer, passing, idempotent=False, patience_s=patience_s, refusals=self._refusals
        )
        self._ends: Consumer = library().AIOKafkaConsumer(**self._common)
        self._admin: Admin = admin_library().AIOKafkaAdminClient(**self._common)
        self._readers: set[KafkaReader] = set()

    @classmethod
    async def connect(cls, settings: KafkaSettings) -> KafkaLog:
        """Connect to a cluster, and see that its topics are there and fit.

        Raises:
            LogMisconfigured: If aiokafka is not installed, a certificate cannot be used, or topics do not fit.
            LogRefused: If the cluster does not let us.
            LogUnavailable: If no broker answers.
        """
        common = await asyncio.to_thread(connection, settings.bootstrap, settings.security)
        log = cls(settings, common)
        try:
            await log._start()
        except BaseException:
            await log.close()
            raise
        return log

    @property
    def slots(self) -> int:
        """Number of slots of every topic, but for those of ``ONE_SLOT``."""
        return self._settings.slots

    @property
    def idempotent(self) -> bool:
        """Whether the broker drops what a retry would double; without that, readers may see a record twice."""
        return self._lasting.idempotent

    def waiting_s(self) -> float:
        """Return for how long, in seconds, the oldest record has been waiting to become durable; 0 if none does.

        Records are not lost while they wait, but callers should be told when this passes a second or two.
        """
        return self._lasting.waiting_s()

    @property
    def clock_ahead_s(self) -> float | None:
        """Seconds by which this machine's clock is ahead of the brokers'; None before a record was taken."""
        return self._lasting.clock_ahead_s

    def trouble(self, patience_s: float) -> str:
        """Say why the log cannot be used at the moment, for whoever must be told; nothing where it can.

        Args:
            patience_s: Seconds that a record may wait before that is trouble.
        """
        waiting_s = self.waiting_s()
        waiting = f"the log has taken no record for {waiting_s:.0f} s" if waiting_s > patience_s else ""
        return self._refusals.newest() or waiting

    async def append(self, topic: Topic, slot: int, key: str, value: bytes) -> asyncio.Future[int]:
        """Hand a record over; see ``Log.append``.

        A future that fails says that the record may or may not be in the log, and that records appended to the slot
        after it failed come after whatever was written.

        Raises:
            IndexError: If the topic has no such slot.
            LogUnavailable: If the buffer was full for ``request_timeout_s``; the record was not appended.
            RecordTooLarge: If the record is larger than ``MAX_RECORD_BYTES``.
        """
        self._check(topic, slot)
        writer = self._passing if topic is Topic.PARTIALS else self._lasting
        return await writer.append(self._settings.topic(topic), slot, key.encode() or None, value)

    def reader(self, topic: Topic) -> KafkaReader:
        """Open a reader with no slot assigned."""
        name, slots = self._settings.topic(topic), self._settings.slots_of(topic)
        reader = KafkaReader(self._consumer, topic, name, slots, self._refusals)
        self._readers.add(reader)
        return reader

    async def end_offset(self, topic: Topic, slot: int) -> int:
        """Return the offset the next record will get.

        Raises:
            IndexError: If the topic has no such slot.
            LogUnavailable: If no broker answers.
        """
        self._check(topic, slot)
        return (await self._end_offsets(topic, [slot]))[slot]

    async def end_offsets(self, topic: Topic) -> dict[int, int]:
        """Return the same for every slot of a topic.

        Raises:
            LogUnavailable: If no broker answers.
        """
        return await self._end_offsets(topic, range(self._settings.slots_of(topic)))

    async def start_offsets(self, topic: Topic) -> dict[int, int]:
        """Return the offset of the oldest record kept, for every slot of a topic; its end where none is.

        Raises:
            LogUnavailable: If no broker answers.
        """
        return await self._offsets(topic, range(self._settings.slots_of(topic)), self._ends.beginning_offsets)

    async def _end_offsets(self, topic: Topic, slots: Iterable[int]) -> dict[int, int]:
        return await self._offsets(topic, slots, self._ends.end_offsets)

    async def _offsets(
        self,
        topic: Topic,
        slots: Iterable[int],
        ask: Callable[[Sequence[Partition]], Awaitable[Mapping[Partition, int]]],
    ) -> dict[int, int]:
        places = [library().TopicPartition(self._settings.topic(topic), slot) for slot in slots]
        with translating(f"asking for the ends of {self._settings.topic(topic)}"):
            async with asyncio.timeout(self._settings.request_timeout_s):
                found = await ask(places)
        return {place.partition: found[place] for place in places}

    async def close(self) -> None:
        """Flush, at most for a few seconds, and stop."""
        for reader in list(self._readers):
            await reader.close()
        await self._lasting.close()
        await self._passing.close()
        with suppress(library().errors.KafkaError, OSError):
            await self._ends.stop()
        with suppress(library().errors.KafkaError, OSError):
            await self._admin.close()

    async def _start(self) -> None:
        with translating(f"connecting to {self._settings.bootstrap}"):
            async with asyncio.timeout(self._settings.request_timeout_s):
                await reached(self._admin.start, self._common)
            async with asyncio.timeout(CREATION_TIMEOUT_S):
                created = await see_to_topics(self._admin, self._settings)
                await self._ends.start()
                if created:
                    await self._ends.end_offsets(self._everywhere())  # brokers open new slots one by one, for seconds
        await self._lasting.start()
        await self._passing.start()

    def _everywhere(self) -> list[Partition]:
        return [
            library().TopicPartition(self._settings.topic(topic), slot)
            for topic in Topic
            for slot in range(self._settings.slots_of(topic))
        ]

    def _check(self, topic: Topic, slot: int) -> None:
        count = self._settings.slots_of(topic)
        if not 0 <= slot < count:
            raise IndexError(f"slot {slot} of {topic} does not exist; this log has {count}")

    def _consumer(self) -> Consumer:
        return library().AIOKafkaConsumer(
            **self._common,
            auto_offset_reset="earliest",  # what is no longer kept: go on with the oldest that is
            enable_auto_commit=False,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            fetch_max_bytes=FETCH_BYTES,
        )

    def _producer(self, idempotent: bool) -> Producer:
        return library().AIOKafkaProducer(
            **self._common,
            acks="all",
            enable_idempotence=idempotent,
            linger_ms=self._settings.linger_ms,
            max_batch_size=BATCH_BYTES,
            max_request_size=MAX_RECORD_BYTES,
        )

    def _hasty_producer(self, idempotent: bool) -> Producer:
        return library().AIOKafkaProducer(
            **self._common,
            acks=1,
            enable_idempotence=idempotent,
            linger_ms=self._settings.linger_ms,
            max_batch_size=BATCH_BYTES,
            max_request_size=MAX_RECORD_BYTES,
        )
