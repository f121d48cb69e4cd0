"""The shard's side of its devices: keeps their processes alive, and hands them the jobs.

A device may die at any moment. It is started again, and ``gpu.jobs`` finds other devices for what it had.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import Final, Self

import structlog

from gpu.child import Child
from gpu.errors import JobFailed, Superseded
from gpu.jobs import Jobs
from gpu.member import Member
from gpu.spec import DeviceSpec
from gpu.status import DeviceState, PoolObserver, PoolStatus, Unobserved
from gpu.wire import (
    Answered,
    Began,
    Failed,
    Fault,
    FaultKind,
    Leaving,
    LoadReport,
    Message,
    Ready,
    SetRung,
    Start,
    Undone,
)
from streaming.decoding import DecodeJob, Hypothesis
from streaming.ladder import Rung

__all__ = ["DevicePool"]

log = structlog.get_logger()

BACK_OFF_S: Final = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before each restart in a row; the first is at once, for most deaths are not the device's fault."""

STEADY_S: Final = 60.0
"""Seconds a device must have been ready for its restarts to count from the beginning again."""


class DevicePool:
    """All devices of a shard. Use as an async context manager, or ``start`` and ``close``.

    Args:
        specs: The devices; names are unique.
        rung: Models in force at first.
        observer: Hears what they do.
        clock: Monotonic seconds.

    Raises:
        ValueError: If there is no device, a name comes twice, or a device lacks a model of the rung.
    """

    def __init__(
        self,
        specs: Sequence[DeviceSpec],
        rung: Rung,
        *,
        observer: PoolObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not specs or len({spec.name for spec in specs}) < len(specs):
            raise ValueError(f"a pool needs devices with a name each, got {[spec.name for spec in specs]}")
        self._devices = [Member(spec) for spec in specs]
        for device in self._devices:
            device.wanted.set()
        self._observer = observer or Unobserved()
        self._clock = clock
        self._jobs = Jobs(self._devices, clock)
        self._keepers: list[asyncio.Task[None]] = []
        self._some_ready = asyncio.Event()
        self._rung = rung
        self._check(rung)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def start(self) -> None:
        """Start all device processes; ``ready`` waits for the first."""
        self._keepers = [
            asyncio.create_task(self._keep(device), name=f"device-{device.spec.name}") for device in self._devices
        ]

    async def ready(self) -> None:
        """Wait until a device takes jobs."""
        await self._some_ready.wait()

    async def close(self) -> None:
        """End all devices; jobs that are not answered get ``DeviceLost``."""
        self._jobs.close()
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._jobs.fail_all()

    def set_rung(self, rung: Rung) -> None:
        """Put other models in force, for what waits and for what comes.

        Raises:
            ValueError: If a device does not hold them.
        """
        self._check(rung)
        self._rung = rung
        for device in self._devices:
            device.send(SetRung(rung))

    # --- devices that are to rest ------------------------------------------------------------------------------------

    def hold(self, name: str) -> None:
        """Give a device no more jobs, and what it has to others, as far as others can take it.

        Raises:
            KeyError: If there is no such device.
        """
        device = self._named(name)
        device.held = True
        self._jobs.move_from(device)

    def resume(self, name: str) -> None:
        """Give a device jobs again, and start its process if it is down.

        Raises:
            KeyError: If there is no such device.
        """
        device = self._named(name)
        device.held = False
        device.wanted.set()
        self._jobs.resettle()

    def restart(self, name: str) -> None:
        """Let a device finish what it has and start its process again.

        Raises:
            KeyError: If there is no such device.
        """
        child = self._named(name).child
        if child is not None:
            child.leave()

    def rest(self, name: str) -> None:
        """Let a device finish what it has, and leave its process down until it is resumed.

        Raises:
            KeyError: If there is no such device.
        """
        self._named(name).wanted.clear()
        self.restart(name)

    def _named(self, name: str) -> Member:
        for device in self._devices:
            if device.spec.name == name:
                return device
        raise KeyError(f"there is no device {name}")

    def expected_wait_s(self) -> float:
        """Seconds a final handed over now would wait; infinite while no device is ready."""
        loads = [device.load for device in self._devices if device.takes_jobs]
        return min((load.final_wait_s if load else 0.0 for load in loads), default=math.inf)

    def backlog_s(self) -> float:
        """Seconds until the least busy device has done all it was given, partials too; infinite while none is ready."""
        loads = [device.load for device in self._devices if device.takes_jobs]
        return min((load.wait_s if load else 0.0 for load in loads), default=math.inf)

    def status(self) -> PoolStatus:
        """What is known now; cheap."""
        devices = tuple(device.status(self._clock()) for device in self._devices)
        return PoolStatus(devices, self._jobs.stranded, self._rung)

    # --- jobs ------------------------------------------------------------------------------------------------------

    async def decode(self, job: DecodeJob) -> Hypothesis:
        """Decode a window on whichever device is soonest. Cancelling the caller cancels the job.

        Args:
            job: Whose number is not in use; within a channel, a higher number is newer audio.

        Raises:
            Superseded: If it is a partial that is not worth decoding any more.
            JobCancelled: If ``cancel`` was called for it.
            JobFailed: If no device can decode it.
            DeviceLost: If the pool is closed.
        """
        return await self._jobs.decode(job)

    def cancel(self, number: int) -> None:
        """Give up a job, wherever it is; one that is unknown or answered is left alone."""
        self._jobs.cancel(number)

    # --- messages of a device --------------------------------------------------------------------------------------

    def _hear(self, device: Member, message: Message) -> None:
        match message:
            case Answered():
                self._answered(device, message)
            case Began(jobs):
                device.running.update(jobs)
            case Undone(number, why):
                self._observer.job_undone(device.spec.name, why)
                self._jobs.settle(device, number, Superseded(why.value))
            case Failed(number, problem):
                self._jobs.settle(device, number, JobFailed(problem))
            case LoadReport(load, drifting, memory):
                device.load, device.drifting, device.memory = load, drifting, memory
                device.reported_at = self._clock()
            case Ready(load_s, timings):
                log.info("device.ready", device=device.spec.name, load_s=round(load_s, 3))
                device.ready_at, device.load_s, device.timings = self._clock(), load_s, timings
                self._observer.device_timed(device.spec.name, timings)
                self._change(device, DeviceState.READY)
                device.send(SetRung(self._rung))
                self._jobs.resettle()
            case Fault(kind, problem, suspects, fatal):
                self._fault(device, kind, problem)
                device.accused = suspects or device.accused
                if fatal:
                    device.confessed = True
                    self._change(device, DeviceState.LEAVING)
            case Leaving():
                self._change(device, DeviceState.LEAVING)
            case _:
                raise ValueError(f"a shard takes no {type(message).__name__}")

    def _answered(self, device: Member, message: Answered) -> None:
        device.took(message.seconds, len(message.jobs))
        for number, hypothesis in zip(message.jobs, message.hypotheses, strict=True):
            self._jobs.settle(device, number, hypothesis)
        self._observer.batch_done(device.spec.name, message.model, message.beam, message.hypotheses, message.longest_s)

    def _fault(self, device: Member, kind: FaultKind, problem: str) -> None:
        log.warning("device.fault", device=device.spec.name, kind=kind.value, problem=problem)
        device.faults[kind] += 1
        device.problem = problem
        self._observer.device_fault(device.spec.name, kind)

    # --- the life of a device --------------------------------------------------------------------------------------

    async def _keep(self, device: Member) -> None:
        """Start the device's process again whenever it is gone."""
        in_a_row = 0
        while True:
            await device.wanted.wait()
            await self._live(device)
            lived_s = self._clock() - device.ready_at if device.ready_at is not None else 0.0
            in_a_row = 0 if lived_s > STEADY_S else min(in_a_row + 1, len(BACK_OFF_S) - 1)
            await asyncio.sleep(BACK_OFF_S[max(0, in_a_row - 1)])
            device.restarts += 1

    async def _live(self, device: Member) -> None:
        """One life of a device's process, from its start to the last of its jobs taken elsewhere."""
        device.ready_at = None
        device.accused = None
        device.confessed = False
        self._change(device, DeviceState.STARTING)
        try:
            async with Child(lambda message: self._hear(device, message)) as child:
                device.child = child
                child.send(Start(device.spec, self._rung, device.timings))
                await child.gone()
                # Before waiting for the process: a driver may take seconds to let go of it.
                self._lose(device, silent=child.fell_silent)
                fault = await child.ended()
            if fault is not None and device.ready_at is not None:
                device.deaths += 1
            if fault is not None and not device.confessed:
                self._fault(device, *fault)
        except Exception as problem:  # noqa: BLE001  whatever it is, the other devices go on and this one is tried again
            self._fault(device, FaultKind.START, f"its process cannot be kept: {type(problem).__name__}: {problem}")
        finally:
            device.child = None
            self._lose(device)

    def _lose(self, device: Member, *, silent: bool = False) -> None:
        """Count on a device no more: its process is gone, or as good as gone."""
        device.load = device.reported_at = device.memory = None
        self._change(device, DeviceState.DOWN)
        self._jobs.bereave(device, silent=silent)

    def _change(self, device: Member, state: DeviceState) -> None:
        if device.state is state:
            return
        device.state = state
        self._observer.device_state(device.spec.name, state)
        if any(each.state is DeviceState.READY for each in self._devices):
            self._some_ready.set()
        else:
            self._some_ready.clear()

    def _check(self, rung: Rung) -> None:
        for device in self._devices:
            for model in rung.models:
                if model not in device.spec.models:
                    held = ", ".join(device.spec.models)
                    raise ValueError(f"device {device.spec.name} does not hold the model {model}; it holds {held}")
