"""What a device process is told when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gpu.cost import Cost

__all__ = ["DeviceSpec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """One device: a GPU, or a group of threads of the processor."""

    name: str
    """Unique in a pool; for people, logs and metrics."""
    models: tuple[str, ...]
    """Names or folders of the models it holds, all of them loaded and warm before it is ready."""
    engine: str = "whisper"
    """``whisper``, ``torch``, ``scripted``, or ``module:function`` of an engine of your own."""
    device: str = "cpu"
    """``cpu`` or ``cuda:0``."""
    front_end: str = "host"
    """Who makes features: ``host``, where windows carry them, or ``numpy``, ``torch`` or ``dali`` on this device, where
    they carry audio."""
    compute_type: str = "int8"
    """Arithmetic of the engine, as CTranslate2 names it."""
    streams: int = 2
    """Batches that run at a time; at least 1."""
    max_batch: int = 16
    """Most windows of a batch; at least 1."""
    stuck_after_s: float = 5.0
    """Least seconds a batch is given before it counts as stuck; five times its prediction where that is more."""
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict[str, str | int | float | bool])
    """What else the engine's constructor takes."""
    decodes: tuple[tuple[str, int], ...] = ()
    """Model and beam of the windows it will be given, each pair once: their batches are timed before it is ready."""
    profile: tuple[Cost, ...] = ()
    """Costs measured earlier."""
