"""One way out: follows the output, hands documents to a sink in order, and remembers what was told.

Each outlet has a place of its own in the log, so that one whose receiver is down holds up no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import aclosing
from typing import Final, Protocol

import structlog
from structlog.typing import FilteringBoundLogger

from server.metrics import Metrics
from server.outlets.documents import Document
from server.outlets.fold import Position, SlotFold
from streaming.errors import BadRecord, LogError
from streaming.log import Entry, Log, Reader, Topic
from streaming.log.asking import asked
from streaming.log.following import follow
from streaming.record_codec import decode
from streaming.records import OutRecord, Partial

log: FilteringBoundLogger = structlog.get_logger()

NOTE_EVERY_S: Final = 1.0
"""Seconds between notes of what was told; what was told since the last is told again after a crash."""


class Sink(Protocol):
    """The outside, as one outlet sees it."""

    partials: bool
    """Whether partials are wanted too; they are handed over once, whatever becomes of them."""
    transcripts: bool
    """Whether the end of a call carries everything that was said."""

    def wants(self, document: Document) -> bool:
        """Tell whether a document is for this sink at all."""
        ...

    async def put(self, document: Document) -> asyncio.Future[None]:
        """Take a document; waits only for room.

        Returns:
            A future that is done once the document is told, or given up for good.
        """
        ...


class Ledger(Protocol):
    """Which slots are this outlet's to tell, and how far each is told."""

    async def share(self) -> Mapping[int, Position]:
        """Wait until the share is another than the one returned last, and return it."""
        ...

    async def note(self, positions: Mapping[int, Position]) -> None:
        """Remember how far slots are told."""
        ...


class WholeLedger:
    """For a log with one process: all slots, from their beginning, and nobody to remember it for."""

    def __init__(self, slots: int) -> None:
        self._share: Mapping[int, Position] | None = {slot: Position() for slot in range(slots)}

    async def __aenter__(self) -> WholeLedger:
        """There is nothing to open."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """There is nothing to close."""

    async def share(self) -> Mapping[int, Position]:
        """Return everything, once."""
        share, self._share = self._share, None
        if share is None:
            await asyncio.get_running_loop().create_future()  # it never changes
        return share or {}

    async def note(self, positions: Mapping[int, Position]) -> None:
        """Nothing outlives the process."""


class Outlet:
    """Tells one sink.

    Args:
        name: For logs and metrics.
        source: The log.
        sink: Where documents go.
        ledger: Which slots, and from where.
        metrics: Counts what was told.
    """

    def __init__(self, name: str, source: Log, sink: Sink, ledger: Ledger, metrics: Metrics) -> None:
        self._name = name
        self._log = source
        self._sink = sink
        self._ledger = ledger
        self._metrics = metrics
        self._folds: dict[int, SlotFold] = {}
        self._under_way = 0
        self._moved = asyncio.Event()

    @property
    def under_way(self) -> int:
        """Documents handed over that are neither told nor given up."""
        return self._under_way

    async def run(self) -> None:
        """Tell until cancelled."""
        out, partials = self._log.reader(Topic.OUT), self._log.reader(Topic.PARTIALS)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_out(out), name=f"outlet-{self._name}")
            tasks.create_task(self._note(), name=f"outlet-{self._name}-notes")
            if self._sink.partials:
                tasks.create_task(self._follow_partials(partials), name=f"outlet-{self._name}-partials")
            while True:
                share = await self._ledger.share()
                self._folds = {
                    slot: SlotFold(position, transcripts=self._sink.transcripts) for slot, position in share.items()
                }
                out.assign({slot: position.read_from for slot, position in share.items()})
                if self._sink.partials:
                    partials.assign(await self._ends_of_partials(share))

    async def _ends_of_partials(self, share: Collection[int]) -> dict[int, int]:
        ends = await asked(lambda: self._log.end_offsets(Topic.PARTIALS), self._trouble)
        return {slot: ends[slot] for slot in share}

    async def settled(self) -> None:
        """Wait until everything in the log now is told or given up."""
        ends, starts = await self._log.end_offsets(Topic.OUT), await self._log.start_offsets(Topic.OUT)
        for slot in [slot for slot in self._folds if starts[slot] < ends[slot]]:  # of the others nothing is kept
            end = ends[slot]
            while (fold := self._folds.get(slot)) is not None and fold.position().told_to < end:
                self._moved.clear()
                await self._moved.wait()

    async def _follow_out(self, reader: Reader) -> None:
        async with aclosing(follow(reader, self._trouble)) as batches:
            async for entries in batches:
                for entry in entries:
                    await self._take(entry)
                self._moved.set()

    async def _follow_partials(self, reader: Reader) -> None:
        async with aclosing(follow(reader, self._trouble)) as batches:
            async for entries in batches:
                for entry in entries:
                    await self._take_partial(entry)

    async def _take_partial(self, entry: Entry) -> None:
        record = self._decoded(entry)
        fold = self._folds.get(entry.slot)
        if fold is not None and isinstance(record, Partial):
            document = fold.take_partial(record)
            if document is not None and self._sink.wants(document):
                await self._sink.put(document)

    async def _take(self, entry: Entry) -> None:
        fold = self._folds.get(entry.slot)
        record = self._decoded(entry)
        if fold is None or record is None or isinstance(record, Partial):
            return
        document = fold.take(entry.offset, record)
        if document is None:
            return
        if not self._sink.wants(document):
            fold.told(entry.offset)
            return
        self._under_way += 1
        self._metrics.outlet_waiting.labels(self._name).inc()
        done = await self._sink.put(document)
        done.add_done_callback(lambda _: self._done(fold, entry.offset))

    def _done(self, fold: SlotFold, offset: int) -> None:
        fold.told(offset)
        self._under_way -= 1
        self._moved.set()
        self._metrics.outlet_waiting.labels(self._name).dec()

    def _trouble(self, problem: LogError) -> None:
        log.warning("outlet.log_not_read", outlet=self._name, problem=str(problem))

    def _decoded(self, entry: Entry) -> OutRecord | Partial | None:
        try:
            record = decode(entry.value)
        except BadRecord as problem:
            self._metrics.unreadable.inc()
            log.warning(
                "outlet.unreadable", outlet=self._name, slot=entry.slot, offset=entry.offset, error=str(problem)
            )
            return None
        return record if isinstance(record, OutRecord | Partial) else None

    async def _note(self) -> None:
        noted: dict[int, Position] = {}
        while True:
            await asyncio.sleep(NOTE_EVERY_S)
            positions = {slot: fold.position() for slot, fold in self._folds.items()}
            news = {slot: position for slot, position in positions.items() if noted.get(slot) != position}
            if news:
                await self._ledger.note(news)
                noted.update(news)
