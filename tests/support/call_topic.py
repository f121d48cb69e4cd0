"""A topic of call audio, written as a producer of somebody else's would."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from streaming.log.kafka_client import admin_library, library
from streaming.log.kafka_types import Producer

CHUNK_MS: Final = 100
RATE: Final = 8000

Record = tuple[str, int, bytes]
"""Type, sequence and value."""


class CallTopic:
    """Writes records of calls."""

    def __init__(self, producer: Producer, topic: str) -> None:
        self._producer = producer
        self._topic = topic

    @classmethod
    @asynccontextmanager
    async def opened(cls, bootstrap: str, topic: str, partitions: int = 2) -> AsyncGenerator[CallTopic]:
        """Make the topic, and write to it while the context lasts."""
        admin = admin_library().AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        await admin.create_topics([admin_library().NewTopic(topic, partitions, 1, topic_configs={})])
        await admin.close()
        producer = library().AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
        await producer.start()
        try:
            yield cls(producer, topic)
        finally:
            await producer.stop()

    async def write(self, call: str, records: list[Record], channels: int = 1) -> None:
        """Write records of one call, and wait until the broker has them."""
        for kind, sequence, value in records:
            content = (
                f"audio/PCMU;rate={RATE};channels={channels}" if kind == "call.audio.chunk.v1" else "application/json"
            )
            named = {"specversion": "1.0", "id": f"{call}-{sequence}", "source": "/test", "type": kind}
            named["sequence"] = f"{sequence:010}"
            headers = [(f"ce_{name}", held.encode()) for name, held in named.items()]
            await self._producer.send(
                self._topic, value, call.encode(), headers=[*headers, ("content-type", content.encode())]
            )
        await self._producer.flush()


def records_of(audio: bytes, labels: list[str]) -> list[Record]:
    """Return a whole call; its audio is interleaved G.711."""
    start = json.dumps({"channels": [{"index": at, "label": label} for at, label in enumerate(labels)]}).encode()
    size = CHUNK_MS * RATE // 1000 * len(labels)
    chunks = [audio[at : at + size] for at in range(0, len(audio), size)]
    told: list[Record] = [("call.started.v1", 0, start)]
    told += [("call.audio.chunk.v1", number, chunk) for number, chunk in enumerate(chunks)]
    return [*told, ("call.ended.v1", len(chunks), b'{"reason": "hangup"}')]


def shuffled(records: list[Record], chance: random.Random) -> list[Record]:
    """Return a call as it may come: some records twice, some a few places late."""
    first, *middle, last = records
    middle = [record for record in middle for _ in range(chance.choice((1, 1, 1, 2)))]
    for _ in range(len(middle) // 4):
        at = chance.randrange(len(middle) - 2)
        middle[at], middle[at + 2] = middle[at + 2], middle[at]
    return [first, *middle, last]
