"""The public topic over brokers that go away: a call's documents keep their order, whatever is written again."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass

import pytest
import structlog.testing

from server.outlets.documents import Document, Documents
from server.outlets.kafka import PublicTopicSink
from streaming.log.kafka_client import library
from streaming.log.kafka_types import Closable, Metadata, Sender
from tests.support.dice import dice
from tests.support.outputs import a_call
from tests.support.virtual_time import run_virtually

CALLS = [f"call-{number}" for number in range(8)]


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, object]]]:
    """What is logged; nothing is printed."""
    with structlog.testing.capture_logs() as entries:
        yield entries


@dataclass
class Written:
    """Where a record went."""

    offset: int
    timestamp: int = 0
    timestamp_type: int = 0


class FailingProducer:
    """A producer whose broker is bad: it refuses, answers late, or takes a record and does not say so."""

    client: Closable
    _sender: Sender

    def __init__(self, numbers: random.Random, clock: Callable[[], float], back_s: float) -> None:
        self.topic: list[tuple[str, str]] = []
        """Call and id of each record, in the order of the log."""
        self._numbers = numbers
        self._clock = clock
        self._back_s = back_s
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def flush(self) -> None: ...
    async def partitions_for(self, topic: str) -> set[int]:
        del topic
        return {0}

    async def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int | None = None,
        *,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> asyncio.Future[Metadata]:
        del topic, value, partition
        roll = self._numbers.random() if self._clock() < self._back_s else 1.0
        if roll < 0.2:
            raise library().errors.KafkaError
        sent: asyncio.Future[Metadata] = asyncio.get_running_loop().create_future()
        record = ((key or b"").decode(), dict(headers or [])["id"].decode())
        task = asyncio.get_running_loop().create_task(self._answer(sent, record, roll))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return sent

    async def _answer(self, sent: asyncio.Future[Metadata], record: tuple[str, str], roll: float) -> None:
        await asyncio.sleep(self._numbers.random() * (5.0 if roll < 1.0 else 0.01))
        if roll < 0.4:
            sent.set_exception(OSError("the connection is gone"))
            return
        self.topic.append(record)
        if roll < 0.6:
            sent.set_exception(TimeoutError())
        else:
            sent.set_result(Written(len(self.topic) - 1))


def documents(call: str) -> list[Document]:
    writing = Documents(transcripts=False)
    return [document for record in a_call(call, 10) if (document := writing.of(record)) is not None]


def test_whatever_the_brokers_do_a_reader_finds_every_document_and_each_call_in_order() -> None:
    """Whoever drops what comes twice must have read a call as it was spoken."""
    numbers = dice()

    async def story(clock: Callable[[], float]) -> None:
        producer = FailingProducer(numbers, clock, back_s=120.0)
        queues = {call: documents(call) for call in CALLS}
        async with PublicTopicSink(producer, "words", partials=False) as sink:
            done: list[asyncio.Future[None]] = []
            while any(queues.values()):
                queue = numbers.choice([queue for queue in queues.values() if queue])
                done.append(await sink.put(queue.pop(0)))
                if numbers.random() < 0.3:
                    await asyncio.sleep(numbers.random())
            await asyncio.gather(*done)
        found: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for call, name in producer.topic:
            found[call].setdefault(name)
        for call in CALLS:
            assert list(found[call]) == [document.id for document in documents(call)]

    run_virtually(story)


def test_an_outage_is_complained_of_once_a_second_however_many_calls_wait(
    logged: list[MutableMapping[str, object]],
) -> None:
    """A log that is flooded hides what else goes wrong."""

    class Away(FailingProducer):
        async def send(
            self,
            topic: str,
            value: bytes | None,
            key: bytes | None,
            partition: int | None = None,
            *,
            headers: list[tuple[str, bytes]] | None = None,
        ) -> asyncio.Future[Metadata]:
            if self._clock() < self._back_s:
                raise library().errors.KafkaError
            return await super().send(topic, value, key, partition, headers=headers)

    async def story(clock: Callable[[], float]) -> None:
        async with PublicTopicSink(Away(random.Random(1), clock, back_s=60.0), "words", partials=False) as sink:  # noqa: S311 - no secret
            done = [await sink.put(document) for call in CALLS for document in documents(call)]
            await asyncio.gather(*done)

    run_virtually(story)
    assert len(logged) == 60
    assert {entry["documents"] for entry in logged} == {len(CALLS) * 12}
