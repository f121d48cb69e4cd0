"""What becomes of records while their producer is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from streaming.errors import LogUnavailable
from streaming.log.kafka_refusals import Refusals
from streaming.log.kafka_types import Metadata, Producer
from streaming.log.kafka_writer import Writer
from tests.support.virtual_time import run_virtually

pytest.importorskip("aiokafka")


class Taken:
    """Where a record went."""

    offset = 7
    timestamp = 0
    timestamp_type = 0


class Leaderless:
    """A producer of which no partition has a leader: what it is given has no answer before a test gives it."""

    def __init__(self) -> None:
        self.client = self
        self.sent: list[asyncio.Future[Metadata]] = []
        self.stopped = False
        self._sender = self
        self.sender_task: asyncio.Task[None] | None = asyncio.create_task(self._send())

    async def start(self) -> None:
        """Be ready at once."""

    async def stop(self) -> None:
        """Note it."""
        self.stopped = True

    async def flush(self) -> None:
        """Wait for all that was sent."""
        await asyncio.wait(self.sent)

    async def partitions_for(self, topic: str) -> set[int]:
        """Return the only one of any topic."""
        del topic
        return {0}

    async def send(self, *_: object) -> asyncio.Future[Metadata]:
        """Take a record."""
        self.sent.append(asyncio.get_running_loop().create_future())
        return self.sent[-1]

    async def _send(self) -> None:
        await asyncio.Event().wait()


class Writing:
    """A writer whose first record a producer gave up, while another waits for its answer."""

    def __init__(self) -> None:
        self.producers: list[Leaderless] = []
        self.writer = Writer(self._make, ["out"], idempotent=True, patience_s=10.0, refusals=Refusals())

    async def begin(self) -> asyncio.Future[int]:
        """Return what becomes of the record that waits."""
        await self.writer.start()
        first, second = [await self.writer.append("out", 0, None, value) for value in (b"1", b"2")]
        self.producers[0].sent[0].set_exception(TimeoutError("no leader"))
        with pytest.raises(LogUnavailable):
            await first
        return second

    def _make(self, idempotent: bool) -> Producer:
        assert idempotent
        self.producers.append(Leaderless())
        return cast("Producer", self.producers[-1])


def test_what_a_replaced_producer_held_without_an_answer_fails_before_more_is_written() -> None:
    """Else its writer waited for ever, and a shard whose final is lost went on behind it, where nothing counts."""

    async def story(_: Callable[[], float]) -> None:
        writing = Writing()
        second = await writing.begin()

        third = await writing.writer.append("out", 0, None, b"3")
        assert isinstance(second.exception(), LogUnavailable)
        assert [producer.stopped for producer in writing.producers] == [True, False]
        writing.producers[1].sent[0].set_result(Taken())
        assert await third == 7
        await asyncio.sleep(60.0)
        assert writing.writer.waiting_s() == 0.0
        await writing.writer.close()

    run_virtually(story)


def test_a_writer_that_is_closed_while_its_producer_is_replaced_lets_that_one_go() -> None:
    """Its connections and its sender would outlive the log."""

    async def story(_: Callable[[], float]) -> None:
        writing = Writing()
        second = await writing.begin()
        await asyncio.sleep(1.0)

        await writing.writer.close()

        assert [producer.stopped for producer in writing.producers] == [True]
        assert isinstance(second.exception(), LogUnavailable)

    run_virtually(story)
