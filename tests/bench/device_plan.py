"""What the device bench measures on a processor and on a GPU: models, shapes, sizes, pairs of models for channels."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.bench.device_costs import Timing

LENGTHS_S: Final = (2.0, 5.0, 9.0)
BEAM: Final = 5
RANDOM: Final = " (random)"
"""Marks names of shapes whose weights are random."""

ON_CPU: Final = Timing(windows=16, rounds=2, warm_ups=1, warm_windows=1, by_processor=True)
ON_GPU: Final = Timing(windows=512, rounds=4, warm_ups=2, warm_windows=512, by_processor=False)
BUDGETS_S: Final = {"costs": 90.0, "words": 40.0, "channels": 60.0, "held": 720.0}
"""All but the last far within five minutes together: machines are slower than ours, and shared."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured on a kind of device."""

    device: str
    compute_type: str
    engines: tuple[str, ...]
    models: tuple[str, ...]
    """With real weights, the smallest first."""
    shapes: tuple[str, ...]
    """With random weights."""
    pairs: tuple[tuple[str, str], ...]
    """Models of partials and finals whose channels are counted."""
    batches: tuple[int, ...]
    streams: tuple[int, ...]
    """To choose from; the best is used for all else."""
    timing: Timing
    hold_s: float
    """Seconds that each number of channels is held for real."""
    budgets_s: Mapping[str, float]
    """Seconds that parts may take, by name, on a quiet machine of two cores; none where there is no saying."""

    @property
    def usual_batch(self) -> int:
        """The size at which numbers of streams are compared and words are counted."""
        return self.batches[len(self.batches) // 2]

    @property
    def all_models(self) -> tuple[str, ...]:
        """Names of all that is loaded."""
        return (*self.models, *(shape + RANDOM for shape in self.shapes))

    @property
    def alone(self) -> str:
        """Ends the names of tables of PyTorch without CTranslate2 beside it, which are others."""
        return "-torch" if self.engines == ("torch",) else ""

    def streams_of(self, engine: str) -> tuple[int, ...]:
        """Numbers of streams to compare; on a processor PyTorch has one thread that decodes, whoever calls it."""
        return (1,) if engine == "torch" and not self.device.startswith("cuda") else self.streams


def plan_of(device: str, models: str = "", engines: str = "", shapes: str = "", hold_s: float = 0.0) -> Plan:
    """Make the plan for a device.

    Args:
        device: ``cpu``, or ``cuda:`` and a number.
        models: Names with commas; empty for those that package registries have.
        engines: The same; empty for all that are installed, on a processor for CTranslate2.
        shapes: The same; empty for those that are too large for a processor, on a GPU.
        hold_s: Seconds; 0 for the usual ones.
    """
    on_gpu = device.startswith("cuda")
    found = ("whisper", "torch") if on_gpu and importlib.util.find_spec("torch") else ("whisper",)
    usual_shapes = ("small", "medium", "large-v3", "large-v3-turbo", "small-128") if on_gpu else ()
    chosen = tuple(models.split(",")) if models else ("tiny.en", "base")
    random = tuple(shapes.split(",")) if shapes else usual_shapes
    pairs = [(chosen[0], chosen[0]), (chosen[0], chosen[-1])]
    if {"small-128", "large-v3-turbo"} <= set(random):  # both take 128 mel bands
        pairs += [(f"{name}{RANDOM}", f"large-v3-turbo{RANDOM}") for name in ("small-128", "large-v3-turbo")]
    return Plan(
        device=device,
        compute_type="float16" if on_gpu else "int8",
        engines=tuple(engines.split(",")) if engines else found,
        models=chosen,
        shapes=random,
        pairs=tuple(dict.fromkeys(pairs)),
        batches=(1, 4, 16, 64, 128) if on_gpu else (1, 4, 8),
        streams=(1, 2, 3, 4) if on_gpu else tuple(range(1, len(os.sched_getaffinity(0)) + 1)),
        timing=ON_GPU if on_gpu else ON_CPU,
        hold_s=hold_s or 24.0,
        budgets_s={} if on_gpu else BUDGETS_S,
    )
