"""Jobs in line before a device, in order, sorted by what may share a batch. Pure.

A line is a model's bucket, or one job that has to go alone; within it finals go first, then whoever has the earliest
deadline. A channel has at most one partial here.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gpu.cost import Lane
from streaming.decoding import DecodeJob, Kind

__all__ = ["Entry", "Line", "Lines", "Rank"]

Line = tuple[Lane, int | None]
"""What may share a batch: a model's bucket, or one job that has to go alone."""
Rank = tuple[bool, float, int]
"""Partials after finals, then the deadline of the place in line, then the order of coming."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A job that waits."""

    job: DecodeJob
    line: Line
    rank: Rank
    """No other entry has the same."""
    added_at: float
    """Monotonic seconds."""


class Lines:
    """All jobs that wait, found by number, by channel and in order."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._lines: dict[Line, list[Rank]] = {}
        self._partials: dict[tuple[str, int], int] = {}
        self._by_rank: dict[Rank, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __contains__(self, number: int) -> bool:
        return number in self._entries

    def insert(self, entry: Entry) -> None:
        """Put a job in line; it is not in one yet, and if it is a partial, its channel has no other here."""
        job = entry.job
        self._entries[job.job] = entry
        self._by_rank[entry.rank] = job.job
        insort(self._lines.setdefault(entry.line, []), entry.rank)
        if job.window.kind is Kind.PARTIAL:
            self._partials[job.call, job.channel] = job.job

    def remove(self, number: int) -> Entry:
        """Take a job out.

        Raises:
            KeyError: If it is not here.
        """
        entry = self._entries.pop(number)
        del self._by_rank[entry.rank]
        line = self._lines[entry.line]
        del line[bisect_left(line, entry.rank)]
        if not line:
            del self._lines[entry.line]
        if entry.job.window.kind is Kind.PARTIAL:
            del self._partials[entry.job.call, entry.job.channel]
        return entry

    def partial_of(self, job: DecodeJob) -> int | None:
        """Number of the partial that waits for the channel of a job, if any does."""
        return self._partials.get((job.call, job.channel))

    @property
    def partials(self) -> list[DecodeJob]:
        """All partials."""
        return [self._entries[number].job for number in self._partials.values()]

    def first(self) -> Entry:
        """The one that goes before all others; there is one."""
        return self.at(min(ranks[0] for ranks in self._lines.values()))

    def at(self, rank: Rank) -> Entry:
        """The entry of a rank."""
        return self._entries[self._by_rank[rank]]

    def of(self, line: Line) -> Sequence[Rank]:
        """Ranks of a line, in order; it is not empty."""
        return self._lines[line]

    def finals_of(self, line: Line) -> int:
        """How many of a line are finals; they come first."""
        return bisect_left(self._lines[line], (True, float("-inf"), 0))

    def beside(self, line: Line) -> list[Line]:
        """Other lines of its model, without jobs that go alone; the one whose first goes first comes first."""
        others = [other for other in self._lines if other != line and other[0][0] == line[0][0] and other[1] is None]
        return sorted(others, key=lambda other: self._lines[other][0])
