"""Which slot every call lives in: read from and written to the calls topic, and counted for placing new ones."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

from streaming.call import CallSpec
from streaming.errors import BadRecord, LogError
from streaming.log import Entry, Log, Topic
from streaming.log.asking import asked
from streaming.log.following import follow
from streaming.record_codec import decode, encode
from streaming.records import CallPlaced, CallRecord, CallRemoved

log: FilteringBoundLogger = structlog.get_logger()

ENDED_KEPT: Final = 10_000
"""Calls that are over whose place stays known, for who wants to read what they said."""


REMOVE_AFTER_S: Final = 10.0
"""Seconds that a call's own gateway has to say that it is over."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call lives, or lived until lately."""

    spec: CallSpec
    slot: int
    resume_hash: str = ""
    """SHA-256, in hex, of what who resumes the call must show; empty where nobody can."""

    @property
    def call(self) -> str:
        """Its id."""
        return self.spec.call

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self.spec.tenant

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its sides."""
        return self.spec.labels

    @property
    def opened_at(self) -> float:
        """When it began, in Unix seconds."""
        return self.spec.opened_at


class Directory:
    """The calls of all gateways that share a log.

    Args:
        log: The log whose calls topic, slot 0, is followed and written.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._live: dict[str, Place] = {}
        self._ended: dict[str, Place] = {}  # oldest first
        self._ours: set[str] = set()
        self._over: dict[str, None] = {}  # oldest first
        self._unremoved: dict[str, float | None] = {}  # since when, once ``tidy`` has seen it
        self._by_slot: Counter[int] = Counter()
        self._by_tenant: Counter[str] = Counter()
        self._followers: defaultdict[str, dict[Callable[[Place], None], None]] = defaultdict(dict)
        self._removed: dict[str, None] = {}  # oldest first
        self._unwritten: asyncio.Queue[CallRecord] = asyncio.Queue()
        self.caught_up = asyncio.Event()
        """Set once everything is known that was written before this gateway came."""

    async def run(self) -> None:
        """Follow and write the calls topic until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="directory-follow")
            tasks.create_task(self._write(), name="directory-write")

    @property
    def live(self) -> int:
        """Calls in progress, on all gateways."""
        return self._by_slot.total()

    def live_of(self, tenant: str) -> int:
        """Return how many calls a tenant has in progress."""
        return self._by_tenant[tenant]

    def calls_in(self, slot: int) -> int:
        """Return how many calls a slot has in progress."""
        return self._by_slot[slot]

    def calls_of(self, tenant: str) -> list[Place]:
        """Return a tenant's calls in progress, the oldest first."""
        return [place for place in self._live.values() if place.tenant == tenant]

    def follow(self, tenant: str, follower: Callable[[Place], None]) -> None:
        """Hear of each call of a tenant that begins, until ``unfollow``."""
        self._followers[tenant][follower] = None

    def unfollow(self, tenant: str, follower: Callable[[Place], None]) -> None:
        """Hear of no more calls; who heard of none is fine."""
        followers = self._followers.get(tenant, {})
        followers.pop(follower, None)
        if not followers:
            self._followers.pop(tenant, None)

    def find(self, call: str) -> Place | None:
        """Return where a call lives, or lived lately; None for one that is not known."""
        return self._live.get(call) or self._ended.get(call)

    def was_removed(self, call: str) -> bool:
        """Tell whether a call was over lately, though this gateway may never have known where it lived."""
        return call in self._removed and call not in self._live

    def is_live(self, call: str) -> bool:
        """Tell whether a call is in progress."""
        return call in self._live

    def emptiest(self, slots: Iterable[int]) -> int:
        """Return the slot with the fewest calls; the first of equals.

        Raises:
            ValueError: If no slot is given.
        """
        return min(slots, key=self._by_slot.__getitem__)

    def place(self, spec: CallSpec, slot: int, resume_hash: str = "") -> None:
        """Put a call into a slot, at once for this gateway and through the log for the others."""
        self._ours.add(spec.call)
        self._over.pop(spec.call, None)
        record = CallPlaced(spec, slot, resume_hash)
        self._put(record)
        self._unwritten.put_nowait(record)

    def adopt(self, call: str) -> None:
        """Take care of a call that another gateway placed: that gateway may be gone when the call is over."""
        self._ours.add(call)

    def end(self, call: str) -> None:
        """Note that a call is over; its place stays known for a while."""
        was_live = self.is_live(call)
        self._take_out(call)
        self._over[call] = None  # it may be read only later that it was placed
        if len(self._over) > ENDED_KEPT:
            del self._over[next(iter(self._over))]
        if call in self._ours:
            self._ours.discard(call)
            self._unwritten.put_nowait(CallRemoved(call))
        elif was_live:
            self._unremoved[call] = None

    def tidy(self, now: float) -> None:
        """Say that calls are over whose own gateway has not said so: it is gone."""
        for call, since in list(self._unremoved.items()):
            if since is None:
                self._unremoved[call] = now
            elif now - since >= REMOVE_AFTER_S:
                del self._unremoved[call]
                self._unwritten.put_nowait(CallRemoved(call))

    async def _follow(self) -> None:
        end = (await asked(lambda: self._log.end_offsets(Topic.CALLS), _trouble))[0]
        if (await asked(lambda: self._log.start_offsets(Topic.CALLS), _trouble))[0] >= end:
            self.caught_up.set()
        reader = self._log.reader(Topic.CALLS)
        reader.assign({0: 0})
        async with aclosing(follow(reader, _trouble)) as batches:
            async for entries in batches:
                for entry in entries:
                    self._take(entry)
                    if entry.offset + 1 >= end:
                        self.caught_up.set()

    def _take(self, entry: Entry) -> None:
        try:
            record = decode(entry.value)
        except BadRecord as problem:
            log.warning("directory.unreadable", offset=entry.offset, error=str(problem))
            return
        match record:
            case CallPlaced() as placed if placed.spec.call not in self._ours:
                self._put(placed)
                if placed.spec.call in self._over:
                    self._take_out(placed.spec.call)
                    self._unremoved[placed.spec.call] = None
            case CallRemoved(call):
                self._unremoved.pop(call, None)
                self._removed[call] = None
                if len(self._removed) > ENDED_KEPT:
                    del self._removed[next(iter(self._removed))]
                if call not in self._ours:
                    self._take_out(call)
            case _:
                pass

    async def _write(self) -> None:
        while True:
            record = await self._unwritten.get()
            call = record.spec.call if isinstance(record, CallPlaced) else record.call
            await asked(partial(self._log.append, Topic.CALLS, 0, call, encode(record)), _trouble)

    def _put(self, placed: CallPlaced) -> None:
        call = placed.spec.call
        self._take_out(call)
        place = self._live[call] = Place(placed.spec, placed.slot, placed.resume_hash)
        self._by_slot[placed.slot] += 1
        self._by_tenant[place.tenant] += 1
        for follower in list(self._followers.get(place.tenant, ())):
            follower(place)

    def _take_out(self, call: str) -> None:
        place = self._live.pop(call, None)
        if place is None:
            return
        self._ended[call] = place
        if len(self._ended) > ENDED_KEPT:
            del self._ended[next(iter(self._ended))]
        self._by_slot[place.slot] -= 1
        self._by_tenant[place.tenant] -= 1
        if not self._by_tenant[place.tenant]:
            del self._by_tenant[place.tenant]


def _trouble(problem: LogError) -> None:
    log.error("log.not_used", topic=Topic.CALLS, problem=str(problem))
