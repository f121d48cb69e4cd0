"""One ingested call's records, put in order and placed on its clock; told the time. Pure.

Records come at least once, sometimes late, and some never come: what was had is dropped, what is missing is waited for
a little and then left out, and silence takes its place.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from server.ingest.cloud_events import Chunk, Pressed
from streaming.call import AudioFormat
from streaming.records import ALL_CHANNELS

HELD: Final = 64
"""Records that wait for a missing one; producers write 100 to 500 ms each."""

WAIT_S: Final = 2.0
"""Longest time that a missing record is waited for, in seconds."""

TOLERANCE_MS: Final = 20
"""How far a stamp may be from where the audio before it ended: stamps are rounded, audio is not."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """A record of a call, and where it lies."""

    number: int
    """Its place among the call's records: the producer's sequence, or else the offset."""
    counted: bool
    """Whether the producer counts, so that a skipped number is a missing record."""
    offset: int
    """In its partition."""
    event: Chunk | Pressed


class Order:
    """Gives records out in order.

    Args:
        first: Number of the record that comes next, where the call is taken over; None where it begins.
    """

    def __init__(self, first: int | None = None) -> None:
        self._next = first
        self._held: dict[int, Numbered] = {}
        self._waiting_since = math.inf
        self.missing = 0
        """Records left out so far."""

    @property
    def deadline(self) -> float:
        """When the missing record is given up; never if none is."""
        return self._waiting_since + WAIT_S

    def push(self, record: Numbered, now: float) -> tuple[list[Numbered], list[int]]:
        """Take a record.

        Returns:
            The records whose turn it is now, and the offsets of those that are dropped: they were had before.
        """
        if not record.counted:
            return ([], [record.offset]) if self._had(record.number) else ([self._give(record)], [])
        if self._next is None:
            self._next = min(record.number, 1)  # some count from 0 and some from 1
        if self._had(record.number) or record.number in self._held:
            return [], [record.offset]
        self._held[record.number] = record
        ready = self._ready()
        if len(self._held) >= HELD:
            ready += self.skip()
        self._waiting_since = min(self._waiting_since, now) if self._held else math.inf
        return ready, []

    def skip(self) -> list[Numbered]:
        """Give up the missing record; return those whose turn it is then."""
        if not self._held:
            return []
        first = min(self._held)
        self.missing += first - (self._next or 0)
        self._next = first
        self._waiting_since = math.inf
        return self._ready()

    def flush(self) -> list[Numbered]:
        """Return all that is held, in order: nothing more comes."""
        ready: list[Numbered] = []
        while self._held:
            ready += self.skip()
        return ready

    def _had(self, number: int) -> bool:
        return self._next is not None and number < self._next

    def _give(self, record: Numbered) -> Numbered:
        self._next = record.number + 1
        return record

    def _ready(self) -> list[Numbered]:
        ready: list[Numbered] = []
        while (record := self._held.pop(self._next or 0, None)) is not None:
            ready.append(self._give(record))
        if ready and self._held:
            self._waiting_since = math.inf
        return ready


class Clocks:
    """Where each chunk's samples lie on the call's media clock.

    Args:
        audio: Of the call.
        heard: Samples of each side that the log has, where the call is taken over.
    """

    def __init__(self, audio: AudioFormat, heard: Sequence[int] = ()) -> None:
        self._audio = audio
        self._ends = Counter(dict(enumerate(heard)))
        if heard:
            self._ends[ALL_CHANNELS] = max(heard)
        self._last = 0  # samples of the chunk before, to guess how long a missing one was

    def place(self, chunk: Chunk, missing: int) -> int:
        """Return the position of a chunk's first sample, in samples per channel.

        Args:
            chunk: In its turn.
            missing: Records left out just before it.
        """
        wide = self._audio.channels if chunk.channel == ALL_CHANNELS else 1
        samples = len(chunk.payload) // (self._audio.encoding.sample_bytes * wide)
        position = self._ends[chunk.channel]
        if chunk.offset_ms is not None:
            stamped = chunk.offset_ms * self._audio.rate // 1000
            if abs(stamped - position) > TOLERANCE_MS * self._audio.rate // 1000:
                position = stamped
        elif missing:
            tracks = self._audio.channels if wide == 1 else 1
            position += missing // tracks * (self._last or samples)
        self._ends[chunk.channel] = position + samples
        self._last = samples
        return position

    @property
    def end_s(self) -> float:
        """How far the call's audio goes, in seconds."""
        return max(self._ends.values(), default=0) / self._audio.rate
