"""What is known about devices from outside: for probes, metrics and whoever decides about load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gpu.batcher import Load, Why
from gpu.cost import Timing
from gpu.memory import Memory
from gpu.wire import FaultKind
from streaming.decoding import Hypothesis
from streaming.ladder import Rung

__all__ = ["DeviceState", "DeviceStatus", "PoolObserver", "PoolStatus", "Unobserved"]


class DeviceState(StrEnum):
    """Where a device is in its life."""

    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"
    """It takes no more jobs and finishes those it has."""
    DOWN = "down"
    """Dead; the next one starts after a pause, or when it is resumed."""


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """What is known about one device, for probes and metrics."""

    name: str
    state: DeviceState
    models: tuple[str, ...]
    pid: int | None
    restarts: int
    jobs: int
    """Handed to it and not answered yet."""
    load: Load | None
    """Its last report; None before the first."""
    silent_s: float
    """Seconds since that report; 0 before the first."""
    held: bool
    """Whether it gets no jobs because somebody said so."""
    memory: Memory | None
    """As it last said; None where nothing reads it."""
    load_s: float | None
    """Seconds its models took to load and warm up; None before they were."""
    drifting: bool
    """Whether it is no longer as fast as its profile."""
    deaths: int
    """Times its process took jobs and ended over a fault, of whatever kind."""
    faults: Mapping[FaultKind, int]
    problem: str
    """The last fault in words, or empty."""


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """What is known about all devices."""

    devices: tuple[DeviceStatus, ...]
    stranded: int
    """Jobs that wait for a device to be ready."""
    rung: Rung

    @property
    def ready(self) -> bool:
        """Whether any device takes jobs."""
        return any(device.state is DeviceState.READY for device in self.devices)


class PoolObserver(Protocol):
    """Hears what the devices do, for metrics."""

    def batch_done(
        self, device: str, model: str, beam: int, hypotheses: Sequence[Hypothesis], longest_s: float
    ) -> None:
        """A batch was decoded.

        Args:
            device: Name of who decoded it.
            model: That did.
            beam: The widest of its windows'.
            hypotheses: They say how long each job waited and how long the batch took.
            longest_s: Seconds of audio in the longest window.
        """
        ...

    def device_timed(self, device: str, timings: Sequence[Timing]) -> None:
        """A device is about to take jobs, and batches took so long in its warm-up."""
        ...

    def job_undone(self, device: str, why: Why) -> None:
        """A job left a device's queue without being decoded."""
        ...

    def device_fault(self, device: str, kind: FaultKind) -> None:
        """Something went wrong on a device."""
        ...

    def device_state(self, device: str, state: DeviceState) -> None:
        """A device came or went."""
        ...


class Unobserved:
    """An observer that does not listen."""

    def batch_done(
        self, device: str, model: str, beam: int, hypotheses: Sequence[Hypothesis], longest_s: float
    ) -> None:
        """Ignore it."""

    def device_timed(self, device: str, timings: Sequence[Timing]) -> None:
        """Ignore it."""

    def job_undone(self, device: str, why: Why) -> None:
        """Ignore it."""

    def device_fault(self, device: str, kind: FaultKind) -> None:
        """Ignore it."""

    def device_state(self, device: str, state: DeviceState) -> None:
        """Ignore it."""
