"""Who owns what, as the control and load topics say: what every gateway and every shard reads alike. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, assert_never

from streaming.records import STANDING, Claim, ControlRecord, Heartbeat, Lease, Snapshot

HEARTBEAT_S: Final = 0.5
"""Seconds between two heartbeats of a shard, and two renewals of the lead."""

LEASE_S: Final = 2.0
"""Seconds without a heartbeat after which a shard's slots go to others, and the lead to another."""

DEAF_S: Final = 1.0
"""Seconds without any record after which it is the reader that hears nothing: every shard hears its own heartbeats."""

FORGET_S: Final = 600.0
"""Seconds without a heartbeat after which a shard is forgotten: shards have a new name each time they start."""


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
        """By name; those not heard of for ``FORGET_S`` are forgotten."""
        self.snapshots: dict[int, Snapshot] = {}
        """By slot, the one that saves a new owner most."""
        self.leader = ""
        self.term = STANDING
        self.led_at = float("-inf")
        """When the leader was last heard of."""
        self.heard_at = float("-inf")
        """When anything was last read."""

    def read(self, offset: int, record: ControlRecord, *, now: float) -> None:
        """Take a record, in its topic's offset order."""
        self._make_up_for_deafness(now)
        match record:
            case Claim():
                self.placements[record.slot] = Placement(record.owner, offset, now)
            case Heartbeat():
                if record.owner not in self.members:
                    self._forget(now)
                self.members[record.owner] = Member(record, now)
            case Snapshot():
                self.snapshots[record.slot] = max(record, self.snapshots.get(record.slot, record), key=_reach)
            case Lease(coordinator, term):
                began = offset if term == STANDING else term
                if began >= self.term:  # also where the record that began it is not kept any more
                    self.leader, self.term, self.led_at = coordinator, began, now
            case _:
                assert_never(record)

    def alive(self, owner: str, *, now: float) -> bool:
        """Tell whether a shard has been heard of lately."""
        member = self.members.get(owner)
        return member is not None and now - member.seen_at <= LEASE_S

    def deaf(self, *, now: float) -> bool:
        """Tell whether nothing at all has come for so long that silence says nothing of anybody."""
        return now - self.heard_at > DEAF_S

    def _forget(self, now: float) -> None:
        for name in [name for name, member in self.members.items() if now - member.seen_at > FORGET_S]:
            del self.members[name]

    def _make_up_for_deafness(self, now: float) -> None:
        """Forgive everybody the time in which nothing came: the log was away then, or we slept."""
        if self.deaf(now=now) and self.members:
            missed_s = now - self.heard_at
            for name, member in self.members.items():
                self.members[name] = replace(member, seen_at=member.seen_at + missed_s)
            self.led_at += missed_s
        self.heard_at = now


def _reach(snapshot: Snapshot) -> tuple[int, int]:
    # Audio first: it is let go of in minutes, and costs more to read again. A former owner's may be the further one.
    return snapshot.audio_offset, snapshot.out_offset
