"""The jobs of a pool: which device has each, and that each is answered exactly once, whatever becomes of devices.

The jobs that a device had only queued when it died go to another at once. Those that were inside the engine are
suspects, for one of them may be why: they are tried again one at a time, each in a batch of its own, and the one that
takes a second device with it is failed alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from gpu.batcher import Why
from gpu.errors import DeviceLost, JobCancelled, JobFailed, Superseded
from gpu.member import Member, Pending
from gpu.wire import Cancel, Submit
from streaming.decoding import DecodeJob, Hypothesis, Kind

__all__ = ["Jobs"]

DEATHS: Final = 2
"""Devices a job may take with it before it is failed."""


class Jobs:
    """All jobs that are not answered yet.

    Args:
        devices: Of the pool, whatever their state.
        clock: Monotonic seconds.
    """

    def __init__(self, devices: Sequence[Member], clock: Callable[[], float]) -> None:
        self._devices = devices
        self._clock = clock
        self._pending: dict[int, Pending] = {}
        self._stranded: dict[int, Pending] = {}  # without a device, in the order of coming
        self._partials: dict[tuple[str, int], Pending] = {}
        self._closed = False

    @property
    def stranded(self) -> int:
        """How many wait for a device to be ready."""
        return len(self._stranded)

    # --- from whoever asks -----------------------------------------------------------------------------------------

    async def decode(self, job: DecodeJob) -> Hypothesis:
        """Have a window decoded; see ``DevicePool.decode``."""
        if self._closed:
            raise DeviceLost("the devices are shut down")
        if job.job in self._pending:
            raise ValueError(f"job {job.job} is being decoded already")
        pending = Pending(job, asyncio.get_running_loop().create_future())
        self._pending[job.job] = pending
        try:
            self._take_in(pending)
            return await pending.answer
        finally:
            self._let_go(pending)

    def cancel(self, number: int) -> None:
        """Give up a job; see ``DevicePool.cancel``."""
        if number in self._pending:
            _fail(self._pending[number], JobCancelled("cancelled by whoever asked"))

    def close(self) -> None:
        """Take no more."""
        self._closed = True

    def fail_all(self) -> None:
        """Answer everybody who still waits: there is no device any more."""
        for pending in list(self._pending.values()):
            _fail(pending, DeviceLost("the devices are shut down"))

    def _take_in(self, pending: Pending) -> None:
        job = pending.job
        model = job.window.model
        if model is not None and not any(model in device.spec.models for device in self._devices):
            _fail(pending, JobFailed(f"no device holds the model {model}"))
            return
        channel = (job.call, job.channel)
        older = self._partials.get(channel)
        if older is not None and older.device is None:
            _fail(older, Superseded(Why.SUPERSEDED.value))
        # The device that still has the channel's partial in its queue is the one that can replace it there.
        preferred = older.device if older is not None else None
        if job.window.kind is Kind.PARTIAL:
            self._partials[channel] = pending
        self._place(pending, preferred)

    def _let_go(self, pending: Pending) -> None:
        """Forget a job that is answered, or whose caller is gone."""
        job = pending.job
        if pending.answer.done() and not pending.answer.cancelled():
            pending.answer.exception()  # seen: a caller cancelled at that very moment cannot take it any more
        self._pending.pop(job.job, None)
        self._stranded.pop(job.job, None)
        if self._partials.get((job.call, job.channel)) is pending:
            del self._partials[job.call, job.channel]
        device = pending.device
        if device is None:
            return
        if job.job in device.jobs:  # nobody said that the device is done with it
            device.send(Cancel(job.job))
            device.jobs.discard(job.job)
        if device.suspect == job.job:
            device.suspect = None
            self.resettle()

    def _place(self, pending: Pending, preferred: Member | None = None) -> None:
        """Hand a job to a device, or keep it until one can take it."""
        candidates = [device for device in self._devices if self._may_take(device, pending)]
        if not candidates:
            pending.device = None
            self._stranded[pending.job.job] = pending
            return
        now = self._clock()
        device = min(candidates, key=lambda each: each.expected_s(now))
        if preferred in candidates and preferred and not preferred.held_up_s(now):
            device = preferred
        pending.device = device
        self._stranded.pop(pending.job.job, None)
        device.jobs.add(pending.job.job)
        if pending.deaths:
            device.suspect = pending.job.job
        device.send(Submit(pending.job, alone=pending.deaths > 0))

    def _may_take(self, device: Member, pending: Pending) -> bool:
        model = pending.job.window.model
        holds = model is None or model in device.spec.models
        # One suspect at a time: should the device die again, it is clear over which job.
        return device.takes_jobs and holds and (not pending.deaths or device.suspect is None)

    # --- from the devices ------------------------------------------------------------------------------------------

    def settle(self, device: Member, number: int, outcome: Hypothesis | Exception) -> None:
        """Answer a job with what a device made of it."""
        device.running.discard(number)
        if number not in device.jobs:
            return  # cancelled meanwhile, or given to another device
        device.jobs.discard(number)
        answer = self._pending[number].answer
        if answer.done():
            return
        if isinstance(outcome, Hypothesis):
            answer.set_result(outcome)
        else:
            answer.set_exception(outcome)

    def resettle(self) -> None:
        """Hand what waits for a device to those that can take it now."""
        for pending in list(self._stranded.values()):
            if not pending.answer.done():
                self._place(pending)

    def move_from(self, device: Member) -> None:
        """Give what a device has that gets no more jobs to others, as far as they can take it."""
        for number in sorted(device.jobs):
            pending = self._pending[number]
            if pending.answer.done() or not any(self._may_take(other, pending) for other in self._devices):
                continue
            device.send(Cancel(number))
            device.let_go(number)
            self._place(pending)

    def bereave(self, device: Member, *, silent: bool = False) -> None:
        """Find other devices for the jobs of a dead one.

        Args:
            device: Whose process is gone, or as good as gone.
            silent: Whether it just fell silent. Machines do that to processes, so nothing that was inside is tried
                alone for it, which would take a batch's time for every window of a batch, unless it happens again.
        """
        guilty = device.running if device.accused is None else set(device.accused)
        held = [self._pending[number] for number in sorted(device.jobs)]
        device.jobs, device.running, device.suspect = set(), set(), None
        for pending in held:
            if pending.job.job in guilty and silent and not pending.spared:
                pending.spared = True
            elif pending.job.job in guilty:
                pending.deaths += 1
            pending.device = None
            if pending.answer.done():
                continue
            if self._is_outdated(pending.job):
                _fail(pending, Superseded(Why.SUPERSEDED.value))
            elif pending.deaths >= DEATHS:
                _fail(pending, JobFailed(f"{DEATHS} devices died over it: {device.problem}"))
            else:
                self._stranded[pending.job.job] = pending
        self.resettle()

    def _is_outdated(self, job: DecodeJob) -> bool:
        newest = self._partials.get((job.call, job.channel))
        return job.window.kind is Kind.PARTIAL and newest is not None and newest.job.job > job.job


def _fail(pending: Pending, problem: Exception) -> None:
    if not pending.answer.done():
        pending.answer.set_exception(problem)
