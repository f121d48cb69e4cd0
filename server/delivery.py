"""What the log says about calls, brought to whoever listens: the outputs are read once per process.

Finals of calls in progress, and of calls that ended lately, are kept so that late listeners get them all.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from structlog.typing import FilteringBoundLogger

from server.directory import Directory
from server.metrics import Metrics
from streaming.errors import BadRecord
from streaming.log import Entry, Log, Topic
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
    """

    def __init__(
        self, source: Log, directory: Directory, metrics: Metrics, clock: Callable[[], float], keep_ended_s: float
    ) -> None:
        self._log = source
        self._directory = directory
        self._metrics = metrics
        self._clock = clock
        self._keep_ended_s = keep_ended_s
        self._reducers: defaultdict[int, Reducer] = defaultdict(Reducer)
        self._transcripts: defaultdict[str, _Transcript] = defaultdict(_Transcript)
        self._ended: deque[tuple[float, str]] = deque()
        self._listeners: defaultdict[str, dict[Listener, None]] = defaultdict(dict)

    async def run(self) -> None:
        """Follow the outputs until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(Topic.OUT, from_start=True), name="delivery-out")
            tasks.create_task(self._follow(Topic.PARTIALS, from_start=False), name="delivery-partials")

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

    def so_far(self, call: str) -> list[Told]:
        """Return the finals of a call, in the log's order, and its end if it ended."""
        transcript = self._transcripts.get(call)
        if transcript is None:
            return []
        finals = [record for value in transcript.finals if isinstance(record := decode(value), Final)]
        return [*finals, *([transcript.closed] if transcript.closed else [])]

    def prune(self, now: float) -> None:
        """Let go of calls that ended too long ago."""
        while self._ended and self._ended[0][0] <= now - self._keep_ended_s:
            _, call = self._ended.popleft()
            self._transcripts.pop(call, None)

    async def _follow(self, topic: Topic, *, from_start: bool) -> None:
        starts = {slot: 0 if from_start else await self._log.end_offset(topic, slot) for slot in range(self._log.slots)}
        reader = self._log.reader(topic)
        reader.assign(starts)
        try:
            while True:
                for entry in await reader.next():
                    self._take(entry)
        finally:
            await reader.close()

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

    def _end(self, reducer: Reducer, record: CallClosed) -> None:
        reducer.forget(record.call)
        self._transcripts[record.call].closed = record
        self._ended.append((self._clock(), record.call))
        self._directory.end(record.call)
        self._tell(record)

    def _tell(self, record: Told) -> None:
        for listener in list(self._listeners.get(record.call, ())):
            listener(record)
