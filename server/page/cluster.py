"""What a gateway of a cluster knows of the load: what the shards say of themselves, and who owns the slots."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from server.page.load import Happening, Sample, ShardLoad
from streaming.control import ControlView, Member


class ClusterSampler:
    """Looks at the shards, once per period of the load feed.

    Args:
        view: What the control and load topics add up to.
        clock: Monotonic seconds, those of the view.
        wall_clock: Unix seconds.
    """

    def __init__(
        self, view: ControlView, clock: Callable[[], float], wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._view = view
        self._clock = clock
        self._wall_clock = wall_clock
        self._owners: dict[int, str] = {}
        self._alive: set[str] = set()

    def __call__(self) -> Sample:
        """Look."""
        now = self._clock()
        alive = {name: member for name, member in sorted(self._view.members.items()) if self._view.alive(name, now=now)}
        told = (*self._came_and_went(set(alive)), *self._moved())
        return Sample(tuple(_load(name, member) for name, member in alive.items()), told)

    def _came_and_went(self, alive: set[str]) -> list[Happening]:
        changed = [(name, "serves") for name in sorted(alive - self._alive)]
        changed += [(name, "is gone") for name in sorted(self._alive - alive)]
        self._alive = alive
        return [self._happening("shard", name, text) for name, text in changed]

    def _moved(self) -> list[Happening]:
        owners = {slot: placement.owner for slot, placement in self._view.placements.items()}
        moves = Counter(
            (before, owner)
            for slot, owner in owners.items()
            if (before := self._owners.get(slot)) is not None and before != owner
        )
        self._owners = owners
        return [
            self._happening("move", owner, f"takes {count} {'slot' if count == 1 else 'slots'} of {before}")
            for (before, owner), count in sorted(moves.items())
        ]

    def _happening(self, what: str, where: str, text: str) -> Happening:
        return Happening(at=self._wall_clock(), what=what, where=where, text=text)


def _load(name: str, member: Member) -> ShardLoad:
    said = member.heartbeat
    return ShardLoad(name=name, calls=said.calls, slots=len(said.slots), load=said.load, draining=said.draining)
