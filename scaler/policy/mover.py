"""What moves from a loaded place to one with room: calls between the devices of a shard, slots between shards.

Few at a time, and then a pause until the effect is seen: what was moved lately counts at its new place already, though
its load is not measured there yet. Nothing moves twice within half a minute.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from scaler.policy.load import P95_WINDOW_S, YOUNG_S

__all__ = ["BETWEEN_DEVICES", "BETWEEN_SHARDS", "REST_S", "Item", "Manner", "Move", "Mover", "Place"]

REST_S: Final = 30.0
"""Seconds before something that was moved may be moved again, unless its place is closing."""

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How readily things are moved."""

    shed_from: float = 0.85
    """Utilisation from which a place gives something away."""
    take_below: float = 0.7
    """Utilisation below which, with what it takes, a place may take something."""
    gap: float = 0.15
    """Least difference between the two, so that moving makes things better."""
    even_out: float = 0.3
    """Difference from which a place gives though it is not loaded: nothing should stand idle beside something busy."""
    share: float = 0.1
    """Of what a place holds that goes in one tick, at least one."""
    leaving_share: float = 0.2
    """The same for a place that closes."""
    pause_s: float = P95_WINDOW_S
    """Seconds after a move from a place before it gives something again, unless it closes."""


BETWEEN_DEVICES: Final = Manner(leaving_share=1.0)
"""A call changes its device without anybody noticing: from one that closes all go at once."""

BETWEEN_SHARDS: Final = Manner()
"""A slot that changes its shard is replayed there: a fifth of a shard that drains goes in each tick."""


@dataclass(frozen=True, slots=True)
class Item(Generic[Name]):
    """What can be moved."""

    name: Name
    load: float
    """Utilisation that it causes where it is, or, if that is less, where it may go."""
    cost: float = 0.0
    """What moving it costs, such as seconds of audio that are not final yet; the cheapest go first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place(Generic[Name]):
    """Where things are."""

    name: str
    utilisation: float
    """At the promised rung: quality is what is evened out."""
    items: tuple[Item[Name], ...]
    hot: bool = False
    """Whether it has to give whatever its utilisation is: it is below the promised rung."""
    takes: bool = True
    """Whether it may be given anything."""
    leaving: bool = False
    """Whether it closes and is to be emptied; then it takes nothing."""


@dataclass(frozen=True, slots=True)
class Move(Generic[Name]):
    """One thing goes from one place to another."""

    item: Name
    origin: str
    target: str
    reason: str
    """In words, for people."""


@dataclass(frozen=True, slots=True)
class _Arrival:
    target: str
    load: float
    at: float


class Mover(Generic[Name]):
    """Proposes moves, once a second.

    Args:
        manner: How readily.
    """

    def __init__(self, manner: Manner) -> None:
        self._manner = manner
        self._moved: dict[Name, _Arrival] = {}
        self._gave_at: dict[str, float] = {}

    def tick(self, places: Sequence[Place[Name]], now: float) -> list[Move[Name]]:
        """Return what should move now.

        Args:
            places: All of them; an item is at one of them only.
            now: Monotonic seconds.
        """
        self._forget(places, now)
        sums = {place.name: place.utilisation + self._unseen(place, now) for place in places}
        takers = [place.name for place in places if place.takes and not place.leaving]
        moves: list[Move[Name]] = []
        for place in sorted(places, key=lambda each: (not each.leaving, -sums[each.name], each.name)):
            moves += self._from(place, takers, sums, now)
        return moves

    def _from(self, place: Place[Name], takers: Sequence[str], sums: dict[str, float], now: float) -> list[Move[Name]]:
        manner = self._manner
        others = [name for name in takers if name != place.name]
        rests = now - self._gave_at.get(place.name, -math.inf) < manner.pause_s
        if not others or not place.items or (rests and not place.leaving):
            return []
        if not place.leaving and sums[place.name] - min(map(sums.__getitem__, others)) < min(
            manner.gap, manner.even_out
        ):
            return []
        share = manner.leaving_share if place.leaving else manner.share
        moves: list[Move[Name]] = []
        for item in self._movable(place, now)[: max(1, math.ceil(share * len(place.items)))]:
            target = min(others, key=lambda name: (sums[name], name))
            reason = self._why(place, target, item, sums)
            if not reason:
                continue
            sums[place.name] -= item.load
            sums[target] += item.load
            self._moved[item.name] = _Arrival(target, item.load, now)
            self._gave_at[place.name] = now
            moves.append(Move(item.name, place.name, target, reason))
        return moves

    def _why(self, place: Place[Name], target: str, item: Item[Name], sums: dict[str, float]) -> str:
        """Say why an item should go there; empty if it should stay."""
        manner = self._manner
        here, there = sums[place.name], sums[target]
        if place.leaving:
            return f"{place.name} is closing"
        after = there + item.load
        if here - item.load < after:  # what is handed to and fro helps nobody
            return ""
        pressed = place.hot or here > manner.shed_from
        if pressed and here - there >= manner.gap and after < manner.take_below:
            return f"{place.name} is asked for {here:.0%} of what it can do, {target} for {there:.0%}"
        if here - there >= manner.even_out and after < manner.take_below:
            return f"{target} has little to do: {there:.0%} against {here:.0%}"
        return ""

    def _movable(self, place: Place[Name], now: float) -> list[Item[Name]]:
        """The items that may go, cheapest first."""
        free = [
            item
            for item in place.items
            if place.leaving or item.name not in self._moved or now - self._moved[item.name].at >= REST_S
        ]
        return sorted(free, key=lambda item: item.cost)

    def _unseen(self, place: Place[Name], now: float) -> float:
        """What came lately is not in the measurements yet."""
        return sum(
            move.load for move in self._moved.values() if move.target == place.name and now - move.at < P95_WINDOW_S
        )

    def _forget(self, places: Iterable[Place[Name]], now: float) -> None:
        there = {item.name for place in places for item in place.items}
        for name, move in list(self._moved.items()):
            if name not in there or now - move.at >= YOUNG_S + REST_S:
                del self._moved[name]
