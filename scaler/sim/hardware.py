"""What batches take on a machine: measured for a processor, modelled for GPUs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

__all__ = ["A10G", "GPUS", "H200", "L4", "Hardware"]

STEP_FRAMES: Final = 100
"""Windows of modelled devices are told apart by whole seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Hardware:
    """One device."""

    name: str
    provenance: str
    """Where its numbers come from; whoever prints them prints this, too."""
    streams: int
    """Batches at a time."""
    max_batch: int
    lines: Mapping[str, tuple[tuple[int, float, float], ...]]
    """By model: frames, fixed seconds of a batch, seconds of each window more; by frames, ascending."""

    def frames(self, model: str, seconds: float) -> int:
        """The length that a window is rounded up to; the longest there is for one that is longer."""
        known = _lengths(self, model)
        return known[min(bisect_left(known, round(seconds * 100)), len(known) - 1)]

    def seconds(self, model: str, frames: int, size: int) -> float:
        """What a batch takes while all streams are busy."""
        fixed_s, each_s = _costs(self, model)[frames]
        return fixed_s + each_s * size


@cache
def _costs(hardware: Hardware, model: str) -> Mapping[int, tuple[float, float]]:
    return {frames: (fixed_s, each_s) for frames, fixed_s, each_s in hardware.lines[model]}


@cache
def _lengths(hardware: Hardware, model: str) -> tuple[int, ...]:
    return tuple(_costs(hardware, model))


def _modelled(name: str, lines: Mapping[str, tuple[float, float]]) -> Hardware:
    """A GPU of which a batch of one and of 32 windows of 6 s are modelled, in milliseconds."""
    by_model: dict[str, tuple[tuple[int, float, float], ...]] = {}
    for model, (one_ms, many_ms) in lines.items():
        each_s = (many_ms - one_ms) / 31 / 1000
        fixed_s = one_ms / 1000 - each_s
        # Decoding costs by the words, which grow with the window as the encoder's frames do; some of it does not.
        shares = {frames: 0.25 + 0.75 * (frames + 128) / 728 for frames in range(STEP_FRAMES, 1600, STEP_FRAMES)}
        by_model[model] = tuple((frames, fixed_s, each_s * share) for frames, share in shares.items())
    provenance = "MODELLED: roofline of PyTorch with CUDA graphs, greedy, 28 steps; never measured"
    return Hardware(name, provenance, streams=1, max_batch=64, lines=by_model)


A10G: Final = _modelled(
    "A10G", {"tiny": (8, 18), "base": (11, 39), "small": (26, 142), "turbo": (42, 572), "large": (152, 885)}
)
H200: Final = _modelled(
    "H200", {"tiny": (8, 8.5), "base": (11, 12), "small": (20, 26), "turbo": (9, 48), "large": (50, 94)}
)
L4: Final = _modelled(
    "L4", {"tiny": (10, 28), "base": (17, 56), "small": (49, 188), "turbo": (66, 542), "large": (282, 1086)}
)
GPUS: Final = {each.name: each for each in (A10G, H200, L4)}
