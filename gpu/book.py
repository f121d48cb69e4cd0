"""What windows cost on the devices of a pool, learned from their batches: for whoever decides about load.

A device's own cost model knows buckets; from outside a batch's model, beam, size, longest window and time are seen. Its
time is taken to grow with the audio in it, each window as long as the longest. By the number of windows alone, short
partials that come together and long finals that come alone look as if a larger batch cost nothing more, and there seems
to be more room than there is. Costs before the first batch come from the devices' warm-up, from a profile, or from the
dearest model seen so far: of a model that never ran, nothing good is assumed. What was measured counts again, if it was
less, for a model or beam that has not run for a while: it was left because it cost too much just then, and would be
taken to cost that for ever. When it runs again, it is learned anew from there.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Final

from gpu.cost import Cost, CostModel, Timing
from gpu.spec import DeviceSpec

__all__ = ["CostBook"]

BATCH_S: Final = 1.0
"""Seconds a batch may take: a longer one keeps finals waiting, however much it gets done."""

UNKNOWN_S: Final = 0.1
"""Seconds of a window before any is known: a small model on two processor cores, so that few calls are taken until more
is known."""

STALE_S: Final = 20.0
"""Seconds of others' batches after which what windows were seen to cost gives way to what they were measured to, where
that is less."""

TICKS_PER_S: Final = 10

FRAMES_PER_S: Final = 100
"""Of a mel spectrogram."""

_Lane = tuple[str, int]
"""A model and a beam."""


class CostBook:
    """Costs of one pool.

    Args:
        specs: Its devices; those of one pool are taken to be alike.
    """

    def __init__(self, specs: Sequence[DeviceSpec]) -> None:
        self._streams = specs[0].streams
        self._max_batch = specs[0].max_batch
        self._decodes = specs[0].decodes
        self._measured = CostModel(_blended(specs[0].profile))
        self._seen = CostModel(_blended(specs[0].profile))
        self._measured_lanes: set[_Lane] = {(cost.model, cost.beam) for cost in specs[0].profile}
        self._timings: defaultdict[_Lane, list[Timing]] = defaultdict(list)
        self._seen_at: dict[_Lane, float] = {}
        self._newest_at = 0.0

    def observe(self, model: str, beam: int, size: int, *, longest_s: float, seconds: float, now: float) -> None:
        """Learn from a batch.

        Args:
            model: That decoded it.
            beam: The widest of its windows'.
            size: Windows in it.
            longest_s: Seconds of audio in the longest of them.
            seconds: It took.
            now: Monotonic seconds.
        """
        lane, ticks = (model, beam), _ticks(longest_s)
        if self._believed(lane, ticks) is self._measured:
            self._seen.forget(lane)
            self._take_in(self._seen, self._timings.get(lane, ()), now)
        self._seen_at[lane] = self._newest_at = now
        self._seen.observe(lane, size * ticks, seconds, now)

    def learn(self, timings: Iterable[Timing], now: float) -> None:
        """Learn from a device's warm-up what is not known yet: a device that starts again changes nothing.

        Args:
            timings: Of its batches.
            now: Monotonic seconds.
        """
        known = self._measured_lanes | self._seen_at.keys()
        for timing in timings:
            lane = timing.model, timing.beam
            if lane not in known:
                self._measured_lanes.add(lane)
                self._timings[lane].append(timing)
                for costs in (self._measured, self._seen):
                    self._take_in(costs, (timing,), now)

    @property
    def measured(self) -> bool:
        """Whether the cost of all that the devices will decode was measured, so that nothing has to be assumed."""
        return bool(self._decodes) and self._measured_lanes.issuperset(self._decodes)

    def window_s(self, model: str, beam: int, seconds: float) -> float:
        """Seconds of a whole device that a window of so much audio takes in a full batch of such."""
        lane, known = (model, beam), self._measured_lanes | self._seen_at.keys()
        lanes = {lane} & known or {each for each in known if each[0] == model} or known
        return max((self._each_s(each, seconds) for each in lanes), default=UNKNOWN_S)

    def _each_s(self, lane: _Lane, seconds: float) -> float:
        ticks = _ticks(seconds)
        return self._share_s(self._believed(lane, ticks), lane, ticks)

    def _believed(self, lane: _Lane, ticks: int) -> CostModel:
        stale = self._newest_at - self._seen_at.get(lane, self._newest_at) > STALE_S
        if not stale or lane not in self._measured_lanes:
            return self._seen
        return min(self._seen, self._measured, key=lambda costs: self._share_s(costs, lane, ticks))

    def _share_s(self, costs: CostModel, lane: _Lane, ticks: int) -> float:
        """Seconds of a whole device that a window takes in a full batch of such."""
        fits = costs.largest_within(lane, BATCH_S)
        size = max(1, self._max_batch if fits is None else min(fits // ticks, self._max_batch))
        return costs.predict(lane, size * ticks) / size / self._streams

    @staticmethod
    def _take_in(costs: CostModel, timings: Iterable[Timing], now: float) -> None:
        for timing in timings:
            lane = timing.model, timing.beam
            costs.observe(lane, timing.size * _ticks(timing.audio_s), timing.took_s, now)


def _ticks(seconds: float) -> int:
    """Return what the size of a batch is counted in: tenths of a second of audio."""
    return max(1, math.ceil(seconds * TICKS_PER_S))


def _blended(profile: Iterable[Cost]) -> list[Cost]:
    """One line for each model and beam, of all its buckets, over the audio in a batch."""
    by_lane: dict[_Lane, list[Cost]] = {}
    for cost in profile:
        by_lane.setdefault((cost.model, cost.beam), []).append(cost)
    return [
        Cost(
            model,
            str(beam),
            fmean(cost.fixed_s for cost in costs),
            fmean(cost.each_s / _ticks(cost.frames / FRAMES_PER_S) for cost in costs),
        )
        for (model, beam), costs in by_lane.items()
    ]
