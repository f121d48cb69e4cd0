"""Reading the public topic as anybody would."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence

from streaming.log.kafka_group import Group, Message
from streaming.log.kafka_settings import KafkaSettings

Documents = Sequence[dict[str, object]]


async def read_public(settings: KafkaSettings, topic: str, enough: Callable[[Documents], bool]) -> Documents:
    """Read a topic from its beginning until there is enough."""

    async def ignore(*_: object) -> None:
        pass

    reader = await Group.join(settings, topic, f"test-{uuid.uuid4().hex}", assigned=ignore, revoked=ignore)
    found: list[Message] = []
    try:
        while not enough(documents := [json.loads(message.value or b"") for message in found]):
            found += await reader.read()
    finally:
        await reader.close()
    return documents


def different(ids: int) -> Callable[[Documents], bool]:
    """Enough are so many different documents."""
    return lambda documents: len({document["id"] for document in documents}) >= ids
