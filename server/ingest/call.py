"""One ingested call: admitted or taken over, written into the log in order, ended. A task of its own runs it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

import structlog
from structlog.typing import FilteringBoundLogger

from server.admission import Refused
from server.delivery import Told
from server.ingest.cloud_events import Chunk, Ended, Event, Pressed, Started
from server.ingest.order import Clocks, Numbered, Order
from server.services import Services
from server.settings import Ingest
from streaming.call import KEPT_S, AudioFormat, CallSpec
from streaming.errors import LogError
from streaming.log import Topic
from streaming.record_codec import encode
from streaming.records import (
    AudioChunk,
    AudioRecord,
    CallClosed,
    CallEnded,
    CallKept,
    CallOpened,
    CallResumed,
    DtmfReceived,
    Resumed,
)

log: FilteringBoundLogger = structlog.get_logger()

PROTOCOL: Final = "kafka"

ASK_AGAIN_S: Final = 5.0
"""Seconds to wait for the answer to a takeover before it is asked for again: its slot may be between two shards."""

PAUSE_S: Final = 1.0
"""Seconds until a log that failed is tried again."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A record of the topic that is about this call."""

    offset: int
    event: Event


class IngestedCall:
    """Writes one call.

    Args:
        name: The call's id.
        done: Told of every offset whose record is in the log for good, or dropped; when ``run`` ends, all others are.
        settings: Of ingestion.
        services: The gateway's.
    """

    def __init__(self, name: str, done: Callable[[int], None], settings: Ingest, services: Services) -> None:
        self.name = name
        self.inbox: asyncio.Queue[Arrived] = asyncio.Queue()
        self._done = done
        self._settings = settings
        self._services = services
        self._start = Started(name)
        self._slot = 0
        self._connection = 0
        self._order = Order()
        self._unwritten: dict[int, AudioChunk | DtmfReceived] = {}  # by offset, in order
        self._failed = asyncio.Event()
        self._answer: asyncio.Queue[Resumed] = asyncio.Queue()
        self._over = asyncio.Event()
        self._written_at = self._heard_at = 0.0

    async def run(self) -> None:
        """Write the call until it is over."""
        self._services.delivery.listen(self.name, self._hear)
        try:
            first, chunk = await self._first()
            if chunk is not None:
                await self._carry(first, chunk)
        finally:
            self._services.delivery.ignore(self.name, self._hear)

    def _hear(self, told: Told) -> None:
        match told:
            case Resumed():
                self._answer.put_nowait(told)
            case CallClosed():
                self._over.set()
            case _:
                pass

    async def _first(self) -> tuple[Arrived, Chunk | None]:
        """Wait for audio; a call that ends before there is any is none."""
        while True:
            arrived = await self.inbox.get()
            match arrived.event:
                case Chunk() as chunk:
                    return arrived, chunk
                case Ended():
                    return arrived, None
                case Started() as start:
                    self._start = start
                case Pressed():
                    pass  # before any audio there is no place for it
            self._done(arrived.offset)

    # --- beginning -------------------------------------------------------------------------------------------------

    async def _carry(self, first: Arrived, chunk: Chunk) -> None:
        began = self._written_at = self._heard_at = self._services.clock()
        clocks = await self._begin(chunk)
        if clocks is None:
            return
        log.info("call.ingested", call=self.name, slot=self._slot, connection=self._connection)
        audio = chunk.audio
        arrived: Arrived | None = first
        reason = ""
        while not reason and not self._over.is_set():
            if arrived is not None:
                reason = await self._take(arrived, audio, clocks, began)
            elif self._failed.is_set():
                await self._recover()
            else:
                reason = await self._on_time(clocks, began)
            arrived = None if reason else await self._next()
        if not self._over.is_set():
            await self._end(reason)

    async def _begin(self, chunk: Chunk) -> Clocks | None:
        """Open the call, or take it over; None if it is over or cannot be served."""
        directory = self._services.directory
        place = directory.find(self.name)
        if place is None:
            return None if directory.was_removed(self.name) else await self._open(chunk)
        if not directory.is_live(self.name) or place.spec.protocol != PROTOCOL or place.spec.audio != chunk.audio:
            return None
        self._slot = place.slot
        directory.adopt(self.name)
        resumed = await self._take_over()
        if resumed is None:
            return None
        self._order = Order(resumed.next_sequence)
        return Clocks(chunk.audio, resumed.heard)

    async def _open(self, chunk: Chunk) -> Clocks | None:
        spec = self._spec(chunk.audio)
        while isinstance(decision := self._services.admission.decide(spec, self._services.clock()), Refused):
            if decision.retry_after_s is None:
                log.warning("ingest.refused", call=self.name, reason=decision.code)
                return None
            await asyncio.sleep(decision.retry_after_s)  # it waits in Kafka, where there is room
        self._slot = decision.slot
        self._services.directory.place(spec, self._slot)
        await self._append(CallOpened(spec))
        return Clocks(chunk.audio)

    def _spec(self, audio: AudioFormat) -> CallSpec:
        start = self._start
        labels = start.labels if len(start.labels) == audio.channels else ()
        return CallSpec(
            self.name,
            self._settings.tenant,
            audio,
            labels or tuple(f"channel {number}" for number in range(audio.channels)),
            language=start.language,
            hotwords=start.hotwords,
            model=start.model,
            protocol=PROTOCOL,
            opened_at=self._services.wall_clock(),
            metadata=dict(start.metadata),
            kept=True,
            resume_s=self._services.limits.resume_s,  # another gateway may need so long to come for it
        )

    async def _take_over(self) -> Resumed | None:
        """Become the one who writes the call, and learn where it goes on; None if it is over."""
        while not self._over.is_set():
            nonce = uuid.uuid4().hex
            try:
                asked = encode(CallResumed(self.name, nonce))
                await self._services.log.append(Topic.AUDIO, self._slot, self.name, asked)
                async with asyncio.timeout(ASK_AGAIN_S):
                    while (answer := await self._answer.get()).nonce != nonce:
                        pass
            except TimeoutError:
                continue
            except LogError:
                await asyncio.sleep(PAUSE_S)
                continue
            self._connection = answer.connection
            return answer
        return None

    # --- going on --------------------------------------------------------------------------------------------------

    async def _next(self) -> Arrived | None:
        """Wait for a record; None if something else is due."""
        waiting = asyncio.ensure_future(self.inbox.get())
        try:
            await self._wait(min(self._order.deadline, self._written_at + min(KEPT_S, self._settings.idle_s)), waiting)
            return waiting.result() if waiting.done() else None
        finally:
            waiting.cancel()

    async def _wait(self, due: float, *others: asyncio.Future[Arrived]) -> None:
        """Wait until a moment, the end of the call, a failure of the log, or what else is waited for."""
        events = [asyncio.ensure_future(event.wait()) for event in (self._failed, self._over)]
        try:
            timeout_s = max(0.0, due - self._services.clock())
            waits: list[asyncio.Future[Arrived] | asyncio.Task[Literal[True]]] = [*others, *events]
            await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in events:
                each.cancel()

    async def _take(self, arrived: Arrived, audio: AudioFormat, clocks: Clocks, began: float) -> str:
        """Take a record; return why the call is over, if it is."""
        self._heard_at = self._services.clock()
        match arrived.event:
            case Chunk(audio=other) if other != audio:
                log.warning("ingest.format_changed", call=self.name, offset=arrived.offset)
                self._done(arrived.offset)
            case Chunk() | Pressed() as event:
                number = arrived.offset if event.sequence is None else event.sequence
                record = Numbered(number, event.sequence is not None, arrived.offset, event)
                ready, had = self._order.push(record, self._services.clock())
                for offset in had:
                    self._done(offset)
                await self._write(ready, clocks, began)
            case Ended(reason=reason):
                await self._write(self._order.flush(), clocks, began)
                return reason
            case Started():
                self._done(arrived.offset)
        return ""

    async def _on_time(self, clocks: Clocks, began: float) -> str:
        """Do what is due; return why the call is over, if it is."""
        now = self._services.clock()
        if now >= self._order.deadline:
            await self._write(self._order.skip(), clocks, began)
        if now - self._heard_at >= self._settings.idle_s:
            await self._write(self._order.flush(), clocks, began)
            return "idle"
        if now - self._written_at >= KEPT_S:
            await self._append(CallKept(self.name))
        return ""

    async def _write(self, records: list[Numbered], clocks: Clocks, began: float) -> None:
        for record in records:
            made = self._made(record, clocks)
            await self._pace(clocks.end_s, began)
            self._unwritten[record.offset] = made
            await self._append(made, record.offset)

    def _made(self, record: Numbered, clocks: Clocks) -> AudioChunk | DtmfReceived:
        match record.event:
            case Chunk() as chunk:
                missing, self._order.missing = self._order.missing, 0
                position = clocks.place(chunk, missing)
                return AudioChunk(
                    self.name, record.number, chunk.channel, position, chunk.payload, connection=self._connection
                )
            case Pressed(channel=channel, digit=digit):
                return DtmfReceived(self.name, channel, digit, connection=self._connection)

    async def _pace(self, end_s: float, began: float) -> None:
        """Wait where audio comes faster than it may: a backlog must not push live calls aside."""
        limits = self._services.limits
        ahead_s = end_s - limits.catch_up_s - (self._services.clock() - began) * limits.speed
        if ahead_s > 0:
            await asyncio.sleep(ahead_s / limits.speed)

    async def _append(self, record: AudioRecord, offset: int | None = None) -> None:
        self._written_at = self._services.clock()
        try:
            written = await self._services.log.append(Topic.AUDIO, self._slot, self.name, encode(record))
        except LogError:
            self._failed.set()
            return
        written.add_done_callback(partial(self._confirmed, offset))

    def _confirmed(self, offset: int | None, written: asyncio.Future[int]) -> None:
        if written.cancelled() or written.exception() is not None:
            self._failed.set()
        elif offset is not None and self._unwritten.pop(offset, None) is not None:
            self._done(offset)

    async def _recover(self) -> None:
        """After the log failed: become the writer anew, and write again what is not there."""
        await asyncio.sleep(PAUSE_S)
        self._failed.clear()
        resumed = await self._take_over()
        if resumed is None:
            return
        for offset, record in list(self._unwritten.items()):
            again: AudioChunk | DtmfReceived
            if isinstance(record, DtmfReceived):
                again = replace(record, connection=self._connection)
            elif record.sequence >= resumed.next_sequence:
                again = record._replace(connection=self._connection)
            else:
                del self._unwritten[offset]
                self._done(offset)
                continue
            self._unwritten[offset] = again
            await self._append(again, offset)

    async def _end(self, reason: str) -> None:
        """End the call, and wait until all of it is out; what is not, its shard still owes."""
        deadline = self._services.clock() + self._services.limits.closing_s
        asked = False
        while not self._over.is_set():
            if self._failed.is_set():
                await self._recover()
                asked = False
            elif not asked:
                await self._append(CallEnded(self.name, reason, self._connection))
                asked = True
            elif (now := self._services.clock()) >= deadline and not self._unwritten:
                log.warning("ingest.not_closed", call=self.name)
                return
            else:
                await self._wait(max(deadline, now + PAUSE_S))
