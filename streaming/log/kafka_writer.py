"""Writes records to Kafka in the order of the calls, and keeps that order across the loss of brokers.

One producer holds at most one batch of a partition in flight, so a retry never overtakes. An idempotent producer
retries until the broker answers, and the broker drops what it has already. Once a batch of it is given up, though, the
broker refuses all that follow in that partition: the producer is then replaced, after everything it still held has got
its answer, so that nothing is overtaken. What has none within seconds is given up, and says so.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Final, cast

from streaming.errors import LogError, LogRefused, LogUnavailable
from streaming.log.kafka_client import let_go, library, may_pass, translated, translating
from streaming.log.kafka_refusals import Refusals
from streaming.log.kafka_types import Metadata, Producer

RENEWAL_PAUSE_S: Final = 0.5

BROKERS_CLOCK: Final = 1
"""Type of a timestamp that the broker set."""


class Writer:
    """Appends to topics through one producer at a time; made by ``start``.

    Args:
        make: Makes a producer, idempotent or not.
        topics: To be written.
        idempotent: Whether the producer is to be, if the broker knows how.
        patience_s: Longest time, in seconds, to wait for the cluster at the start and for room in the buffer.
        refusals: Told what the cluster does not let us write.
    """

    def __init__(
        self,
        make: Callable[[bool], Producer],
        topics: Iterable[str],
        *,
        idempotent: bool,
        patience_s: float,
        refusals: Refusals,
    ) -> None:
        self.idempotent = idempotent
        """Whether the broker drops what a retry would double; settled by ``start``."""
        self.clock_ahead_s: float | None = None
        """Seconds by which our clock is ahead of the brokers', when a record was taken last; None before."""
        self._make = make
        self._topics = tuple(topics)
        self._patience_s = patience_s
        self._refusals = refusals
        self._producer: Producer | None = None
        self._ready = asyncio.Event()
        self._turns: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._pending: dict[asyncio.Future[int], float] = {}  # oldest first, with the moment it was handed over
        self._renewal: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect.

        Raises:
            LogError: If that is not possible.
        """
        if self.idempotent:
            try:
                await self._connect()
            except library().errors.KafkaError as problem:
                if may_pass(problem):
                    raise translated(problem, "connecting a producer") from problem
                # Some brokers do not know producer ids, and some clusters do not let everybody have one.
                self.idempotent = False
            else:
                return
        with translating("connecting a producer"):
            await self._connect()

    def waiting_s(self) -> float:
        """Return for how long, in seconds, the oldest record has been waiting to become durable; 0 if none does."""
        oldest = next(iter(self._pending.values()), None)
        return 0.0 if oldest is None else asyncio.get_running_loop().time() - oldest

    async def append(self, topic: str, partition: int, key: bytes | None, value: bytes) -> asyncio.Future[int]:
        """Hand a record over; see ``Log.append``.

        Raises:
            LogUnavailable: If there was no room for it for ``patience_s``; it was not appended.
            LogRefused: If the cluster does not let us; it was not appended.
            RecordTooLarge: If it is; it was not appended.
        """
        place = f"appending to {topic}/{partition}"
        async with self._turns[topic, partition]:
            try:
                if not self._ready.is_set():
                    await self._await_ready(place)
                producer = cast("Producer", self._producer)
                with translating(place):
                    sent = await producer.send(topic, value, key, partition)
            except LogError as problem:
                self._refusals.note(topic, problem)
                raise
        loop = asyncio.get_running_loop()
        done: asyncio.Future[int] = loop.create_future()
        self._pending[done] = loop.time()
        sent.add_done_callback(partial(self._settle, topic, place, done))
        return done

    async def close(self) -> None:
        """Let the producer go, with ``let_go``. Records still not durable fail as ``LogUnavailable``."""
        self._ready.clear()
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])
        producer, self._producer = self._producer, None
        if producer is not None:
            await let_go(producer)
        self._give_up("the log was closed before Kafka took the record")

    async def _connect(self, *, again: bool = False) -> None:
        producer = self._make(self.idempotent)
        try:
            async with asyncio.timeout(self._patience_s):
                await producer.start()
                for topic in self._topics:
                    await self._hear_of(producer, topic, lenient=again)
        except BaseException:
            with suppress(library().errors.KafkaError, OSError):
                await producer.stop()
            raise
        self._producer = producer
        self._ready.set()

    async def _hear_of(self, producer: Producer, topic: str, *, lenient: bool) -> None:
        """Learn who leads a topic's partitions, so that no append waits for it, and is overtaken meanwhile."""
        try:
            with translating(f"looking for {topic}"):
                await producer.partitions_for(topic)
        except LogRefused as problem:
            self._refusals.note(topic, problem)
            if not lenient:  # a topic that is closed to us later must not stop what is written to the others
                raise

    async def _await_ready(self, place: str) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                await self._ready.wait()
        except TimeoutError as problem:
            raise LogUnavailable(
                f"{place}: no broker answers ({self._patience_s:g} s); check that the cluster is up and reachable"
            ) from problem

    def _settle(self, topic: str, place: str, done: asyncio.Future[int], sent: asyncio.Future[Metadata]) -> None:
        problem = sent.exception()
        if problem is None:
            self._refusals.over(topic)
            self._pending.pop(done, None)
            taken = sent.result()
            if taken.timestamp_type == BROKERS_CLOCK:
                self.clock_ahead_s = time.time() - taken.timestamp / 1000
            if not done.done():
                done.set_result(taken.offset)
            return
        failure = translated(problem, place)
        self._refusals.note(topic, failure)
        self._fail(done, failure)
        if self.idempotent or not may_pass(problem):
            self._renew()

    def _fail(self, done: asyncio.Future[int], problem: LogError) -> None:
        self._pending.pop(done, None)
        if not done.done():
            done.set_exception(problem)
            done.exception()  # whoever does not look at the answer has no use for a complaint about it either

    def _give_up(self, why: str) -> None:
        """Answer for all that a producer held when it was let go: it never will."""
        for done in list(self._pending):
            self._fail(done, LogUnavailable(why))

    def _renew(self) -> None:
        if self._producer is None or (self._renewal is not None and not self._renewal.done()):
            return
        self._ready.clear()
        self._renewal = asyncio.get_running_loop().create_task(self._replace(self._producer), name="kafka-renewal")

    async def _replace(self, producer: Producer) -> None:
        await let_go(producer)
        self._producer = None  # only now: a log that is closed meanwhile has to let it go itself
        self._give_up("Kafka took no record for seconds; check that every partition has a leader")
        while not self._ready.is_set():
            try:
                await self._connect(again=True)
            except (LogError, library().errors.KafkaError, OSError):
                await asyncio.sleep(RENEWAL_PAUSE_S)
