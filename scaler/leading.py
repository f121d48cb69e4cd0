"""What a shard says of itself to the others, and which slots it moves while it leads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from scaler.governor import Governor
from scaler.policy.load import ShardLoad
from scaler.policy.mover import BETWEEN_SHARDS, Item, Mover, Place
from streaming.control import ControlView, Member
from streaming.records import Heartbeat

__all__ = ["Leading", "Others"]

log = structlog.get_logger()


@dataclass(slots=True)
class Others:
    """What the other shards last said; a governor reads it, whoever reads the control topic fills it."""

    loads: list[ShardLoad] = field(default_factory=list[ShardLoad])
    ready: int = 0
    """Shards that take calls, this one among them."""

    def __call__(self) -> Sequence[ShardLoad]:
        """Return their loads."""
        return self.loads


class Leading:
    """One shard's part in sharing the load.

    Args:
        name: Of the shard.
        governor: Of the shard.
        others: Told what the other shards say.
    """

    def __init__(self, name: str, governor: Governor, others: Others) -> None:
        self._name = name
        self._governor = governor
        self._others = others
        self._mover = Mover[int](BETWEEN_SHARDS)
        self._looked_at = float("-inf")

    def load(self) -> ShardLoad | None:
        """Return how this shard fares, from the promised rung on; None before it was measured."""
        return self._governor.told

    def moves(self, view: ControlView, *, now: float) -> Iterable[tuple[int, str]]:
        """Return slots to be moved, each with the shard that is to have it."""
        if now - self._looked_at < 1.0:
            return ()
        self._looked_at = now
        living = _living(view, now)
        usual = min((_each(member) for member in living if _each(member)), default=0.0)
        moves = self._mover.tick([_place(member, usual) for member in living], now)
        for move in moves:
            log.info("slot.move", slot=move.item, origin=move.origin, target=move.target, reason=move.reason)
        return [(move.item, move.target) for move in moves]

    def hear(self, view: ControlView, *, now: float) -> None:
        """Take what the other shards say; to be told once a second, leading or not."""
        living = [member.heartbeat for member in _living(view, now)]
        self._others.loads = [_load(said, now) for said in living if said.owner != self._name]
        self._others.ready = sum(not said.draining and bool(said.slots) for said in living)


def _living(view: ControlView, now: float) -> list[Member]:
    return [member for name, member in sorted(view.members.items()) if view.alive(name, now=now)]


def _load(said: Heartbeat, now: float) -> ShardLoad:
    return ShardLoad(
        name=said.owner,
        calls=said.calls,
        room=said.room if said.room is not None else 0,
        rung=said.rung,
        utilisation=(said.load,),
        wait_s=said.wait_s,
        draining=said.draining,
        seen_at=now,
    )


def _each(member: Member) -> float:
    """Return the load of one of a shard's busy slots."""
    return member.heartbeat.load / max(1, len(member.heartbeat.busy))


def _place(member: Member, usual: float) -> Place[int]:
    """A shard as the mover sees it; what drains is emptied by the coordinator itself, and only takes nothing here.

    Args:
        member: The shard.
        usual: Load of a slot where it is least: what one costs a slow device it does not cost the next.
    """
    said = member.heartbeat
    each = min(_each(member), usual)
    return Place(
        name=said.owner,
        utilisation=said.load,
        items=() if said.draining else tuple(Item(slot, each) for slot in said.busy),
        hot=said.rung > 0,
        takes=not said.draining and said.room != 0,
    )
