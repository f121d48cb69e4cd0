"""A simulated shard: one device, the line before it, and the policies that a real shard asks once a second."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from scaler.policy.admission import room
from scaler.policy.demand import DemandMeter
from scaler.policy.ladder import LadderPolicy
from scaler.policy.load import P95_WINDOW_S, YOUNG_S, ShardLoad
from scaler.sim.clock import Clock
from scaler.sim.hardware import Hardware
from scaler.sim.queueing import QueueFactory, Taken
from scaler.sim.tally import Tally, p95
from streaming.decoding import DecodeJob, Kind, Window
from streaming.ladder import Ladder, Rung
from streaming.leads import Leads

__all__ = ["Call", "Shard", "windows"]

NOISE: Final = (0.9, 1.1)
"""Factors on what a batch takes."""

FLAP_S: Final = 60.0

_WINDOWS: dict[tuple[Kind, int], Window] = {}


def windows(kind: Kind, seconds: float) -> Window:
    """A window of silence, shared by all of its length: nothing looks into it."""
    frames = max(1, round(seconds * 10) * 10)
    if (kind, frames) not in _WINDOWS:
        features = np.broadcast_to(np.float32(0.0), (80, frames))
        _WINDOWS[kind, frames] = Window(features, kind)
    return _WINDOWS[kind, frames]


@dataclass(slots=True, eq=False)
class Call:
    """One channel on which somebody speaks all the time."""

    number: int
    hot: bool
    ends_at: float
    shard: Shard | None = None
    joined_at: float = 0.0
    utterance_at: float = 0.0
    utterance_ends: float = 0.0
    partials_out: int = 0
    out: dict[int, tuple[DecodeJob, float]] = field(default_factory=dict[int, tuple[DecodeJob, float]])
    """Jobs on their way, each with the end of its audio."""
    held: list[tuple[DecodeJob, float]] = field(default_factory=list[tuple[DecodeJob, float]])
    """Jobs that wait until the call has a shard again."""
    guesses: set[int] = field(default_factory=set[int])
    """Jobs of finals that were begun at a hesitation and are thrown away."""
    leads: Leads = field(default_factory=Leads)
    """Earlier speech; positions are samples of the simulation's clock."""
    decoded_at: float = 0.0
    """End of what was last asked for."""
    over: bool = False


class Shard:
    """One device and what it serves.

    Args:
        name: Unique in its fleet.
        clock: Time.
        rng: Noise.
        hardware: The device.
        ladder: Of quality.
        queue: Makes the line before it.
        promised: The rung it begins at.
        climbs: Whether the rung follows the load.
        tally: Takes note.
        answered: Told of every job that is done, with its call.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        rng: random.Random,
        hardware: Hardware,
        *,
        ladder: Ladder,
        queue: QueueFactory,
        promised: int,
        climbs: bool,
        tally: Tally,
        answered: Callable[[Call, DecodeJob, float, str], None],
    ) -> None:
        self.name = name
        self.calls: dict[int, Call] = {}
        self.alive = True
        self.leaving = False
        self.slow = 1.0
        """Factor on what batches take."""
        self.began_at = clock.now
        self.busy_s = 0.0
        """Seconds with batches on all streams; with one on half of them half a second each."""
        self.load: ShardLoad | None = None
        """As last measured."""
        self.below_since: float | None = None
        """Since when the rung is below the promised one."""
        self._clock = clock
        self._rng = rng
        self._hardware = hardware
        self._ladder = ladder
        self._queue = queue(hardware, ladder[promised])
        self._promised = promised
        self._climbs = climbs
        self._tally = tally
        self._answered = answered
        self._policy = LadderPolicy([(rung.partial_model, rung.final_model) for rung in ladder], rung=promised)
        self._meter = DemandMeter(ladder, self._queue.each_s)
        self._of: dict[int, Call] = {}
        self._running = 0
        self._counted_at = clock.now
        self._finals: deque[tuple[float, float]] = deque()
        self._alarm_at = float("inf")
        self._climbed_at = float("-inf")

    @property
    def rung(self) -> int:
        """In force."""
        return self._policy.rung

    @property
    def quality(self) -> Rung:
        """The rung in force, itself."""
        return self._ladder[self.rung]

    @property
    def waiting(self) -> int:
        """Jobs in line."""
        return self._queue.waits(self._clock.now)[2]

    def take(self, call: Call) -> None:
        """Serve a call from now on, with all it held."""
        call.shard = self
        call.joined_at = self._clock.now
        self.calls[call.number] = call
        held, call.held = call.held, []
        for job, audio_end in held:
            self.submit(call, job, audio_end)

    def release(self, call: Call) -> list[tuple[DecodeJob, float]]:
        """Serve it no longer; return what it was owed."""
        del self.calls[call.number]
        call.shard = None
        owed = list(call.out.values())
        for number in call.out:
            self._queue.cancel(number)
            self._of.pop(number, None)
        call.out.clear()
        call.partials_out = 0
        guesses, call.guesses = call.guesses, set()
        return [(job, end) for job, end in owed if job.window.kind is Kind.FINAL and job.job not in guesses]

    def submit(self, call: Call, job: DecodeJob, audio_end: float, *, lead_s: float = 0.0) -> None:
        """Put a job in line, of whose window so many seconds are earlier speech."""
        call.out[job.job] = job, audio_end
        self._of[job.job] = call
        self._meter.asked(job.window.kind, job.window.seconds, self.rung, self._clock.now, lead_s=lead_s)
        self._drop(self._queue.add(job, self._clock.now))
        self._pump()

    def die(self) -> None:
        """Be gone."""
        self.close()
        self.alive = False

    def close(self) -> None:
        """Count the time that batches have run until now."""
        if self.alive:
            self.busy_s += (self._clock.now - self._counted_at) * self._running / self._hardware.streams
            self._counted_at = self._clock.now

    # --- once a second ---------------------------------------------------------------------------------------------

    def tick(self) -> ShardLoad:
        """Measure, and let the ladder decide."""
        now = self._clock.now
        self._drop(self._queue.expire(now))
        load = self._measure(now)
        step = self._policy.tick(load, now) if self._climbs else None
        if step is not None:
            self._queue.set_rung(self._ladder[step.rung])
            self._tally.steps += 1
            if step.is_down and now - self._climbed_at < FLAP_S:
                self._tally.turns += 1
            self._climbed_at = float("-inf") if step.is_down else now
        if self.rung <= self._promised:
            self.below_since = None
        elif self.below_since is None:
            self.below_since = now
        self.load = load
        return load

    def _measure(self, now: float) -> ShardLoad:
        while self._finals and now - self._finals[0][0] > P95_WINDOW_S:
            self._finals.popleft()
        wait_s, backlog_s, _ = self._queue.waits(now)
        used = self._meter.utilisation(1.0 / self.slow, now)
        young = sum(now - call.joined_at < YOUNG_S for call in self.calls.values())
        return ShardLoad(
            name=self.name,
            calls=len(self.calls),
            room=0 if self.leaving else room(used[-1], len(self.calls) - young, young, self._meter.expected(-1)),
            rung=self.rung,
            utilisation=used,
            wait_s=wait_s,
            backlog_s=backlog_s,
            final_p95_s=p95([late for _, late in self._finals]),
            draining=self.leaving,
            seen_at=now,
        )

    # --- the device ------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        now = self._clock.now
        if not self.alive:
            return
        while (taken := self._queue.take(now)) is not None:
            seconds = self._hardware.seconds(taken.model, taken.frames, len(taken.jobs))
            seconds *= self.slow * self._rng.uniform(*NOISE)
            self.close()
            self._running += 1
            self._clock.after(seconds, self._end, taken, seconds)
        wake_at = self._queue.wake_at(now)
        if wake_at is not None and (wake_at < self._alarm_at or self._alarm_at <= now):
            self._alarm_at = max(wake_at, now + 1e-4)
            self._clock.at(self._alarm_at, self._pump)

    def _end(self, taken: Taken, seconds: float) -> None:
        if not self.alive:
            return
        now = self._clock.now
        self.close()
        self._running -= 1
        taken.done(seconds, now)
        for job in taken.jobs:
            call = self._of.pop(job.job, None)
            if call is not None:
                self._answer(call, job, taken.model)
        self._pump()

    def _answer(self, call: Call, job: DecodeJob, model: str) -> None:
        _, audio_end = call.out.pop(job.job)
        if job.job in call.guesses:
            call.guesses.remove(job.job)
            return
        if job.window.kind is Kind.FINAL:
            self._finals.append((self._clock.now, self._clock.now - audio_end))
        else:
            call.partials_out -= 1
        self._answered(call, job, audio_end, model)

    def _drop(self, dropped: Sequence[DecodeJob]) -> None:
        for job in dropped:
            call = self._of.pop(job.job, None)
            if call is not None:
                del call.out[job.job]
                call.partials_out -= 1
