"""What we use of aiokafka, typed: the library itself carries no type information."""
# ruff: noqa: D102  aiokafka documents its methods

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol


class Metadata(Protocol):
    """Where a record went."""

    offset: int
    timestamp: int
    """When, in Unix milliseconds: by the broker's clock where ``timestamp_type`` is 1, else by ours."""
    timestamp_type: int


class Found(Protocol):
    """A record that was read."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Noted(Protocol):
    """What a consumer group committed for a partition."""

    offset: int
    metadata: str


class Partition(Protocol):
    """A topic's partition; compares and hashes by value."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...


class Closable(Protocol):
    """The connections of a client."""

    async def close(self) -> None: ...


class Sender(Protocol):
    """The half of a producer that talks to brokers."""

    sender_task: asyncio.Task[None] | None


class Producer(Protocol):
    """What we use of ``AIOKafkaProducer``."""

    client: Closable
    _sender: Sender

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def flush(self) -> None: ...
    async def partitions_for(self, topic: str) -> set[int]: ...
    async def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int | None = None,
        *,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> asyncio.Future[Metadata]: ...


class Consumer(Protocol):
    """What we use of ``AIOKafkaConsumer``."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def assign(self, partitions: Sequence[Partition]) -> None: ...
    def seek(self, partition: Partition, offset: int) -> None: ...
    def pause(self, *partitions: Partition) -> None: ...
    def resume(self, *partitions: Partition) -> None: ...
    def subscribe(self, topics: Sequence[str], *, listener: object) -> None: ...
    async def commit(self, offsets: Mapping[Partition, object]) -> None: ...
    def assignment(self) -> set[Partition]: ...
    async def getmany(self, *, timeout_ms: int, max_records: int) -> Mapping[Partition, Sequence[Found]]: ...
    async def beginning_offsets(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]: ...
    async def end_offsets(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]: ...


class CreateAnswer(Protocol):
    """What became of topics that were to be created: name, error code, message."""

    topic_errors: Sequence[tuple[str, int, str | None]]


class Admin(Protocol):
    """What we use of ``AIOKafkaAdminClient``."""

    async def start(self) -> None: ...
    async def close(self) -> None: ...
    async def describe_cluster(self) -> Mapping[str, Sequence[object]]: ...
    async def describe_topics(self, topics: None) -> Sequence[Mapping[str, object]]: ...
    async def create_topics(self, new_topics: Sequence[object]) -> CreateAnswer: ...
    async def list_consumer_group_offsets(
        self, group_id: str, *, partitions: Sequence[Partition]
    ) -> Mapping[Partition, Noted]: ...


class Errors(Protocol):
    """The module ``aiokafka.errors``, as far as we use it."""

    KafkaError: type[Exception]
    ConsumerStoppedError: type[Exception]
    KafkaConnectionError: type[Exception]
    CommitFailedError: type[Exception]

    def for_code(self, error_code: int) -> type[Exception]: ...


class Library(Protocol):
    """The module ``aiokafka``, as far as we use it."""

    errors: Errors

    def AIOKafkaProducer(self, **settings: object) -> Producer: ...  # noqa: N802  their name
    def AIOKafkaConsumer(self, **settings: object) -> Consumer: ...  # noqa: N802  their name

    ConsumerRebalanceListener: type[object]

    def TopicPartition(self, topic: str, partition: int) -> Partition: ...  # noqa: N802  their name


class AdminLibrary(Protocol):
    """The module ``aiokafka.admin``, as far as we use it."""

    def AIOKafkaAdminClient(self, **settings: object) -> Admin: ...  # noqa: N802  their name
    def NewTopic(  # noqa: N802  their name
        self, name: str, num_partitions: int, replication_factor: int, *, topic_configs: Mapping[str, str]
    ) -> object: ...
