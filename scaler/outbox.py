"""What a shard writes: one queue for all its slots, so that the records of each keep their order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from scaler.calls import CallRecord, Observer
from scaler.ownership import Phase, SlotOwner
from streaming.errors import LogError
from streaming.log import Log, Topic
from streaming.record_codec import encode
from streaming.records import Fence, Partial


class Outbox:
    """Appends records of slots that are owned; what waits for one that is not any more is dropped.

    Args:
        log: Where to.
        observer: Told of every record handed over.
        failed: Told of an ownership whose record is not, or perhaps not, in the log: what follows it cannot count.
    """

    def __init__(self, log: Log, observer: Observer, failed: Callable[[SlotOwner, LogError], None]) -> None:
        self._log = log
        self._observer = observer
        self._failed = failed
        self._waiting: asyncio.Queue[tuple[SlotOwner, bytes, CallRecord]] = asyncio.Queue()

    def put(self, owner: SlotOwner, record: CallRecord) -> None:
        """Write a record after those put before it.

        Raises:
            UnicodeEncodeError: If it cannot be written; nothing was put.
        """
        self._waiting.put_nowait((owner, encode(record), record))

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            owner, value, record = await self._waiting.get()
            if owner.phase is Phase.STOPPED:
                continue
            topic = Topic.PARTIALS if isinstance(record, Partial) else Topic.OUT
            key = "" if isinstance(record, Fence) else record.call
            try:
                done = await self._log.append(topic, owner.slot, key, value)
            except LogError as problem:
                self._not_written(owner, record, problem)
                continue
            done.add_done_callback(partial(self._answered, owner, record))
            if not isinstance(record, Fence):
                self._observer.record_written(record)

    def _answered(self, owner: SlotOwner, record: CallRecord, done: asyncio.Future[int]) -> None:
        if done.cancelled():
            return
        problem = done.exception()
        if isinstance(problem, LogError):
            self._not_written(owner, record, problem)

    def _not_written(self, owner: SlotOwner, record: CallRecord, problem: LogError) -> None:
        if not isinstance(record, Partial):  # partials are replaced by the next one
            self._failed(owner, problem)
