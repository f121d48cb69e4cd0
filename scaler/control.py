"""Who owns what: what the control topic says, and what a coordinator says there. Pure; ``now`` is passed in.

Any number of shards may coordinate. One leads, so that not all claim at once, but two leaders do no harm: the order of
their claims decides. Without one, calls go on and only moves stop. The lead is taken in the log itself, by a record
whose offset is its term; a consumer group would need 6 s and more to notice that a leader is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from streaming.records import STANDING, Claim, ControlRecord, Heartbeat, Lease, Snapshot

HEARTBEAT_S: Final = 0.5
"""Seconds between two heartbeats of a shard, and two renewals of the lead."""

LEASE_S: Final = 2.0
"""Seconds without a heartbeat after which a shard's slots go to others, and the lead to another."""

LAPSE_S: Final = 1.5
"""Seconds without a heartbeat that reached the log after which a shard stops by itself: before others take over."""

TAKE_UP_S: Final = 5.0
"""Seconds an owner that lives may take to serve a slot that was claimed for it."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Whose a slot is."""

    owner: str
    epoch: int
    since: float
    """When the claim was read, in monotonic seconds of the reader."""


@dataclass(frozen=True, slots=True)
class Member:
    """A shard, as it last said."""

    heartbeat: Heartbeat
    seen_at: float
    """When that was read, in monotonic seconds of the reader: no two clocks are compared."""


class ControlView:
    """What the control topic adds up to, read from its beginning."""

    def __init__(self) -> None:
        self.placements: dict[int, Placement] = {}
        """By slot."""
        self.members: dict[str, Member] = {}
        """By name; those that have gone for good stay, and are not alive."""
        self.snapshots: dict[int, Snapshot] = {}
        """By slot, the one that saves a new owner most."""
        self.leader = ""
        self.term = STANDING
        self.led_at = float("-inf")
        """When the leader was last heard of."""

    def read(self, offset: int, record: ControlRecord, *, now: float) -> None:
        """Take a record, in offset order."""
        match record:
            case Claim():
                self.placements[record.slot] = Placement(record.owner, offset, now)
            case Heartbeat():
                self.members[record.owner] = Member(record, now)
            case Snapshot():
                self.snapshots[record.slot] = max(record, self.snapshots.get(record.slot, record), key=_reach)
            case Lease(coordinator, term):
                if term == STANDING:
                    self.leader, self.term, self.led_at = coordinator, offset, now
                elif term == self.term:
                    self.led_at = now

    def alive(self, owner: str, *, now: float) -> bool:
        """Tell whether a shard has been heard of lately."""
        member = self.members.get(owner)
        return member is not None and now - member.seen_at <= LEASE_S


def _reach(snapshot: Snapshot) -> tuple[int, int]:
    # Audio first: it is let go of in minutes, and costs more to read again. A former owner's may be the further one.
    return snapshot.audio_offset, snapshot.out_offset


class Coordinator:
    """Decides who owns the slots; acts only while it leads.

    Args:
        name: Of this coordinator.
        slots: To be owned: all of the log.
        patience_s: Seconds, besides ``LEASE_S``, to wait before taking a lead that is free; differs between
            coordinators, so that not all stand at once.
    """

    def __init__(self, name: str, slots: Iterable[int], patience_s: float) -> None:
        self._name = name
        self._slots = tuple(slots)
        self._silence_s = LEASE_S + patience_s
        self._renewed_at = float("-inf")
        self._asked: dict[int, tuple[int, float]] = {}  # slot -> the epoch it had, and when another owner was claimed

    def leads(self, view: ControlView) -> bool:
        """Tell whether this coordinator leads, as far as it has read."""
        return view.leader == self._name

    def tick(self, view: ControlView, *, now: float) -> list[Claim | Lease]:
        """Return what to append to the control topic now; to be called every ``HEARTBEAT_S`` or so."""
        if now - self._renewed_at < HEARTBEAT_S:
            return []
        if not self.leads(view):
            if now - view.led_at <= self._silence_s:
                return []
            self._renewed_at = now
            return [Lease(self._name, STANDING)]
        self._renewed_at = now
        return [Lease(self._name, view.term), *self._claims(view, now)]

    def move(self, view: ControlView, slot: int, owner: str, *, now: float) -> list[Claim]:
        """Return the claim that moves a slot to another shard: none if that shard is not alive, or has it already."""
        placement = view.placements.get(slot)
        if not view.alive(owner, now=now) or (placement is not None and placement.owner == owner):
            return []
        return [self._claim(view, slot, owner, "moved", now)]

    def _claims(self, view: ControlView, now: float) -> list[Claim]:
        takers = {
            name: 0
            for name, member in sorted(view.members.items())
            if view.alive(name, now=now) and not member.heartbeat.draining
        }
        for placement in view.placements.values():
            if placement.owner in takers:
                takers[placement.owner] += 1
        claims: list[Claim] = []
        for slot in self._slots:
            reason = self._why(view, slot, now)
            others = [name for name in takers if reason != "idle" or name != view.placements[slot].owner] or list(
                takers
            )
            if not reason or not others:
                continue
            owner = min(others, key=takers.__getitem__)
            takers[owner] += 1
            claims.append(self._claim(view, slot, owner, reason, now))
        return claims

    def _why(self, view: ControlView, slot: int, now: float) -> str:
        """Say why a slot needs another owner; empty if it does not."""
        placement = view.placements.get(slot)
        epoch, asked_at = self._asked.get(slot, (STANDING, float("-inf")))
        if epoch == (placement.epoch if placement else STANDING) and now - asked_at <= LEASE_S:
            return ""  # our claim is on its way
        if placement is None:
            return "new"
        if not view.alive(placement.owner, now=now):
            return "lost"
        heartbeat = view.members[placement.owner].heartbeat
        if heartbeat.draining:
            return "drained"
        idle = slot not in heartbeat.slots and now - placement.since > TAKE_UP_S
        return "idle" if idle else ""

    def _claim(self, view: ControlView, slot: int, owner: str, reason: str, now: float) -> Claim:
        placement = view.placements.get(slot)
        self._asked[slot] = (placement.epoch if placement else STANDING, now)
        return Claim(slot, owner, self._name, reason)


class OwnLease:
    """A shard's own view of whether it still may compute: its heartbeats must reach the log.

    Args:
        now: Monotonic seconds.
    """

    def __init__(self, *, now: float) -> None:
        self._kept_at = now

    def acknowledged(self, *, sent_at: float) -> None:
        """Take note that a heartbeat handed over at ``sent_at`` is in the log."""
        self._kept_at = max(self._kept_at, sent_at)

    def lapsed(self, *, now: float) -> bool:
        """Tell whether others may have taken over by now."""
        return now - self._kept_at > LAPSE_S
