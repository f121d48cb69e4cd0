"""A device as its pool sees it: what it was given, what it said last, how it fares."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from gpu.batcher import Load
from gpu.child import Child
from gpu.cost import Timing
from gpu.memory import Memory
from gpu.spec import DeviceSpec
from gpu.status import DeviceState, DeviceStatus
from gpu.wire import FaultKind, Message
from streaming.decoding import DecodeJob, Hypothesis

__all__ = ["Member", "Pending"]

FIRST_PER_JOB_S: Final = 0.05
"""Seconds of a device per job, until its first batch says better."""

REPORT_LATE_S: Final = 0.4
"""Silence from which on a device is taken to be held up: it reports four times a second."""

SMOOTHING: Final = 0.1
"""Share of the newest batch in the seconds per job."""


@dataclass(slots=True, eq=False)
class Pending:
    """A job that is not answered yet."""

    job: DecodeJob
    answer: asyncio.Future[Hypothesis]
    device: Member | None = None
    deaths: int = 0
    spared: bool = False
    """Whether it was inside a device that fell silent, which is no window's fault the first time."""


@dataclass(slots=True, eq=False)
class Member:
    """One device of a pool."""

    spec: DeviceSpec
    state: DeviceState = DeviceState.DOWN
    child: Child | None = None
    jobs: set[int] = field(default_factory=set[int])
    running: set[int] = field(default_factory=set[int])
    suspect: int | None = None
    accused: tuple[int, ...] | None = None
    """Jobs that a fault named as its reason; None where it named none."""
    confessed: bool = False
    """Whether it said itself why it ends."""
    per_job_s: float = FIRST_PER_JOB_S
    load: Load | None = None
    drifting: bool = False
    restarts: int = 0
    ready_at: float | None = None
    reported_at: float | None = None
    load_s: float | None = None
    timings: tuple[Timing, ...] = ()
    """What batches took in its warm-up; its next life is spared that."""
    memory: Memory | None = None
    held: bool = False
    """Whether it gets no jobs because somebody said so."""
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether its process is to run."""
    deaths: int = 0
    faults: Counter[FaultKind] = field(default_factory=Counter[FaultKind])
    problem: str = ""

    @property
    def takes_jobs(self) -> bool:
        """Whether it is to be given any."""
        return self.state is DeviceState.READY and not self.held

    def send(self, message: Message) -> None:
        """Send a message; while its process is down, it goes nowhere."""
        if self.child is not None:
            self.child.send(message)

    def held_up_s(self, now: float) -> float:
        """Seconds it has been silent for, and may be for again; 0 while it reports in time."""
        silent_s = 0.0 if self.reported_at is None else now - self.reported_at
        return silent_s if silent_s > REPORT_LATE_S else 0.0

    def expected_s(self, now: float) -> float:
        """Seconds until a job handed to it now would be done: by what it has, its speed lately, and its silence."""
        return (len(self.jobs) + 1) * self.per_job_s + self.held_up_s(now)

    def took(self, seconds: float, jobs: int) -> None:
        """Learn how fast it is from a batch."""
        self.per_job_s += SMOOTHING * (seconds / jobs / self.spec.streams - self.per_job_s)

    def let_go(self, number: int) -> None:
        """Forget a job that another device has now."""
        self.jobs.discard(number)
        self.running.discard(number)
        if self.suspect == number:
            self.suspect = None

    def status(self, now: float) -> DeviceStatus:
        """What is known of it."""
        return DeviceStatus(
            name=self.spec.name,
            state=self.state,
            models=self.spec.models,
            pid=self.child.pid if self.child else None,
            restarts=self.restarts,
            jobs=len(self.jobs),
            load=self.load,
            silent_s=0.0 if self.reported_at is None else now - self.reported_at,
            held=self.held,
            memory=self.memory,
            load_s=self.load_s,
            drifting=self.drifting,
            deaths=self.deaths,
            faults=dict(self.faults),
            problem=self.problem,
        )
