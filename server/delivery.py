"""What the log says about calls, brought to whoever listens: the outputs are read once per process.

Finals of calls in progress, and of calls that ended lately, are kept so that late listeners get them all.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog
from structlog.typing import FilteringBoundLogger

from server.directory import Directory
from server.metrics import Metrics
from server.page.recent import Recent
from streaming.errors import BadRecord, LogError
from streaming.log import Entry, Log, Reader, Topic
from streaming.log.asking import asked
from streaming.log.following import follow
from streaming.record_codec import decode
from streaming.records import (
    CallClosed,
    CallStarted,
    Dtmf,
    Fence,
    Final,
    Finalized,
    OutRecord,
    Partial,
    Paused,
    Progress,
    QualityChanged,
    Resumed,
    SpeechEnded,
    SpeechStarted,
    UtteranceEnded,
)
from streaming.reducer import Reducer

log: FilteringBoundLogger = structlog.get_logger()

Told = (
    CallStarted
    | Final
    | Progress
    | SpeechStarted
    | SpeechEnded
    | UtteranceEnded
    | Finalized
    | Dtmf
    | QualityChanged
    | Resumed
    | Paused
    | CallClosed
    | Partial
)
"""What is of one call."""

Listener = Callable[[Told], None]
"""Called with each record of a call that counts; it must not wait."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin with a slot's output."""

    offset: int
    epoch: int
    """In force there."""


async def from_the_beginning() -> Mapping[int, Start]:
    """Begin with the oldest record of every slot."""
    return {}


@dataclass(slots=True)
class _Transcript:
    """What one call said so far."""

    finals: list[bytes] = field(default_factory=list[bytes])
    """As they lie in the log: a third of the memory of the objects."""
    closed: CallClosed | None = None


class Delivery:
    """Follows the outputs of every slot.

    Args:
        source: The log.
        directory: Told when a call is over.
        metrics: Counts finals, gaps and what did not count.
        clock: Monotonic seconds.
        keep_ended_s: How long the finals of an ended call are kept, in seconds.
        starts: Tells where to begin with the output of slots; those it does not name are read from their beginning.
    """

    def __init__(
        self,
        source: Log,
        directory: Directory,
        metrics: Metrics,
        clock: Callable[[], float],
        keep_ended_s: float,
        *,
        starts: Callable[[], Awaitable[Mapping[int, Start]]] = from_the_beginning,
    ) -> None:
        self.caught_up = asyncio.Event()
        """Set once everything is known that was said before this gateway came."""
        self._log = source
        self._directory = directory
        self._metrics = metrics
        self._clock = clock
        self._keep_ended_s = keep_ended_s
        self._starts = starts
        self._behind: dict[int, int] = {}  # slots that are not caught up -> the offset that was their end
        self._reducers: defaultdict[int, Reducer] = defaultdict(Reducer)
        self._transcripts: defaultdict[str, _Transcript] = defaultdict(_Transcript)
        self.late = Recent(clock)
        """How long after the speech the finals of the last half minute came, in seconds."""
        self._ended: deque[tuple[float, str]] = deque()
        self._listeners: defaultdict[str, dict[Listener, None]] = defaultdict(dict)

    async def run(self) -> None:
        """Follow the outputs until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_out(), name="delivery-out")
            tasks.create_task(self._follow_partials(), name="delivery-partials")

    def listen(self, call: str, listener: Listener) -> None:
        """Hear everything about a call from now on, until ``ignore``."""
        self._listeners[call][listener] = None

    def ignore(self, call: str, listener: Listener) -> None:
        """Hear nothing more about a call; one that was not heard is fine."""
        listeners = self._listeners.get(call)
        if listeners is not None:
            listeners.pop(listener, None)
            if not listeners:
                del self._listeners[call]

    def so_far(self, call: str, last: int | None = None) -> list[Told]:
        """Return the finals of a call, in the log's order, and its end if it ended.

        Args:
            call: Its id.
            last: How many of the newest finals are wanted; None for all.
        """
        transcript = self._transcripts.get(call)
        if transcript is None:
            return []
        values = transcript.finals if last is None else transcript.finals[-last:]
        finals = [record for value in values if isinstance(record := decode(value), Final)]
        return [*finals, *([transcript.closed] if transcript.closed else [])]

    def prune(self, now: float) -> None:
        """Let go of calls that ended too long ago."""
        while self._ended and self._ended[0][0] <= now - self._keep_ended_s:
            _, call = self._ended.popleft()
            self._transcripts.pop(call, None)

    async def _follow_out(self) -> None:
        starts = await self._starts()
        for slot, start in starts.items():
            self._reducers[slot] = Reducer.resumed(start.epoch, (), ())
        offsets = dict.fromkeys(range(self._log.slots), 0) | {slot: start.offset for slot, start in starts.items()}
        ends = await asked(lambda: self._log.end_offsets(Topic.OUT), _trouble)
        kept = await asked(lambda: self._log.start_offsets(Topic.OUT), _trouble)
        self._behind = {slot: end for slot, end in ends.items() if max(offsets[slot], kept[slot]) < end}
        if not self._behind:
            self.caught_up.set()
        reader = self._log.reader(Topic.OUT)
        reader.assign(offsets)
        await self._follow(reader)

    async def _follow_partials(self) -> None:
        reader = self._log.reader(Topic.PARTIALS)
        reader.assign(await asked(lambda: self._log.end_offsets(Topic.PARTIALS), _trouble))
        await self._follow(reader)

    async def _follow(self, reader: Reader) -> None:
        async with aclosing(follow(reader, _trouble)) as batches:
            async for entries in batches:
                for entry in entries:
                    self._take(entry)
                    if entry.slot in self._behind and entry.topic is Topic.OUT:
                        self._catch_up(entry)
                await asyncio.sleep(0)  # who starts reads a lot at once; the sockets must not wait for it

    def _catch_up(self, entry: Entry) -> None:
        if entry.offset + 1 >= self._behind[entry.slot]:
            del self._behind[entry.slot]
        if not self._behind:
            self.caught_up.set()

    def _take(self, entry: Entry) -> None:
        if entry.topic is Topic.PARTIALS and entry.key not in self._listeners:
            return  # nobody listens to most partials of other gateways' calls
        try:
            record = decode(entry.value)
        except BadRecord as problem:
            self._metrics.unreadable.inc()
            where = {"topic": entry.topic, "slot": entry.slot, "offset": entry.offset}
            log.warning("delivery.unreadable", error=str(problem), **where)
            return
        reducer = self._reducers[entry.slot]
        match record:
            case Partial():
                if reducer.accept_partial(record):
                    self._tell(record)
            case Fence():
                self._metrics.fenced.inc(reducer.accept(record))
            case Final() | Progress():
                self._count_gap(reducer, record)
                if self._accepted(reducer, record):
                    self._keep(record, entry.value)
                    self._tell(record)
            case CallClosed():
                if self._accepted(reducer, record):
                    self._end(reducer, record)
            case (
                CallStarted()
                | SpeechStarted()
                | SpeechEnded()
                | UtteranceEnded()
                | Finalized()
                | Dtmf()
                | QualityChanged()
                | Resumed()
                | Paused()
            ):
                if self._accepted(reducer, record):
                    self._tell(record)
            case _:  # audio and placements have topics of their own
                self._metrics.unreadable.inc()

    def _accepted(self, reducer: Reducer, record: OutRecord) -> bool:
        accepted = reducer.accept(record)
        self._metrics.superseded.inc(not accepted)
        return accepted

    def _count_gap(self, reducer: Reducer, record: Final | Progress) -> None:
        at = reducer.progress(record.call, record.channel)
        if isinstance(record, Final) and record.epoch == reducer.epoch and record.number > at.next_number:
            self._metrics.final_gaps.inc()

    def _keep(self, record: Final | Progress, value: bytes) -> None:
        if isinstance(record, Final):
            self._transcripts[record.call].finals.append(value)
            self._metrics.finals.labels(record.model).inc()
            if self._directory.is_live(record.call):  # not what is read again after a start
                self.late.add(record.latency_s)

    def _end(self, reducer: Reducer, record: CallClosed) -> None:
        reducer.forget(record.call)
        self._transcripts[record.call].closed = record
        self._ended.append((self._clock(), record.call))
        self._directory.end(record.call)
        self._tell(record)

    def _tell(self, record: Told) -> None:
        for listener in list(self._listeners.get(record.call, ())):
            listener(record)


def _trouble(problem: LogError) -> None:
    log.error("log.not_read", problem=str(problem))
