"""Whether a call may come in, and to which shard: decided at once, from what shards last said."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from scaler.policy.ladder import MODEL_DOWN
from scaler.policy.load import ShardLoad

__all__ = ["FULL", "AdmissionPolicy", "Placed", "Refused", "at_once", "room", "unless_behind"]

FULL: Final = 0.92
"""Utilisation at the last rung up to which calls are taken."""

KNOWN_CALLS: Final = 5
"""Calls whose load counts as much as what was expected of one."""

WARY: Final = 2.0
"""How many times more than expected a few calls are at once believed to need."""

JOIN_SHARE: Final = 0.25
"""Of a shard's calls that may be new: more could ask for more than was foreseen before anybody sees it."""

FEW_CALLS: Final = 4
"""New calls that are taken in any case, if there is room: fewer where it was measured that so many might not fit."""

SURE: Final = 1.25
"""How many times more than expected a few calls are believed to need where it was measured what windows cost: people
who all speak at once, without a pause."""

FRESH_S: Final = 3.0
"""Age up to which what a shard said is believed."""

RETRY_S: Final = 5.0
"""What refused callers are told, in seconds, if no shard is about to start."""

LONGEST_RETRY_S: Final = 30.0
"""The most they are told."""

JITTER: Final = (0.8, 1.2)
"""Factors on it, so that not all come back at once."""


def at_once(used: float, expected: float) -> int:
    """How many calls may be new at a time so that all of them surely fit, and nothing has to be stepped down for them.

    Args:
        used: Utilisation at the promised rung.
        expected: Utilisation there that a call is expected to cause, by what windows were measured to cost; above 0.
    """
    return max(0, int((FULL - used) / (SURE * expected)))


def room(last: float, settled: int, young: int, expected: float, *, sure: int | None = None) -> int:
    """How many further calls a shard can take; an empty one takes one, whatever is expected of it.

    Args:
        last: Its utilisation at the last rung.
        settled: Calls whose load is seen in that.
        young: Calls that came so lately that it is not.
        expected: Utilisation at the last rung that a call is expected to cause, before any is known; above 0.
        sure: What ``at_once`` says; None where it was not measured what windows cost.
    """
    each = (expected * KNOWN_CALLS + last) / (KNOWN_CALLS + settled)
    if settled:  # the young are in ``last``, too, as far as they are seen: this much may be wrong, but not more
        each = max(each, min(last / settled, WARY * expected))
    spare = FULL - max(last, each * (settled + young))
    few = FEW_CALLS if sure is None else min(FEW_CALLS, int((1.0 - last) / (SURE * each)))  # dear ones may not fit
    newcomers = max(few, sure or 0)
    if settled or sure is None:
        newcomers = max(newcomers, int(JOIN_SHARE * FULL / each))
    least = 0 if settled or young else 1
    return max(least, min(int(spare / each), newcomers - young))


def unless_behind(load: ShardLoad) -> ShardLoad:
    """Leave no room in a shard that is behind, whatever it should be able to do: finals come late or wait.

    One whose last call has ended is not behind for how late that call's finals were: of a recording that came faster
    than it was said, all are.
    """
    behind = MODEL_DOWN.passed(load, 0.0, p95_known=load.calls > 0)
    return replace(load, room=0) if behind else load


@dataclass(frozen=True, slots=True)
class Placed:
    """The call goes to this shard."""

    shard: str


@dataclass(frozen=True, slots=True)
class Refused:
    """There is no room now."""

    retry_after_s: float
    reason: str
    """In words, for people."""


class AdmissionPolicy:
    """Places calls for one gateway.

    Args:
        rng: Chooses between shards; two gateways must not choose alike.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._placed: list[tuple[float, str]] = []

    def decide(self, shards: Sequence[ShardLoad], now: float, *, next_shard_s: float | None = None) -> Placed | Refused:
        """Find a place for one more call, and count it there.

        Args:
            shards: What each last said.
            now: Monotonic seconds.
            next_shard_s: Seconds until another shard is ready; None if none is on its way.
        """
        self._placed = [(at, shard) for at, shard in self._placed if now - at <= FRESH_S]
        heard = [shard for shard in shards if now - shard.seen_at <= FRESH_S]
        unseen = self._unseen(heard)
        open_to = [shard for shard in heard if not shard.draining and shard.room > unseen[shard.name]]
        if not open_to:
            reason = "all shards are full" if heard else "no shard has been heard of lately"
            return Refused(self._retry_s(next_shard_s), reason)
        chosen = min(self._two(open_to), key=lambda shard: (shard.used, shard.name))
        self._placed.append((now, chosen.name))
        return Placed(chosen.name)

    def _unseen(self, shards: Sequence[ShardLoad]) -> Counter[str]:
        """Calls placed since each shard said what room it has."""
        said_at = {shard.name: shard.seen_at for shard in shards}
        return Counter(shard for at, shard in self._placed if shard in said_at and at >= said_at[shard])

    def _two(self, shards: Sequence[ShardLoad]) -> list[ShardLoad]:
        """Two of them at random, those with much to spare more often: a herd would fill the emptiest at once."""
        weights = [max(0.01, 1 - shard.used) for shard in shards]
        return self._rng.choices(shards, weights, k=2)

    def _retry_s(self, next_shard_s: float | None) -> float:
        hint_s = RETRY_S if next_shard_s is None else min(max(next_shard_s, 1.0), LONGEST_RETRY_S)
        return hint_s * self._rng.uniform(*JITTER)
