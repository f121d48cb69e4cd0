"""What a coordinator says about who owns which slot. Pure; ``now`` is passed in.

Any number of shards may coordinate. One leads, so that not all claim at once, but two leaders do no harm: the order of
their claims decides. Without one, calls go on and only moves stop. The lead is taken in the log itself, by a record
whose offset is its term; a consumer group would need 6 s and more to notice that a leader is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from scaler.policy.mover import BETWEEN_SHARDS
from streaming.control import HEARTBEAT_S, LEASE_S, ControlView
from streaming.records import STANDING, Claim, Heartbeat, Lease

LAPSE_S: Final = 1.5
"""Seconds without a heartbeat that reached the log after which a shard stops by itself: before others take over."""

TAKE_UP_S: Final = 5.0
"""Seconds an owner that lives may take to serve a slot that was claimed for it."""

UNEVEN: Final = 2
"""Slots a shard must have more than another for one to be given away: with one, the two would only change places."""

SPREAD_AT_ONCE: Final = 32
"""Slots given to emptier shards in one tick."""

SLOT_LOAD: Final = 0.05
"""Share of a shard that a slot with calls is taken to need where its former owner is not known any more."""


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
        self._asked: dict[int, _Asked] = {}
        self._full: set[str] = set()

    def leads(self, view: ControlView) -> bool:
        """Tell whether this coordinator leads, as far as it has read."""
        return view.leader == self._name

    def tick(self, view: ControlView, *, now: float) -> list[Claim | Lease]:
        """Return what to append to the load and control topics now; to be called every ``HEARTBEAT_S`` or so."""
        if now - self._renewed_at < HEARTBEAT_S or (view.members and view.deaf(now=now)):
            return []
        if not self.leads(view):
            if now - view.led_at <= self._silence_s:
                return []
            self._renewed_at = now
            return [Lease(self._name, STANDING)]
        self._renewed_at = now
        return [Lease(self._name, view.term), *self._claims(view, now)]

    def move(self, view: ControlView, slot: int, owner: str, *, now: float, reason: str = "moved") -> list[Claim]:
        """Return the claim that moves a slot to another shard: none if that shard is not alive, or has it already."""
        placement = view.placements.get(slot)
        if not view.alive(owner, now=now) or (placement is not None and placement.owner == owner):
            return []
        return [self._claim(view, slot, owner, reason, now)]

    def _claims(self, view: ControlView, now: float) -> list[Claim]:
        takers = {
            name: member.heartbeat
            for name, member in sorted(view.members.items())
            if view.alive(name, now=now) and not member.heartbeat.draining
        }
        self._judge(takers)
        load = _Load({name: said.load for name, said in takers.items()}, self._full)
        busy = {slot for member in view.members.values() for slot in member.heartbeat.busy}
        homeless: list[tuple[int, str]] = []
        for slot in self._slots:
            owner = self._owner(view, slot, now)
            reason = self._why(view, slot, now)
            if reason:
                homeless.append((slot, reason))
            elif owner:
                on_its_way = slot in busy and self._in_motion(view, slot, now)
                load.add(owner, _slot_load(view, slot) if on_its_way else 0.0)
        homeless.sort(key=lambda each: each[0] not in busy)
        claims: list[Claim] = []
        for slot, reason in homeless:
            unfit = view.placements[slot].owner if reason == "idle" else ""
            taker = load.emptiest(busy=slot in busy, unfit=unfit)
            if taker:
                load.add(taker, _slot_load(view, slot) if slot in busy else 0.0)
                claims.append(self._claim(view, slot, taker, reason, now))
        return claims + self._spread(view, load, busy, now)

    def _judge(self, takers: Mapping[str, Heartbeat]) -> None:
        """See which shards are full: until they clearly have room again, so that no slot goes to and fro."""
        self._full &= takers.keys()
        for name, said in takers.items():
            if said.room == 0 or said.load > BETWEEN_SHARDS.shed_from:
                self._full.add(name)
            elif said.load < BETWEEN_SHARDS.take_below:
                self._full.discard(name)

    def _spread(self, view: ControlView, load: _Load, busy: Collection[int], now: float) -> list[Claim]:
        """Give shards that have far fewer slots than others, and room, some of theirs, of those without calls.

        One that is full has fewer because its slots were moved away, and would only get calls that it cannot serve.
        """
        idle: dict[str, list[int]] = {}
        for slot in self._slots:
            placement = view.placements.get(slot)
            if placement is None or slot in busy or self._in_motion(view, slot, now):
                continue
            if placement.owner in load.slots and slot in view.members[placement.owner].heartbeat.slots:
                idle.setdefault(placement.owner, []).append(slot)
        claims: list[Claim] = []
        while idle and len(claims) < SPREAD_AT_ONCE:
            giver = max(idle, key=load.slots.__getitem__)
            taker = load.emptiest(busy=False)
            if taker in self._full or load.slots[giver] - load.slots[taker] < UNEVEN:
                break
            claims.append(self._claim(view, idle[giver].pop(), taker, "spread", now))
            load.move(giver, taker)
            if not idle[giver]:
                del idle[giver]
        return claims

    def _owner(self, view: ControlView, slot: int, now: float) -> str:
        """Return whose a slot is, or will be once our claim is read; empty if nobody's."""
        if self._in_motion(view, slot, now):
            return self._asked[slot].owner
        placement = view.placements.get(slot)
        return placement.owner if placement else ""

    def _in_motion(self, view: ControlView, slot: int, now: float) -> bool:
        """Tell whether a claim of ours is on its way."""
        asked = self._asked.get(slot)
        return asked is not None and asked.epoch == _epoch(view, slot) and now - asked.at <= LEASE_S

    def _why(self, view: ControlView, slot: int, now: float) -> str:
        """Say why a slot needs another owner; empty if it does not."""
        if self._in_motion(view, slot, now):
            return ""
        placement = view.placements.get(slot)
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
        self._asked[slot] = _Asked(_epoch(view, slot), owner, now)
        return Claim(slot, owner, self._name, reason)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A claim that was made."""

    epoch: int
    """That the slot had then; once it has another one the claim, or somebody else's, was read."""
    owner: str
    at: float


class _Load:
    """What each shard that takes slots has.

    Args:
        takers: Their utilisation.
        full: Those that get something only where all are.
    """

    def __init__(self, takers: Mapping[str, float], full: Collection[str]) -> None:
        self.slots = dict.fromkeys(takers, 0)
        self._load = dict(takers)
        self._full = frozenset(full)

    def add(self, owner: str, load: float) -> None:
        """Count a slot, with the load it brings that was not measured there yet."""
        if owner in self.slots:
            self.slots[owner] += 1
            self._load[owner] += load

    def move(self, giver: str, taker: str) -> None:
        self.slots[giver] -= 1
        self.slots[taker] += 1

    def emptiest(self, *, busy: bool, unfit: str = "") -> str:
        """Return who has least to do, for a slot with calls, or fewest slots; empty if nobody takes any."""
        fit = [name for name in self.slots if name != unfit] or list(self.slots)
        has_room = [name for name in fit if name not in self._full] or fit
        return min(has_room, key=lambda name: (self._load[name] if busy else 0.0, self.slots[name]), default="")


def _slot_load(view: ControlView, slot: int) -> float:
    """Share of a shard that a slot with calls needs: as much as its former owner's others, and never more than one."""
    holders = [member.heartbeat for member in view.members.values() if slot in member.heartbeat.busy]
    return max((min(said.load, 1.0) / len(said.busy) for said in holders), default=SLOT_LOAD)


def _epoch(view: ControlView, slot: int) -> int:
    placement = view.placements.get(slot)
    return placement.epoch if placement else STANDING


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
