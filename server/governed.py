"""Devices as their governor sees them, and what it decided as metrics: put together here, for it knows no ``gpu``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from gpu.batcher import Why
from gpu.book import CostBook
from gpu.cost import Timing
from gpu.pool import DevicePool
from gpu.spec import DeviceSpec
from gpu.status import DeviceState
from gpu.wire import FaultKind
from scaler.governor import Governor
from scaler.policy.health import Act, DeviceSigns, Verdict
from server.metrics import Metrics
from server.observers import DeviceObserver
from streaming.decoding import Hypothesis
from streaming.ladder import Ladder, Rung

__all__ = ["GovernedDevices", "show"]

OVERWHELMED: Final = 100.0
"""What is shown as the load of a shard without a device: an infinite one would spoil every sum."""


class GovernedDevices:
    """A pool that can be measured and told what to do.

    Args:
        specs: The devices.
        ladder: Of quality.
        metrics: Where waits are shown.
        observer: Told what the devices do.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        specs: Sequence[DeviceSpec],
        ladder: Ladder,
        metrics: Metrics,
        observer: DeviceObserver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._book = CostBook(specs)
        self._observer = observer
        self._clock = clock
        self.pool = DevicePool(specs, ladder[0], observer=self)
        """The devices."""
        metrics.expected_wait.set_function(self.pool.expected_wait_s)
        metrics.backlog.set_function(self.pool.backlog_s)

    def expected_wait_s(self) -> float:
        """Seconds a final handed over now would wait; infinite while no device is ready."""
        return self.pool.expected_wait_s()

    def backlog_s(self) -> float:
        """Seconds until all that was handed over is done, partials included."""
        return self.pool.backlog_s()

    def window_s(self, model: str, seconds: float, beam: int) -> float:
        """Seconds of a whole device that a window takes in a full batch."""
        return self._book.window_s(model, beam, seconds)

    @property
    def measured(self) -> bool:
        """Whether that was measured of all windows there may be."""
        return self._book.measured

    def signs(self) -> Sequence[DeviceSigns]:
        """What each device says of itself."""
        return [
            DeviceSigns(
                name=device.name,
                ready=device.state is DeviceState.READY,
                silent_s=device.silent_s,
                deaths=device.deaths,
                faults={kind.value: count for kind, count in device.faults.items()},
            )
            for device in self.pool.status().devices
        ]

    def obey(self, verdict: Verdict) -> None:
        """Do with a device what was decided."""
        match verdict.act:
            case Act.HOLD:
                self.pool.hold(verdict.device)
            case Act.RESUME:
                self.pool.resume(verdict.device)
            case Act.RESTART:
                self.pool.restart(verdict.device)
            case Act.REST | Act.CONDEMN:
                self.pool.rest(verdict.device)

    def set_rung(self, rung: Rung) -> None:
        """Put the models of a rung in force."""
        self.pool.set_rung(rung)

    # --- what the devices do, on its way to the metrics --------------------------------------------------------------

    def batch_done(
        self, device: str, model: str, beam: int, hypotheses: Sequence[Hypothesis], longest_s: float
    ) -> None:
        """A batch was decoded."""
        if hypotheses:
            took_s = hypotheses[0].compute_s
            self._book.observe(model, beam, len(hypotheses), longest_s=longest_s, seconds=took_s, now=self._clock())
        self._observer.batch_done(device, model, beam, hypotheses, longest_s)

    def device_timed(self, device: str, timings: Sequence[Timing]) -> None:
        """A device is about to take jobs."""
        del device  # those of a pool are taken to be alike
        self._book.learn(timings, self._clock())

    def job_undone(self, device: str, why: Why) -> None:
        """A job left a device's queue without being decoded."""
        self._observer.job_undone(device, why)

    def device_fault(self, device: str, kind: FaultKind) -> None:
        """Something went wrong on a device."""
        self._observer.device_fault(device, kind)

    def device_state(self, device: str, state: DeviceState) -> None:
        """A device came or went."""
        self._observer.device_state(device, state)


def show(governor: Governor, metrics: Metrics) -> None:
    """Show what a governor measures and decides."""

    def utilisation() -> float:
        used = governor.told.utilisation[0] if governor.told else 0.0
        return used if math.isfinite(used) else OVERWHELMED

    metrics.cadence.set(governor.rung.cadence_s)
    metrics.rung.set_function(lambda: governor.below)
    metrics.utilization.set_function(utilisation)
    metrics.desired_shards.set_function(lambda: governor.desired.shards if governor.desired else 0)
    metrics.final_p95.set_function(lambda: governor.load.final_p95_s if governor.load else 0.0)
    metrics.capacity.set_function(lambda: governor.load.calls + governor.load.room if governor.load else 0)
    metrics.room.set_function(lambda: governor.load.room if governor.load else 0)
