"""What windows cost on the devices of a pool, learned from their batches: for whoever decides about load.

A device's own cost model knows buckets; from outside only a batch's model, size and time are seen, and that is enough
to say what a window of a model takes in a full batch. Costs before the first batch come from a profile, or from the
dearest model seen so far: of a model that never ran, nothing good is assumed.
"""

from __future__ import annotations

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


class CostBook:
    """Costs of one pool.

    Args:
        specs: Its devices; those of one pool are taken to be alike.
    """

    def __init__(self, specs: Sequence[DeviceSpec]) -> None:
        self._streams = specs[0].streams
        self._max_batch = specs[0].max_batch
        self._costs = CostModel(_blended(specs[0].profile))
        self._known = {cost.model for cost in specs[0].profile}

    def observe(self, model: str, beam: int, size: int, seconds: float, now: float) -> None:
        """Learn from a batch.

        Args:
            model: That decoded it.
            beam: Of the rung in force.
            size: Windows in it.
            seconds: It took.
            now: Monotonic seconds.
        """
        self._known.add(model)
        self._costs.observe((model, beam), size, seconds, now)

    def window_s(self, model: str, beam: int) -> float:
        """Seconds of a whole device that a window takes in a full batch."""
        if model in self._known:
            return self._each_s(model, beam)
        return max((self._each_s(known, beam) for known in self._known), default=UNKNOWN_S)

    def _each_s(self, model: str, beam: int) -> float:
        fits = self._costs.largest_within((model, beam), BATCH_S)
        size = max(1, self._max_batch if fits is None else min(fits, self._max_batch))
        return self._costs.predict((model, beam), size) / size / self._streams


def _blended(profile: Iterable[Cost]) -> list[Cost]:
    """One line for each model, of all its buckets, under a greedy beam's key."""
    by_model: dict[str, list[Cost]] = {}
    for cost in profile:
        by_model.setdefault(cost.model, []).append(cost)
    return [
        Cost(model, "1", fmean(cost.fixed_s for cost in costs), fmean(cost.each_s for cost in costs))
        for model, costs in by_model.items()
    ]
