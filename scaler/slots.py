"""The slots a shard owns: fenced, recovered, served, marked and given up. The rules are ``scaler.ownership``'s.

Two readers serve all slots: one tails what was written of them, so that the shard knows what is final and hears of
newer owners; one tails their audio. Everything else happens at once, in between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Final

import structlog

from scaler.calls import CallRecord, Calls, Heard, Observer
from scaler.outbox import Outbox
from scaler.ownership import Phase, Serve, SlotOwner, Stop
from streaming.errors import BadRecord, LogError
from streaming.log import Entry, Log, Topic
from streaming.log.following import follow
from streaming.record_codec import decode, kind_of
from streaming.records import (
    INTERNAL,
    CallClosed,
    CallOpened,
    OutRecord,
    Record,
    Snapshot,
)
from streaming.reducer import ChannelProgress
from streaming.session import Session, State

log = structlog.get_logger()

MARK_EVERY_S: Final = 1.0
"""Seconds between two places noted for snapshots."""

SNAPSHOT_EVERY: Final = 5
"""Marks between two snapshots: what a new owner replays is longer by at most so many seconds."""


class OwnedSlot:
    """One ownership, and how far its audio was read."""

    def __init__(self, owner: SlotOwner, outbox: Outbox, claimed_at: float) -> None:
        self.owner = owner
        self.claimed_at = claimed_at
        """Monotonic seconds at which its claim was read."""
        self.next_audio = 0
        """Offset of the audio record to be read next."""
        self.told: Snapshot | None = None
        """The newest snapshot written."""
        self._outbox = outbox
        self._closing: set[str] = set()

    @property
    def epoch(self) -> int:
        """Of the ownership."""
        return self.owner.epoch

    def progress(self, call: str, channel: int) -> ChannelProgress:
        """Return how far a channel is final."""
        return self.owner.reducer.progress(call, channel)

    def publish(self, record: CallRecord) -> None:
        """Write a record, if the slot is still owned."""
        if self.owner.phase is Phase.STOPPED:
            return
        self._outbox.put(self.owner, record)
        if isinstance(record, CallClosed):
            self._closing.add(record.call)

    def is_over(self, call: str) -> bool:
        """Tell whether a call has been closed, though the log may not say so yet."""
        return call in self._closing or self.owner.reducer.is_closed(call)

    def mark(self, sessions: Iterable[Session]) -> None:
        """Note this place for snapshots."""
        self._closing = {call for call in self._closing if not self.owner.reducer.is_closed(call)}
        sessions = list(sessions)
        owing = [session.spec.call for session in sessions if session.owes]
        still_open = [session.heard() for session in sessions if session.state is State.OPEN]
        self.owner.note(self.next_audio, still_open, [*owing, *self._closing])


class Slots:
    """The slots of one shard.

    Args:
        source: The log.
        name: Of the shard.
        calls: Runs their sessions.
        observer: Told of every record written and every slot served.
        given_up: Told of a slot, and the epoch, that this shard could not go on with though it is still its own.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        source: Log,
        name: str,
        calls: Calls,
        *,
        observer: Observer,
        given_up: Callable[[int, int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = source
        self._name = name
        self._calls = calls
        self._given_up = given_up
        self._clock = clock
        self._observer = observer
        self._outbox = Outbox(source, observer, self._failed)
        self._owned: dict[int, OwnedSlot] = {}
        self._out = source.reader(Topic.OUT)
        self._audio = source.reader(Topic.AUDIO)
        self._assigning = False
        self._changed = asyncio.Event()

    @property
    def owned(self) -> tuple[int, ...]:
        """All slots owned, those still being recovered among them."""
        return tuple(sorted(self._owned))

    @property
    def serving(self) -> tuple[int, ...]:
        """Slots whose calls are heard and written."""
        return tuple(sorted(slot for slot, owned in self._owned.items() if owned.owner.phase is Phase.SERVING))

    @property
    def busy(self) -> tuple[int, ...]:
        """Slots that have calls."""
        return tuple(sorted({slot.owner.slot for slot in self._calls.by_slot() if isinstance(slot, OwnedSlot)}))

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is true of the slots."""
        while not true():
            self._changed.clear()
            await self._changed.wait()

    async def run(self) -> None:
        """Serve the slots until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._outbox.run(), name="slots-write")
            tasks.create_task(self._follow(follow(self._out, _trouble), self._take_out), name="slots-out")
            tasks.create_task(self._follow(follow(self._audio, _trouble), self._take_audio), name="slots-audio")

    def claim(self, slot: int, epoch: int, snapshot: Snapshot | None = None) -> None:
        """Own a slot from now on: the claim at offset ``epoch`` says so. An older claim than ours is ignored."""
        owned = self._owned.get(slot)
        if owned is not None:
            if owned.epoch >= epoch:
                return
            owned.owner.stop()
            self._calls.close(owned)
        owner = SlotOwner(slot, epoch, self._name, snapshot)
        self._owned[slot] = OwnedSlot(owner, self._outbox, self._clock())
        self._outbox.put(owner, owner.fence)
        self._reassign()

    def snapshots(self, *, write: bool = True) -> list[Snapshot]:
        """Note where every slot is.

        Args:
            write: Whether snapshots are to be written now.

        Returns:
            What to write: snapshots that say more than those before them.
        """
        sessions = self._calls.by_slot()
        news: list[Snapshot] = []
        for owned in self._owned.values():
            if owned.owner.phase is not Phase.SERVING:
                continue
            owned.mark(sessions.get(owned, ()))
            snapshot = owned.owner.snapshot() if write else None
            if snapshot is None or (owned.told and snapshot.audio_offset == owned.told.audio_offset):
                continue
            owned.told = snapshot
            news.append(snapshot)
        return news

    # --- reading ---------------------------------------------------------------------------------------------------

    async def _follow(self, batches: AsyncGenerator[list[Entry]], take: Callable[[OwnedSlot, Entry], None]) -> None:
        async with aclosing(batches):
            async for entries in batches:
                for entry in entries:
                    owned = self._owned.get(entry.slot)
                    if owned is not None:
                        take(owned, entry)
                await asyncio.sleep(0)  # who is far behind must not keep others from being heard

    def _take_out(self, owned: OwnedSlot, entry: Entry) -> None:
        if entry.offset < owned.owner.read_out_from:
            return
        record = _record(entry)
        if not isinstance(record, OutRecord):
            return
        match owned.owner.read(entry.offset, record):
            case Serve() as serve:
                self._serve(owned, serve)
            case Stop(epoch):
                log.debug("slot.lost", slot=entry.slot, epoch=owned.epoch, to_epoch=epoch)
                self._drop(owned)
            case None:
                pass

    def _serve(self, owned: OwnedSlot, serve: Serve) -> None:
        say = log.info if serve.calls else log.debug
        say("slot.served", slot=owned.owner.slot, epoch=owned.epoch, calls=len(serve.calls))
        self._observer.slot_served(self._clock() - owned.claimed_at)
        owned.next_audio = serve.audio_offset
        for heard in serve.calls:
            self._calls.open(heard.spec, owned, heard)
        self._reassign()
        self._changed.set()

    def _take_audio(self, owned: OwnedSlot, entry: Entry) -> None:
        if owned.owner.phase is not Phase.SERVING or entry.offset < owned.next_audio:
            return
        if entry.offset > owned.next_audio > 0:
            log.error("audio.missed", slot=entry.slot, first=owned.next_audio, last=entry.offset - 1)
        owned.next_audio = entry.offset + 1
        match _record(entry):
            case CallOpened(spec):
                if not owned.is_over(spec.call):
                    self._calls.open(spec, owned)
            case record if isinstance(record, Heard):
                self._calls.hear(record)
            case None if kind_of(entry.value) is CallOpened and not owned.is_over(entry.key):
                # A newer version's call: its caller is told at once, rather than left without an answer.
                owned.publish(CallClosed(owned.epoch, entry.key, INTERNAL, 0.0, 0.0))
            case None:
                pass
            case record:
                log.warning("record.out_of_place", slot=entry.slot, kind=type(record).__name__)

    # --- giving up -------------------------------------------------------------------------------------------------

    def _failed(self, owner: SlotOwner, problem: LogError) -> None:
        owned = self._owned.get(owner.slot)
        if owned is None or owned.owner is not owner:
            return
        log.error("slot.given_up", slot=owner.slot, epoch=owner.epoch, problem=str(problem))
        self._drop(owned)
        self._given_up(owner.slot, owner.epoch)

    def _drop(self, owned: OwnedSlot) -> None:
        owned.owner.stop()
        self._calls.close(owned)
        del self._owned[owned.owner.slot]
        self._reassign()
        self._changed.set()

    def _reassign(self) -> None:
        """Have the readers read what is owned now; many changes at once are one change to them."""
        if not self._assigning:
            self._assigning = True
            asyncio.get_running_loop().call_soon(self._assign)

    def _assign(self) -> None:
        self._assigning = False
        self._out.assign({slot: owned.owner.read_out_from for slot, owned in self._owned.items()})
        self._audio.assign(
            {slot: owned.next_audio for slot, owned in self._owned.items() if owned.owner.phase is Phase.SERVING}
        )


def _record(entry: Entry) -> Record | None:
    try:
        return decode(entry.value)
    except BadRecord as problem:
        log.warning("record.unreadable", topic=entry.topic, slot=entry.slot, offset=entry.offset, problem=str(problem))
        return None


def _trouble(problem: LogError) -> None:
    log.error("log.not_read", problem=str(problem))
