"""One shard among others: it says that it lives, hears what is claimed for it, and leads if nobody else does."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import Final, Protocol

import structlog

from scaler.calls import Calls, Observer
from scaler.control import Coordinator, OwnLease
from scaler.policy.load import ShardLoad
from scaler.slots import MARK_EVERY_S, SNAPSHOT_EVERY, Slots
from streaming.control import HEARTBEAT_S, ControlView
from streaming.errors import BadRecord, LogError
from streaming.log import Entry, Log, Topic
from streaming.log.asking import asked
from streaming.log.following import follow
from streaming.record_codec import decode, encode
from streaming.records import Claim, ControlRecord, Heartbeat, Lease, Snapshot

log = structlog.get_logger()

OVERWHELMED: Final = 100.0
"""Load of a shard that has no device at all: JSON knows no infinity."""

TICK_S: Final = 0.1
"""Seconds between looks at what is due."""

AGAIN_S: Final = 5.0
"""Seconds from one claim of a slot that could not be gone on with to the next: what hindered it may not be over."""

LEAD: Final = "lead"
"""Key of the records about who leads."""


def claim_key(slot: int) -> str:
    """Return the key of a slot's claims; the control topic keeps the newest record of each key."""
    return f"claim/{slot}"


class Policy(Protocol):
    """What a leading shard asks, once a second or so."""

    def moves(self, view: ControlView, *, now: float) -> Iterable[tuple[int, str]]:
        """Return slots to be moved, each with the shard that is to have it."""
        ...

    def load(self) -> ShardLoad | None:
        """Return how this shard fares; None before it was measured."""
        ...

    def hear(self, view: ControlView, *, now: float) -> None:
        """Take what the other shards say."""
        ...


class Membership:
    """This shard's part in the cluster.

    Args:
        source: The log.
        name: Of this shard.
        slots: What it owns.
        calls: What it serves.
        policy: Says how loaded this shard is, and decides about moves while it leads.
        observer: Told of every slot claimed for this shard.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        source: Log,
        name: str,
        slots: Slots,
        *,
        calls: Calls,
        policy: Policy,
        observer: Observer,
        clock: Callable[[], float],
    ) -> None:
        self.view = ControlView()
        """Who owns what and who lives."""
        self._log = source
        self._name = name
        self._slots = slots
        self._calls = calls
        self._policy = policy
        self._observer = observer
        self._clock = clock
        self._draining = False
        self._lease = OwnLease(now=clock())
        # Coordinators that stand at the same moment harm nobody, but one is enough: their names tell them apart.
        patience_s = sum(name.encode()) % 10 / 10
        self._coordinator = Coordinator(name, range(source.slots), patience_s)
        self._claimed_again: dict[int, float] = {}
        self._beat_at = float("-inf")
        self._beat: asyncio.Future[int] | None = None
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def leads(self) -> bool:
        """Whether this shard decides who owns what."""
        return self._coordinator.leads(self.view)

    @property
    def lapsed(self) -> bool:
        """Whether its heartbeats have not reached the log for so long that it may be taken for dead."""
        return self._lease.lapsed(now=self._clock())

    async def run(self, joined: asyncio.Event) -> None:
        """Take part until cancelled.

        Args:
            joined: Set once a first heartbeat is in the log.
        """
        caught_up = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._follow(Topic.CONTROL, caught_up), name="member-control")
            tasks.create_task(self._follow(Topic.LOAD, asyncio.Event()), name="member-load")
            await caught_up.wait()
            tasks.create_task(self._mark(), name="member-mark")
            while True:
                await self._tick()
                if self._beat is not None and self._beat.done():
                    joined.set()
                await asyncio.sleep(TICK_S)

    async def leave(self, patience_s: float) -> None:
        """Give all slots away, and return once others serve them, or too long has passed."""
        log.info("shard.draining", slots=len(self._slots.owned), calls=len(self._calls))
        self._draining = True
        await self._write(self._slots.snapshots())
        self._beat_at = float("-inf")
        try:
            async with asyncio.timeout(patience_s):
                await self._slots.until(lambda: not self._slots.owned)
        except TimeoutError:
            log.warning("shard.drain_cut_short", slots=len(self._slots.owned), calls=len(self._calls))

    async def move(self, slot: int, owner: str) -> bool:
        """Have a slot owned by another shard; its calls go on there.

        Returns:
            Whether it was claimed: not if that shard is not alive, or has it.
        """
        claims = self._coordinator.move(self.view, slot, owner, now=self._clock())
        await self._write(claims)
        return bool(claims)

    def claim_again(self, slot: int, epoch: int) -> None:
        """Claim a slot for ourselves that we could not go on with, if it is still our own; not again at once."""
        if self._tasks is not None:
            self._tasks.create_task(self._claim_again(slot, epoch), name="member-claim-again")

    async def _claim_again(self, slot: int, epoch: int) -> None:
        due = self._claimed_again.get(slot, float("-inf")) + AGAIN_S
        if due > self._clock():
            await asyncio.sleep(due - self._clock())
        self._claimed_again[slot] = self._clock()
        placement = self.view.placements.get(slot)
        if placement is not None and placement.epoch == epoch:
            await self._write([Claim(slot, self._name, self._name, "again")])

    # --- reading ---------------------------------------------------------------------------------------------------

    async def _follow(self, topic: Topic, caught_up: asyncio.Event) -> None:
        reader = self._log.reader(topic)
        end = await asked(lambda: self._log.end_offset(topic, 0), _trouble)
        reader.assign({0: 0})
        newest: dict[str, Entry] = {}  # before ``end``, by key: the topic is compacted now and then only
        if not end:
            caught_up.set()
        async with aclosing(follow(reader, _trouble)) as batches:
            async for entries in batches:
                for entry in entries:
                    if caught_up.is_set():
                        self._take(entry)
                        continue
                    newest[entry.key] = entry
                    if entry.offset >= end - 1:
                        for each in sorted(newest.values(), key=lambda each: each.offset):
                            self._take(each)
                        caught_up.set()

    def _take(self, entry: Entry) -> None:
        try:
            record = decode(entry.value)
        except BadRecord as problem:
            log.warning("record.unreadable", topic=entry.topic, offset=entry.offset, problem=str(problem))
            return
        if not isinstance(record, ControlRecord):
            log.warning("record.out_of_place", topic=entry.topic, kind=type(record).__name__)
            return
        led = self.view.leader
        self.view.read(entry.offset, record, now=self._clock())
        if self.view.leader != led:
            log.info("cluster.leader", leader=self.view.leader, ours=self.leads)
        if isinstance(record, Claim) and record.owner == self._name:
            log.debug("slot.claimed", slot=record.slot, epoch=entry.offset, by=record.by, reason=record.reason)
            self._observer.slot_claimed(record.reason)
            self._slots.claim(record.slot, entry.offset, self.view.snapshots.get(record.slot))

    # --- writing ---------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        now = self._clock()
        if now - self._beat_at >= HEARTBEAT_S and (self._beat is None or self._beat.done()):
            self._beat_at = now
            await self._say_alive(now)
        records: list[Claim | Lease] = list(self._coordinator.tick(self.view, now=now))
        if records and self.leads and not self._draining:
            for slot, owner in self._policy.moves(self.view, now=now):
                records += self._coordinator.move(self.view, slot, owner, now=now)
        await self._write(records)

    async def _say_alive(self, now: float) -> None:
        self._policy.hear(self.view, now=now)
        load = self._policy.load()
        heartbeat = Heartbeat(
            self._name,
            self._slots.serving,
            load=min(load.utilisation[0], OVERWHELMED) if load else 0.0,
            draining=self._draining,
            busy=self._slots.busy,
            calls=len(self._calls),
            room=load.room if load else None,
            rung=load.rung if load else 0,
            wait_s=load.wait_s if load and math.isfinite(load.wait_s) else 0.0,
        )
        try:
            self._beat = await self._log.append(Topic.LOAD, 0, self._name, encode(heartbeat))
        except LogError as problem:
            log.warning("heartbeat.not_written", problem=str(problem))
            return
        self._beat.add_done_callback(lambda done: self._heard(done, now))

    def _heard(self, done: asyncio.Future[int], sent_at: float) -> None:
        if not done.cancelled() and done.exception() is None:
            self._lease.acknowledged(sent_at=sent_at)

    async def _mark(self) -> None:
        marks = 0
        while True:
            await asyncio.sleep(MARK_EVERY_S)
            marks += 1
            await self._write(self._slots.snapshots(write=marks % SNAPSHOT_EVERY == 0))

    async def _write(self, records: Iterable[Claim | Lease | Snapshot]) -> None:
        for record in records:
            topic, key = _place(record)
            try:
                await self._log.append(topic, 0, key, encode(record))
            except LogError as problem:  # a claim that is not made is due again, a snapshot only saves work
                log.warning("control.not_written", kind=type(record).__name__, problem=str(problem))


def _place(record: Claim | Lease | Snapshot) -> tuple[Topic, str]:
    match record:
        case Claim(slot):
            return Topic.CONTROL, claim_key(slot)
        case Snapshot(slot):
            return Topic.CONTROL, f"snapshot/{slot}"
        case Lease():
            return Topic.LOAD, LEAD


def _trouble(problem: LogError) -> None:
    log.error("log.not_read", problem=str(problem))
