"""The log in this process's memory: one command, no service. It forgets by age, also where nothing more comes."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from streaming.log import ONE_SLOT, Entry, Topic

KEEP_S: Final[Mapping[Topic, float]] = {
    Topic.AUDIO: 60.0,
    Topic.OUT: 900.0,
    Topic.PARTIALS: 5.0,
    Topic.CALLS: 86_400.0,
    Topic.CONTROL: 86_400.0,
    Topic.LOAD: 60.0,
}
"""Seconds a record is kept: nobody replays audio after a crash of this process, so it goes first."""

SWEEPS: Final = 10
"""Looks for what is too old, within the time that a topic's records are kept."""

READ_ENTRIES: Final = 512
"""Entries one ``next`` returns at most, so that a reader far behind does not hold the event loop."""


@dataclass(slots=True)
class _Slot:
    """Kept entries of one slot, oldest first, each with the moment it was appended."""

    end: int = 0
    entries: deque[tuple[float, Entry]] = field(default_factory=deque[tuple[float, Entry]])

    @property
    def start(self) -> int:
        return self.end - len(self.entries)

    def drop_older(self, moment: float) -> None:
        while self.entries and self.entries[0][0] < moment:
            self.entries.popleft()


class MemoryLog:
    """A ``Log`` without durability: an append is done at once.

    Args:
        slots: Slots of every topic.
        keep_s: Seconds to keep a topic's records.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        slots: int = 256,
        keep_s: Mapping[Topic, float] = KEEP_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slot_count = slots
        self._keep_s = keep_s
        self._clock = clock
        self._slots = {topic: defaultdict[int, _Slot](_Slot) for topic in Topic}
        self._sweeps: dict[Topic, asyncio.TimerHandle] = {}  # of the topics that hold something
        self._readers: dict[Topic, set[MemoryReader]] = {topic: set() for topic in Topic}

    @property
    def slots(self) -> int:
        """Number of slots of every topic."""
        return self._slot_count

    async def append(self, topic: Topic, slot: int, key: str, value: bytes) -> asyncio.Future[int]:
        """Append at once; see ``Log.append``.

        Raises:
            IndexError: If the log has no such slot.
        """
        at = self._slot(topic, slot)
        now = self._clock()
        at.entries.append((now, Entry(topic, slot, at.end, key, value)))
        at.end += 1
        at.drop_older(now - self._keep_s[topic])
        if topic not in self._sweeps:
            self._sweep_later(topic)
        for reader in self._readers[topic]:
            reader.notice(slot)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        done.set_result(at.end - 1)
        return done

    def reader(self, topic: Topic) -> MemoryReader:
        """Open a reader with no slot assigned."""
        reader = MemoryReader(self, topic)
        self._readers[topic].add(reader)
        return reader

    async def end_offset(self, topic: Topic, slot: int) -> int:
        """Return the offset the next record will get."""
        return self._slot(topic, slot).end

    async def end_offsets(self, topic: Topic) -> dict[int, int]:
        """Return the same for every slot."""
        return {slot: self._slot(topic, slot).end for slot in range(1 if topic in ONE_SLOT else self._slot_count)}

    async def start_offsets(self, topic: Topic) -> dict[int, int]:
        """Return the offset of the oldest record kept, for every slot."""
        return {slot: self._slot(topic, slot).start for slot in range(1 if topic in ONE_SLOT else self._slot_count)}

    async def close(self) -> None:
        """Close every reader."""
        while self._sweeps:
            self._sweeps.popitem()[1].cancel()
        for readers in self._readers.values():
            for reader in list(readers):
                await reader.close()

    def read(self, topic: Topic, slot: int, offset: int, limit: int) -> list[Entry]:
        """Return up to ``limit`` kept entries from ``offset``, or from the oldest kept one if that is newer."""
        at = self._slot(topic, slot)
        first = max(0, offset - at.start)
        count = min(limit, len(at.entries) - first)
        return [at.entries[first + index][1] for index in range(count)]

    def detach(self, topic: Topic, reader: MemoryReader) -> None:
        """Forget a reader that was closed."""
        self._readers[topic].discard(reader)

    def _slot(self, topic: Topic, slot: int) -> _Slot:
        if not 0 <= slot < self._slot_count:
            raise IndexError(f"slot {slot} of {topic} does not exist; this log has {self._slot_count}")
        return self._slots[topic][slot]

    def _sweep_later(self, topic: Topic) -> None:
        loop = asyncio.get_running_loop()
        self._sweeps[topic] = loop.call_later(self._keep_s[topic] / SWEEPS, self._sweep, topic)

    def _sweep(self, topic: Topic) -> None:
        """Let go of what is too old in slots that nothing is appended to: what was said must not stay for that."""
        del self._sweeps[topic]
        oldest = self._clock() - self._keep_s[topic]
        for slot in self._slots[topic].values():
            slot.drop_older(oldest)
        if any(slot.entries for slot in self._slots[topic].values()):
            self._sweep_later(topic)


class MemoryReader:
    """A ``Reader`` of a ``MemoryLog``; made by ``MemoryLog.reader``."""

    def __init__(self, log: MemoryLog, topic: Topic) -> None:
        self._log = log
        self._topic = topic
        self._positions: dict[int, int] = {}
        self._ready: dict[int, None] = {}  # slots that may have records, the longest-waiting first
        self._wake = asyncio.Event()
        self._closed = False

    def assign(self, positions: Mapping[int, int]) -> None:
        """Read exactly these slots from now on; see ``Reader.assign``."""
        self._positions = dict(positions)
        self._ready = dict.fromkeys(positions)
        self._wake.set()

    def notice(self, slot: int) -> None:
        """Hear that a slot has a new record."""
        if slot in self._positions:
            self._ready[slot] = None
            self._wake.set()

    async def next(self) -> list[Entry]:
        """Wait for records; see ``Reader.next``.

        Raises:
            asyncio.CancelledError: If the reader is closed.
        """
        while True:
            entries = self._take()
            if entries:
                return entries
            if self._closed:
                raise asyncio.CancelledError
            self._wake.clear()
            await self._wake.wait()

    async def close(self) -> None:
        """Stop; a waiting ``next`` is cancelled."""
        self._closed = True
        self._positions.clear()
        self._ready.clear()
        self._wake.set()
        self._log.detach(self._topic, self)

    def _take(self) -> list[Entry]:
        taken: list[Entry] = []
        while self._ready and len(taken) < READ_ENTRIES:
            slot = next(iter(self._ready))
            del self._ready[slot]
            limit = READ_ENTRIES - len(taken)
            entries = self._log.read(self._topic, slot, self._positions[slot], limit)
            if entries:
                self._positions[slot] = entries[-1].offset + 1
                taken += entries
            if len(entries) == limit:
                self._ready[slot] = None
        return taken
