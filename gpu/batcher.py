"""Which windows go to the device together, and when. Pure: it is told the time and never waits.

The rules, in the order in which they decide:

1. A channel has at most one partial waiting; a newer one replaces it and takes its place in the line, so that a channel
   whose turn never came is not sent to the back. A final of the channel removes it.
2. Finals go before partials, then the earliest deadline leads. The leader's model is the batch's, and so is its bucket,
   unless another stream is not free and one batch over several buckets costs less than two.
3. While the leader can be in time, the batch is the largest that keeps it so, and no larger than pays; once it cannot,
   the device is behind and only throughput helps: full batches, and tenants take turns to lead.
   Where batches take now this long and now that, so that nothing can be predicted, their size is felt for instead.
4. A tenant gets no more than half of a batch while windows of the same kind and bucket wait for others.
5. A stream is left idle for a few milliseconds only where another keeps the device busy and there is time to spare.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from heapq import merge
from typing import Final

from gpu.cost import CostModel, Feeler, Lane
from gpu.lines import Entry, Line, Lines
from streaming.decoding import DecodeJob, Kind

__all__ = ["Batch", "Batcher", "Dropped", "Load", "Why"]

STALE_S: Final = 2.0
"""Seconds past its deadline after which a partial that nothing replaced is dropped: its moment is over."""

LINGER_S: Final = 0.015
"""Most seconds a batch waits for company."""

LINGER_SLACK: Final = 0.25
"""Share of the time to spare that may be spent waiting for company."""

JOIN_BELOW: Final = 0.8
"""Share of two batches' time that one batch over both buckets may take. Simulated with windows of 1 to 8 s: a GPU drops
1 % of its partials under a load where it dropped 19 %, a processor 11 % instead of 20 %."""

SHRUNK_S: Final = 600.0
"""Seconds for which batches stay small after the device ran out of memory."""


class Why(StrEnum):
    """Why a job leaves without a hypothesis."""

    SUPERSEDED = "superseded"
    """A newer partial, or a final, of its channel came."""
    STALE = "stale"
    """A partial that waited long past its deadline."""
    CANCELLED = "cancelled"
    """Whoever asked no longer wants it."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A job that will not be decoded."""

    job: DecodeJob
    why: Why


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows that go through one model together."""

    number: int
    """Unique in this batcher."""
    bucket: Lane
    """The model's name, and the slowest of the windows' buckets."""
    jobs: tuple[DecodeJob, ...]
    """At least one, finals first."""
    queued_s: tuple[float, ...]
    """Seconds each job waited."""
    started_at: float
    """Monotonic seconds."""
    predicted_s: float
    """Seconds it is expected to take."""

    @property
    def model(self) -> str:
        """The model's name."""
        return self.bucket[0]


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the device is."""

    finals: int
    """Waiting."""
    partials: int
    """Waiting."""
    running: int
    """Batches inside the engine."""
    final_wait_s: float
    """Seconds a final that came now would wait."""
    wait_s: float
    """Seconds until all that waits and runs is done."""


class Batcher:
    """Holds the jobs of one device and forms its batches.

    ``add``, ``cancel`` and ``expire`` say at once who is to be told; ``take`` hands out a batch whenever a stream is
    free and waiting would not help, until ``finished`` or ``failed`` gives the stream back.

    Args:
        bucket: Which model and bucket a job belongs to, as things are now.
        costs: Predicts batches, and learns from them.
        streams: Batches the device runs at a time; at least 1.
        max_batch: Most windows of a batch; at least 1.
    """

    def __init__(self, bucket: Callable[[DecodeJob], Lane], costs: CostModel, *, streams: int, max_batch: int) -> None:
        self._bucket = bucket
        self._costs = costs
        self._streams = streams
        self._max_batch = max_batch
        self._feeler = Feeler(max_batch)
        self._lines = Lines()
        self._running: dict[int, Batch] = {}
        self._came = 0
        self._batches = 0
        self._led_late: str | None = None
        self._next_stale = float("inf")
        self._shrunk: tuple[int, float] | None = None

    # --- jobs come and go ------------------------------------------------------------------------------------------

    def add(self, job: DecodeJob, now: float, *, alone: bool = False) -> list[Dropped]:
        """Put a job in line.

        Args:
            job: Whose number is not waiting already; within a channel, a higher number is newer audio.
            now: Monotonic seconds.
            alone: Whether it must share its batch with no other, because it may have broken one before.

        Returns:
            The partial that is worthless now, if there is one: the one that waited, or this one if it comes late.

        Raises:
            ValueError: If no bucket takes its window; nothing has changed.
        """
        bucket = self._bucket(job)
        is_partial = job.window.kind is Kind.PARTIAL
        waiting = self._lines.partial_of(job)
        dropped: list[Dropped] = []
        place = job.deadline
        if waiting is not None and waiting < job.job:
            replaced = self._lines.remove(waiting)
            dropped.append(Dropped(replaced.job, Why.SUPERSEDED))
            place = min(place, replaced.rank[1]) if is_partial else place
        elif waiting is not None and is_partial:
            return [Dropped(job, Why.SUPERSEDED)]
        self._came += 1
        rank = (is_partial, place, self._came)
        self._lines.insert(Entry(job, (bucket, job.job if alone else None), rank, now))
        if is_partial:
            self._next_stale = min(self._next_stale, job.deadline + STALE_S)
        return dropped

    def cancel(self, number: int) -> list[Dropped]:
        """Take a job out of the line; one that runs already, or is unknown, is left alone."""
        return [Dropped(self._lines.remove(number).job, Why.CANCELLED)] if number in self._lines else []

    def expire(self, now: float) -> list[Dropped]:
        """Drop the partials whose moment is over."""
        if now <= self._next_stale:
            return []
        old = [job for job in self._lines.partials if now > job.deadline + STALE_S]
        dropped = [Dropped(self._lines.remove(job.job).job, Why.STALE) for job in old]
        self._next_stale = STALE_S + min((job.deadline for job in self._lines.partials), default=float("inf"))
        return dropped

    def rearrange(self) -> None:
        """Ask again for the bucket of every job that waits: the models in force have changed."""
        for entry in list(self._lines):
            try:
                bucket = self._bucket(entry.job)
            except ValueError:
                continue  # the new model cannot take it: it stays with the one it was made for
            self._lines.remove(entry.job.job)
            self._lines.insert(replace(entry, line=(bucket, entry.line[1])))

    # --- batches ---------------------------------------------------------------------------------------------------

    def take(self, now: float) -> Batch | None:
        """Form the next batch and count its stream as busy.

        Returns:
            The batch, or None: nothing waits, no stream is free, or company is worth waiting for until ``wake_at``.
        """
        lead = self._lead(now)
        if lead is None or self._hold_until(lead) > now:
            return None
        late, size = self._size(lead, now)
        self._led_late = lead.job.tenant if late else None
        lines, size = self._join(lead, size, late, now)
        chosen = [self._lines.remove(entry.job.job) for entry in self._choose(lead, lines, size)]
        bucket = max((entry.line[0] for entry in chosen), key=self._alone_s)
        self._batches += 1
        batch = Batch(
            number=self._batches,
            bucket=bucket,
            jobs=tuple(entry.job for entry in chosen),
            queued_s=tuple(now - entry.added_at for entry in chosen),
            started_at=now,
            predicted_s=self._costs.predict(bucket, len(chosen)),
        )
        self._running[batch.number] = batch
        return batch

    def wake_at(self, now: float) -> float | None:
        """When ``take`` may hand out a batch though nothing else happens, in monotonic seconds."""
        lead = self._lead(now)
        return None if lead is None else max(now, self._hold_until(lead))

    def finished(self, batch: Batch, seconds: float, now: float) -> None:
        """A batch is done.

        Args:
            batch: From ``take``.
            seconds: It took.
            now: Monotonic seconds.
        """
        del self._running[batch.number]
        self._costs.observe(batch.bucket, len(batch.jobs), seconds, now)
        # Jobs that were late when it began say nothing about its size: then only throughput counts.
        deadlines = (job.deadline for job in batch.jobs if job.deadline > batch.started_at)
        self._feeler.finished(len(batch.jobs), quick=now <= min(deadlines, default=now))

    def failed(self, batch: Batch, now: float, *, out_of_memory: bool) -> tuple[list[DecodeJob], list[Dropped]]:
        """A batch came to nothing: its jobs wait again.

        After running out of memory, in batches of half the size; after anything else each alone, so that the one job
        that cannot be decoded takes no other with it.

        Returns:
            The jobs that were alone already and are given up, and the partials that something newer has replaced.
        """
        del self._running[batch.number]
        if out_of_memory:
            self._shrunk = (max(1, len(batch.jobs) // 2), now)
        if len(batch.jobs) == 1:
            return list(batch.jobs), []
        return [], [gone for job in batch.jobs for gone in self.add(job, now, alone=not out_of_memory)]

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._lines and not self._running

    def load(self, now: float) -> Load:
        """How busy the device is."""
        left = [max(0.0, batch.started_at + batch.predicted_s - now) for batch in self._running.values()]
        first_free_s = min(left) if len(left) >= self._streams else 0.0
        finals = [entry for entry in self._lines if entry.job.window.kind is Kind.FINAL]
        return Load(
            finals=len(finals),
            partials=len(self._lines) - len(finals),
            running=len(self._running),
            final_wait_s=first_free_s + self._work(entry.line[0] for entry in finals) / self._streams,
            wait_s=(sum(left) + self._work(entry.line[0] for entry in self._lines)) / self._streams,
        )

    # --- the decisions ---------------------------------------------------------------------------------------------

    def _lead(self, now: float) -> Entry | None:
        """The job the next batch is for, if a stream is free to take it."""
        if not self._lines or len(self._running) >= self._streams:
            return None
        first = self._lines.first()
        if self._led_late == first.job.tenant and self._is_late(first, now):
            others = (
                entry.rank
                for entry in self._lines
                if entry.job.tenant != first.job.tenant and entry.rank[0] == first.rank[0]
            )
            return self._lines.at(min(others, default=first.rank))
        return first

    def _is_late(self, entry: Entry, now: float) -> bool:
        if not self._costs.trusted:
            return entry.rank[1] <= now
        return self._costs.largest_within(entry.line[0], entry.rank[1] - now) == 0

    def _size(self, lead: Entry, now: float) -> tuple[bool, int]:
        """Whether the device is behind, and how many windows the batch may have."""
        bucket = lead.line[0]
        size = min(len(self._lines.of(lead.line)), self._limit(now))
        if not self._costs.trusted:
            return self._is_late(lead, now), min(size, self._feeler.size)
        fits = [self._costs.largest_within(bucket, entry.rank[1] - now) for entry in self._firsts(lead)]
        for fit in fits:
            if fit:
                size = min(size, fit)
        if 0 in fits:
            return True, size
        return False, min(size, self._costs.full_enough(bucket) or size)

    def _firsts(self, lead: Entry) -> Iterator[Entry]:
        """The leader, and the first partial of its line where the leader is a final."""
        yield lead
        ranks, partial = self._lines.of(lead.line), self._lines.finals_of(lead.line)
        if not lead.rank[0] and partial < len(ranks):
            yield self._lines.at(ranks[partial])

    def _join(self, lead: Entry, size: int, late: bool, now: float) -> tuple[list[Line], int]:
        """Add lines of other buckets where one batch, padded to the slowest of them, is clearly cheaper than two.

        Only where no other stream is free to take them, never at the price of the leader's deadline, and once the
        device is behind only jobs of the leader's kind: partials would make finals wait for longer batches.
        """
        lines, slowest = [lead.line], lead.line[0]
        others_wait = size == len(self._lines.of(lead.line)) and len(self._running) + 1 >= self._streams
        if lead.line[1] is not None or not others_wait or not self._costs.trusted:
            return lines, size
        for other in self._lines.beside(lead.line):
            both = max(slowest, other[0], key=self._alone_s)
            fits = None if late else self._costs.largest_within(both, lead.rank[1] - now)
            most = min(self._limit(now) if each is None else each for each in (fits, self._costs.full_enough(both)))
            willing = self._lines.finals_of(other) if late and not lead.rank[0] else len(self._lines.of(other))
            more = min(willing, most - size, self._limit(now) - size)
            if more < 1:
                continue
            apart_s = self._costs.predict(slowest, size) + self._costs.predict(other[0], more)
            if self._costs.predict(both, size + more) < JOIN_BELOW * apart_s:
                lines.append(other)
                slowest, size = both, size + more
        return lines, size

    def _alone_s(self, bucket: Lane) -> float:
        return self._costs.predict(bucket, 1)

    def _choose(self, lead: Entry, lines: Sequence[Line], size: int) -> list[Entry]:
        """The leader's company: in order within each kind, but no tenant above half while others wait."""
        chosen = [lead]
        count = Counter({lead.job.tenant: 1})
        ranks = merge(*(self._lines.of(line) for line in lines))
        line = [self._lines.at(rank) for rank in ranks if rank != lead.rank]
        for of_partials in (False, True):
            above: list[Entry] = []
            for entry in line:
                if entry.rank[0] is not of_partials:
                    continue
                if len(chosen) == size:
                    return chosen
                if count[entry.job.tenant] < size / 2:
                    chosen.append(entry)
                    count[entry.job.tenant] += 1
                else:
                    above.append(entry)
            for entry in above[: size - len(chosen)]:
                chosen.append(entry)
                count[entry.job.tenant] += 1
        return chosen

    def _hold_until(self, lead: Entry) -> float:
        """Until when the leader may wait for company; in the past where it may not."""
        bucket, alone = lead.line
        size = len(self._lines.of(lead.line))
        enough = min(self._costs.full_enough(bucket) or self._max_batch, self._max_batch)
        if not self._running or alone is not None or not self._costs.trusted or size >= enough:
            return float("-inf")
        spare_s = lead.rank[1] - lead.added_at - self._costs.predict(bucket, size + 1) - self._costs.margin(bucket)
        return lead.added_at + min(LINGER_S, LINGER_SLACK * spare_s)

    def _limit(self, now: float) -> int:
        if self._shrunk is None or now - self._shrunk[1] >= SHRUNK_S:
            return self._max_batch
        return min(self._max_batch, self._shrunk[0])

    def _work(self, buckets: Iterator[Lane]) -> float:
        """Seconds of one stream that jobs of these buckets take in full batches."""
        seconds = 0.0
        for bucket, count in Counter(buckets).items():
            full, rest = divmod(count, self._max_batch)
            seconds += full * self._costs.predict(bucket, self._max_batch)
            seconds += self._costs.predict(bucket, rest) if rest else 0.0
        return seconds
