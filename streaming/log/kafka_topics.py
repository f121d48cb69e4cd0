"""Sees that the log's topics are there and fit: creates the ones that are not, refuses the ones that do not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from streaming.errors import LogMisconfigured
from streaming.log import Topic
from streaming.log.kafka_client import admin_library, library, translated
from streaming.log.kafka_settings import KafkaSettings
from streaming.log.kafka_types import Admin

REPLICAS: Final = 3
"""Copies of every record where the cluster has as many brokers; two of them must have it before it counts."""

CREATION_POLL_S: Final = 0.05

TOPIC_EXISTS: Final = 36
"""Kafka's error code."""


@dataclass(frozen=True, slots=True)
class NewTopic:
    """A topic to be made."""

    name: str
    partitions: int
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """Kafka's, by their names."""


async def create_topics(admin: Admin, topics: Iterable[NewTopic]) -> None:
    """Create topics, with as many copies as the cluster has brokers for; those that are there stay as they are.

    Raises:
        LogMisconfigured: If the cluster does not take the settings.
        LogRefused: If it does not let us.
    """
    brokers = len((await admin.describe_cluster())["brokers"])
    copies = min(REPLICAS, brokers)
    safe = {"min.insync.replicas": "2"} if copies >= REPLICAS else {}
    new = [
        admin_library().NewTopic(topic.name, topic.partitions, copies, topic_configs={**topic.settings, **safe})
        for topic in topics
    ]
    for name, code, *_ in (await admin.create_topics(new)).topic_errors:
        if code not in (0, TOPIC_EXISTS):
            raise translated(library().errors.for_code(code)(), f"creating topic {name}")


async def see_to_topics(admin: Admin, settings: KafkaSettings) -> bool:
    """Create the topics that are missing, and wait until all have leaders.

    Returns:
        Whether topics were created.

    Raises:
        LogMisconfigured: If topics are missing and may not be created, or have another number of slots.
        LogRefused: If the cluster does not let us create them (or see them: what may not be seen looks missing).
    """
    leaders = await _leaders(admin, settings)
    missing = [topic for topic in Topic if topic not in leaders]
    if missing and not settings.create_topics:
        names = ", ".join(settings.topic(topic) for topic in missing)
        raise LogMisconfigured(f"topics {names} do not exist; create them, or allow them to be created")
    if missing:
        wanted = [
            NewTopic(settings.topic(topic), settings.slots_of(topic), settings.topic_settings(topic))
            for topic in missing
        ]
        await create_topics(admin, wanted)
    while len(leaders) < len(Topic) or any(leader < 0 for each in leaders.values() for leader in each):
        await asyncio.sleep(CREATION_POLL_S)  # brokers hear of a new topic one after the other, and tell nobody
        leaders = await _leaders(admin, settings)
    for topic, each in leaders.items():
        if len(each) != settings.slots_of(topic):
            raise LogMisconfigured(
                f"topic {settings.topic(topic)} has {len(each)} partitions and {settings.slots_of(topic)} slots are "
                "set; set the number of slots that the topics were made with, or choose another prefix"
            )
    return bool(missing)


async def _leaders(admin: Admin, settings: KafkaSettings) -> dict[Topic, list[int]]:
    """Return the leader of every slot of the topics that are there; -1 where there is none at the moment."""
    names = {settings.topic(topic): topic for topic in Topic}
    # All topics are asked for: many a broker makes a topic that is asked for by name, with one partition.
    described = await admin.describe_topics(None)
    return {
        names[name]: [partition["leader"] for partition in cast("Sequence[Mapping[str, int]]", each["partitions"])]
        for each in described
        if (name := cast("str", each["topic"])) in names
    }
