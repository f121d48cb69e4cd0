"""The log: what carries audio to whoever owns a slot and text back, in order, with replay.

Two implementations share this interface: ``streaming.log.memory`` (one process, no service) and, for several
machines, Kafka. A slot is one partition of each topic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol


class Topic(StrEnum):
    """The log's topics; each has the same slots, but for those of ``ONE_SLOT``."""

    AUDIO = "audio"
    """Calls' audio and control, in the call's own codec; kept for minutes."""
    OUT = "out"
    """Fences, finals and events: the transcript's only source of truth."""
    PARTIALS = "partials"
    """Text that may still change; best effort, kept for seconds."""
    CALLS = "calls"
    """Which slot a call lives in, in slot 0; newest record of a call wins."""
    CONTROL = "control"
    """Who owns which slot, in slot 0: the newest claim of each, and where its next owner may begin."""
    LOAD = "load"
    """Who lives, in slot 0: shards' heartbeats and the coordinator's lease; kept for a minute."""


ONE_SLOT: Final = frozenset({Topic.CALLS, Topic.CONTROL, Topic.LOAD})
"""Topics whose records are all in slot 0, so that they have one order."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One record where it lies."""

    topic: Topic
    slot: int
    offset: int
    """Position in the slot: 0 and up, each append one more."""
    key: str
    """The call's id, or what else a compacted topic keeps the newest record of; may be empty."""
    value: bytes


class Reader(Protocol):
    """Tails any number of slots of one topic."""

    def assign(self, positions: Mapping[int, int]) -> None:
        """Read exactly these slots from now on.

        Args:
            positions: Slot to the next offset wanted. A slot already assigned keeps its place unless its offset differs
                from it. An offset older than what is kept moves to the oldest one kept.
        """
        ...

    async def next(self) -> list[Entry]:
        """Wait for records and return them, in offset order within each slot; never an empty list."""
        ...

    async def close(self) -> None:
        """Stop; a waiting ``next`` is cancelled."""
        ...


class Log(Protocol):
    """Ordered, replayable records by topic and slot."""

    @property
    def slots(self) -> int:
        """Number of slots of every topic."""
        ...

    async def append(self, topic: Topic, slot: int, key: str, value: bytes) -> asyncio.Future[int]:
        """Hand a record over; records of one slot keep the order of these calls.

        Returns:
            A future of the record's offset, done once the record is durable. The call itself waits only where
            the log's buffer is full: that is the backpressure.
        """
        ...

    def reader(self, topic: Topic) -> Reader:
        """Open a reader with no slot assigned."""
        ...

    async def end_offset(self, topic: Topic, slot: int) -> int:
        """Return the offset the next record will get."""
        ...

    async def end_offsets(self, topic: Topic) -> dict[int, int]:
        """Return the same for every slot of a topic, at once."""
        ...

    async def start_offsets(self, topic: Topic) -> dict[int, int]:
        """Return the offset of the oldest record kept, for every slot of a topic; its end where none is."""
        ...

    async def close(self) -> None:
        """Flush and stop."""
        ...
