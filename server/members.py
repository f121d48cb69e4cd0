"""Which shards live and which slots they serve, as a gateway knows it: where new calls may go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import aclosing
from typing import Final

import structlog

from server.delivery import Start
from server.directory import Directory
from server.health import Readiness
from server.metrics import Metrics
from streaming.control import ControlView, Member
from streaming.errors import BadRecord, LogError
from streaming.log import Log, Topic
from streaming.log.asking import asked
from streaming.log.following import follow
from streaming.record_codec import decode
from streaming.records import ControlRecord

log = structlog.get_logger()

CALL_LOAD: Final = 0.01
"""Share of a shard that a call is taken to need where nothing better is known."""

KNOWN_CALLS: Final = 5
"""Calls from which on a shard's load says what one of them needs."""


class Members:
    """The shards of the cluster.

    Args:
        source: The log.
        metrics: Counts what cannot be read.
        clock: Monotonic seconds.
        by_load: Whether shards that say that they are full get no more calls.
    """

    def __init__(self, source: Log, metrics: Metrics, clock: Callable[[], float], *, by_load: bool = True) -> None:
        self.view = ControlView()
        """Who owns what and who lives."""
        self.caught_up = asyncio.Event()
        """Set once everything is known that was said of slots before this gateway came."""
        self._log = source
        self._metrics = metrics
        self._clock = clock
        self._by_load = by_load
        metrics.ready_shards.set_function(lambda: len(self._takers()))

    async def run(self) -> None:
        """Follow the shards until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(Topic.CONTROL, self.caught_up), name="members-control")
            tasks.create_task(self._follow(Topic.LOAD, asyncio.Event()), name="members-load")

    async def starts(self) -> Mapping[int, Start]:
        """Return where to begin with the output of slots, so as to know all of the calls that are open."""
        await self.caught_up.wait()
        return {slot: Start(each.began, each.began_epoch) for slot, each in self.view.snapshots.items()}

    def readiness(self) -> Readiness:
        """Tell whether any shard serves calls."""
        ready = bool(self._takers())
        return Readiness(ready=ready, reason="" if ready else "no shard serves calls")

    def slots(self, directory: Directory) -> Collection[int]:
        """Return the slots that a new call may go to: all of the shard that has most room.

        What a shard says of its load is up to a second old. The calls that it has by now are counted in the directory,
        where every gateway's are, and those it cannot have known of are added.
        """
        takers = [member for member in self._takers() if not self._by_load or _has_room(member, directory)]
        if not takers:
            return ()
        return min(takers, key=lambda member: _expected(member, directory)).heartbeat.slots

    def _takers(self) -> list[Member]:
        now = self._clock()
        return [
            member
            for name, member in sorted(self.view.members.items())
            if self.view.alive(name, now=now) and not member.heartbeat.draining and member.heartbeat.slots
        ]

    async def _follow(self, topic: Topic, caught_up: asyncio.Event) -> None:
        end = await asked(lambda: self._log.end_offset(topic, 0), _trouble)
        if not end:
            caught_up.set()
        reader = self._log.reader(topic)
        reader.assign({0: 0})
        async with aclosing(follow(reader, _trouble)) as batches:
            async for entries in batches:
                for entry in entries:
                    try:
                        record = decode(entry.value)
                    except BadRecord as problem:
                        self._metrics.unreadable.inc()
                        log.warning("members.unreadable", topic=topic, offset=entry.offset, error=str(problem))
                        continue
                    if isinstance(record, ControlRecord):
                        self.view.read(entry.offset, record, now=self._clock())
                    if entry.offset + 1 >= end:
                        caught_up.set()
                await asyncio.sleep(0)


def _has_room(member: Member, directory: Directory) -> bool:
    said = member.heartbeat
    calls = sum(directory.calls_in(slot) for slot in said.slots)
    return said.room is None or said.room > max(0, calls - said.calls)


def _expected(member: Member, directory: Directory) -> tuple[float, int]:
    """Return the load a shard must have by now, and its calls."""
    said = member.heartbeat
    calls = sum(directory.calls_in(slot) for slot in said.slots)
    each = said.load / said.calls if said.calls >= KNOWN_CALLS else CALL_LOAD
    return said.load + max(0, calls - said.calls) * max(each, CALL_LOAD), calls


def _trouble(problem: LogError) -> None:
    log.error("log.not_read", problem=str(problem))
