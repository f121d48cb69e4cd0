"""What windows cost on the devices of a pool, learned from their batches: for whoever decides about load.

A device's own cost model knows buckets; from outside a batch's model, size, longest window and time are seen. Its
time is taken to grow with the audio in it, each window as long as the longest. By the number of windows alone, short
partials that come together and long finals that come alone look as if a larger batch cost nothing more, and there seems
to be more room than there is. Costs before the first batch come from a profile, or from the dearest model seen so far:
of a model that never ran, nothing good is assumed. The profile counts again for a model that has not run for a while:
it was left because it cost too much just then, and would be taken to cost that for ever.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Final

from gpu.cost import Cost, CostModel
from gpu.spec import DeviceSpec

__all__ = ["CostBook"]

BATCH_S: Final = 1.0
"""Seconds a batch may take: a longer one keeps finals waiting, however much it gets done."""

UNKNOWN_S: Final = 0.1
"""Seconds of a window before any is known: a small model on two processor cores, so that few calls are taken until more
is known."""

STALE_S: Final = 20.0
"""Seconds of others' batches after which what a model was seen to cost gives way to what it was measured to cost."""

TICKS_PER_S: Final = 10

FRAMES_PER_S: Final = 100
"""Of a mel spectrogram."""


class CostBook:
    """Costs of one pool.

    Args:
        specs: Its devices; those of one pool are taken to be alike.
    """

    def __init__(self, specs: Sequence[DeviceSpec]) -> None:
        self._streams = specs[0].streams
        self._max_batch = specs[0].max_batch
        self._measured = CostModel(_blended(specs[0].profile))
        self._costs = CostModel(_blended(specs[0].profile))
        self._profiled = frozenset(cost.model for cost in specs[0].profile)
        self._known = set(self._profiled)
        self._seen_at: dict[tuple[str, int], float] = {}
        self._newest_at = 0.0

    def observe(self, model: str, beam: int, size: int, *, longest_s: float, seconds: float, now: float) -> None:
        """Learn from a batch.

        Args:
            model: That decoded it.
            beam: Of the rung in force.
            size: Windows in it.
            longest_s: Seconds of audio in the longest of them.
            seconds: It took.
            now: Monotonic seconds.
        """
        self._known.add(model)
        self._seen_at[model, beam] = self._newest_at = now
        self._costs.observe((model, beam), size * _ticks(longest_s), seconds, now)

    def window_s(self, model: str, beam: int, seconds: float) -> float:
        """Seconds of a whole device that a window of so much audio takes in a full batch of such."""
        if model in self._known:
            return self._each_s(model, beam, seconds)
        return max((self._each_s(known, beam, seconds) for known in self._known), default=UNKNOWN_S)

    def _each_s(self, model: str, beam: int, seconds: float) -> float:
        ticks, costs = _ticks(seconds), self._believed(model, beam)
        fits = costs.largest_within((model, beam), BATCH_S)
        size = max(1, self._max_batch if fits is None else min(fits // ticks, self._max_batch))
        return costs.predict((model, beam), size * ticks) / size / self._streams

    def _believed(self, model: str, beam: int) -> CostModel:
        stale = self._newest_at - self._seen_at.get((model, beam), self._newest_at) > STALE_S
        return self._measured if stale and beam == 1 and model in self._profiled else self._costs


def _ticks(seconds: float) -> int:
    """Return what the size of a batch is counted in: tenths of a second of audio."""
    return max(1, math.ceil(seconds * TICKS_PER_S))


def _blended(profile: Iterable[Cost]) -> list[Cost]:
    """One line for each model, of all its buckets, over the audio in a batch and under a greedy beam's key."""
    by_model: dict[str, list[Cost]] = {}
    for cost in profile:
        by_model.setdefault(cost.model, []).append(cost)
    return [
        Cost(model, "1", fmean(cost.fixed_s for cost in costs), fmean(cost.each_s / _length(cost) for cost in costs))
        for model, costs in by_model.items()
    ]


def _length(cost: Cost) -> int:
    """Return how long the windows of a bucket are padded to; ``gpu.engine.Bucket`` puts their frames first."""
    frames, _, _ = cost.bucket.partition("+")
    return _ticks(int(frames) / FRAMES_PER_S)
