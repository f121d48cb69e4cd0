"""The public topic, and who tells which slots, on a real Kafka."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import jsonschema
import pytest
from prometheus_client import CollectorRegistry

from server.metrics import Metrics
from server.outlets.fold import Position
from server.outlets.kafka import GroupLedger, PublicTopicSink
from server.outlets.outlet import Outlet
from streaming.log import Topic
from streaming.log.kafka import KafkaLog, KafkaSettings
from streaming.record_codec import encode
from streaming.records import Fence
from tests.support.kafka_broker import KafkaCluster, KafkaMissing
from tests.support.outputs import a_call
from tests.support.public_topic import different, read_public

pytestmark = pytest.mark.kafka

SLOTS = 4
SCHEMA = json.loads((Path(__file__).parents[2] / "docs/transcripts.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaCluster]:
    try:
        cluster = KafkaCluster(1)
    except KafkaMissing as problem:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(problem))
    yield cluster
    cluster.stop()


@pytest.fixture
def settings(broker: KafkaCluster) -> KafkaSettings:
    return KafkaSettings(broker.bootstrap, prefix=f"p{uuid.uuid4().hex[:8]}", slots=SLOTS)


class WatchedLedger(GroupLedger):
    """Lets a test wait for what was noted."""

    def __init__(self, settings: KafkaSettings, name: str) -> None:
        super().__init__(settings, name)
        self._noted: dict[int, int] = {}
        self._news = asyncio.Event()

    async def note(self, positions: Mapping[int, Position]) -> None:
        await super().note(positions)
        self._noted.update({slot: position.told_to for slot, position in positions.items()})
        self._news.set()

    async def until(self, ends: Mapping[int, int]) -> None:
        """Wait until slots are noted as told up to their ends."""
        while self._noted != ends:
            self._news.clear()
            await self._news.wait()


@asynccontextmanager
async def telling(settings: KafkaSettings, log: KafkaLog, topic: str) -> AsyncGenerator[WatchedLedger]:
    """Run one outlet to a public topic while the context lasts."""
    ledger = WatchedLedger(settings, "transcripts")
    async with PublicTopicSink.opened(settings, topic, partials=False) as sink, ledger:
        outlet = Outlet("transcripts", log, sink, ledger, Metrics(CollectorRegistry()))
        running = asyncio.create_task(outlet.run())
        try:
            yield ledger
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def say(log: KafkaLog, calls: Sequence[str], finals: int) -> None:
    """Write whole calls, spread over the slots."""
    for number, call in enumerate(calls):
        for record in a_call(call, finals):
            await log.append(Topic.OUT, number % SLOTS, call, encode(record))


async def test_every_final_is_in_the_topic_as_the_schema_says(settings: KafkaSettings) -> None:
    """Who reads the topic needs to know nothing of slots, epochs and fences."""
    log, topic = await KafkaLog.connect(settings), f"{settings.prefix}.transcripts"
    calls = [f"call-{number}" for number in range(6)]
    for slot in range(SLOTS):
        await log.append(Topic.OUT, slot, "", encode(Fence(0, "shard")))
    async with telling(settings, log, topic):
        await say(log, calls, finals=5)
        documents = await read_public(settings, topic, different(6 * 7))
    await log.close()
    for document in documents:
        jsonschema.validate(document, SCHEMA)
    for call in calls:
        told = [document["id"] for document in documents if document["call"] == call]
        places = [f"{number % 2}/{number // 2}" for number in range(5)]
        assert told == [f"{call}/{place}" for place in ("started", *places, "ended")]


async def test_a_successor_goes_on_where_the_last_one_stopped(settings: KafkaSettings) -> None:
    """A restart tells the rest, and nothing that was noted as told."""
    log, topic = await KafkaLog.connect(settings), f"{settings.prefix}.transcripts"
    for slot in range(SLOTS):
        await log.append(Topic.OUT, slot, "", encode(Fence(0, "shard")))
    async with telling(settings, log, topic) as ledger:
        await say(log, ["a", "b", "c", "d"], finals=3)
        await read_public(settings, topic, different(4 * 5))
        await ledger.until(await log.end_offsets(Topic.OUT))
    await say(log, ["e", "f"], finals=3)
    async with telling(settings, log, topic):
        documents = await read_public(settings, topic, different(6 * 5))
    await log.close()
    assert len(documents) == 6 * 5


async def test_two_share_the_slots_and_if_one_dies_the_other_tells_them_all(settings: KafkaSettings) -> None:
    """Every gateway may run outlets; who is gone is missed by nobody."""
    log, topic = await KafkaLog.connect(settings), f"{settings.prefix}.transcripts"
    for slot in range(SLOTS):
        await log.append(Topic.OUT, slot, "", encode(Fence(0, "shard")))
    async with telling(settings, log, topic):
        async with telling(settings, log, topic):
            await say(log, ["a", "b", "c", "d"], finals=4)
            await read_public(settings, topic, different(4 * 6))
        await say(log, ["e", "f", "g", "h"], finals=4)
        documents = await read_public(settings, topic, different(8 * 6))
    await log.close()
    versions = {(str(document["id"]), json.dumps(document)) for document in documents}
    assert len(versions) == 8 * 6  # what came twice came alike
