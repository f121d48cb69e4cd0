"""What a shard does about its load, once a second: measures, asks the policies, and tells the devices.

A call has no device of its own: each of its windows goes to whichever device is done with it first, so calls leave a
saturated device with their next window, and nothing need be moved. What is moved between shards are slots, and that the
leading shard decides (``scaler.leading``).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

import structlog

from scaler.policy.admission import at_once, room, unless_behind
from scaler.policy.demand import DemandMeter
from scaler.policy.desired import Bounds, Desired, DesiredPolicy, Fleet
from scaler.policy.health import DeviceSigns, HealthPolicy, Verdict
from scaler.policy.ladder import LadderPolicy, Step
from scaler.policy.load import P95_WINDOW_S, YOUNG_S, ShardLoad
from streaming.decoding import Kind
from streaming.ladder import Ladder, Rung

__all__ = ["Devices", "Governor"]

log = structlog.get_logger()

FEW_FINALS: Final = 8
"""Finals below which their 95th percentile is the latest one's accident and says nothing."""


class Devices(Protocol):
    """What is measured, and told what to do."""

    def expected_wait_s(self) -> float:
        """Seconds a final handed over now would wait; infinite while no device is ready."""
        ...

    def backlog_s(self) -> float:
        """Seconds until all that was handed over is done, partials included."""
        ...

    def window_s(self, model: str, seconds: float, beam: int) -> float:
        """Seconds of a whole device that a window takes in a full batch."""
        ...

    @property
    def measured(self) -> bool:
        """Whether that was measured of all windows there may be."""
        ...

    def signs(self) -> Sequence[DeviceSigns]:
        """What each says of itself."""
        ...

    def obey(self, verdict: Verdict) -> None:
        """Do with a device what was decided."""
        ...

    def set_rung(self, rung: Rung) -> None:
        """Put the models of a rung in force."""
        ...


def _nobody() -> Sequence[ShardLoad]:
    return ()


class Governor:
    """Governs one shard.

    Args:
        ladder: Of quality; the devices hold the models of all rungs.
        devices: Of the shard.
        name: Of the shard.
        bounds: How many shards may be asked for, and for which rung.
        others: What the other shards last said.
    """

    def __init__(
        self,
        ladder: Ladder,
        devices: Devices,
        *,
        name: str = "standalone",
        bounds: Bounds | None = None,
        others: Callable[[], Sequence[ShardLoad]] = _nobody,
    ) -> None:
        self.load: ShardLoad | None = None
        """As last measured; None before the first time."""
        self.served = False
        """Whether a device was there to serve calls when the load was last measured: before, there is room for none."""
        self.desired: Desired | None = None
        """How many shards there should be; None before the first measurement."""
        self._ladder = ladder
        self._devices = devices
        self._name = name
        self._others = others
        self._policy = LadderPolicy([(rung.partial_model, rung.final_model) for rung in ladder])
        self._meter = DemandMeter(ladder, devices.window_s)
        self._health = HealthPolicy()
        self._promised = bounds.promised if bounds else 0
        self._shards = DesiredPolicy(replace(bounds or Bounds(), promised=0))  # it sees what is told
        self._finals: deque[tuple[float, float]] = deque()

    @property
    def models(self) -> Sequence[str]:
        """Names of the models that the devices hold."""
        return self._ladder.models

    @property
    def step(self) -> int:
        """Number of the rung in force; 0 is the best."""
        return self._policy.rung

    @property
    def told(self) -> ShardLoad | None:
        """The load as others are told of it, from the promised rung on; None before it was measured."""
        return self.load.promising(self._promised) if self.load else None

    @property
    def below(self) -> int:
        """Steps below the promised rung; negative above it."""
        return self.step - self._promised

    @property
    def rung(self) -> Rung:
        """The rung in force."""
        return self._ladder[self.step]

    def asked(self, kind: Kind, seconds: float, now: float, *, lead_s: float = 0.0) -> None:
        """Note that a window of so much audio was handed to the devices, and how much in it is earlier speech."""
        self._meter.asked(kind, seconds, self.step, now, lead_s=lead_s)

    def final(self, latency_s: float, now: float) -> None:
        """Note how late a final was."""
        self._finals.append((now, latency_s))

    def tick(self, joined: Sequence[float], now: float) -> Step | None:
        """Measure and decide; devices are told at once.

        Args:
            joined: When each call in progress came, in monotonic seconds.
            now: Monotonic seconds.

        Returns:
            The step on the ladder that calls are to be told of, if one was taken.
        """
        signs = self._devices.signs()
        for verdict in self._health.tick(signs, now):
            log.warning("device.verdict", device=verdict.device, act=verdict.act.value, reason=verdict.reason)
            self._devices.obey(verdict)
        fit = sum(each.ready and self._health.fit(each.name, now) for each in signs)
        load = self.load = self._measure(joined, fit, now)
        self.served = fit > 0
        self.desired = self._shards.tick(Fleet(shards=[load.promising(self._promised), *self._others()]), now)
        step = self._policy.tick(load, now)
        if step is not None:
            log.info("shard.step", before=step.before, rung=step.rung, reason=step.reason)
            self._devices.set_rung(self.rung)
        return step

    def has_room(self, calls: int) -> bool:
        """Tell whether another call may come in; before anything is measured, whoever counts calls decides alone.

        Args:
            calls: In progress by now, those among them that came since the last measurement.
        """
        return self.load is None or self.load.room > max(0, calls - self.load.calls)

    def _measure(self, joined: Sequence[float], devices: int, now: float) -> ShardLoad:
        while self._finals and now - self._finals[0][0] > P95_WINDOW_S:
            self._finals.popleft()
        latencies = sorted(latency_s for _, latency_s in self._finals)
        known = len(latencies) >= FEW_FINALS
        young = sum(now - at < YOUNG_S for at in joined)
        used = self._meter.utilisation(devices, now)
        wait_s = self._devices.expected_wait_s()
        load = ShardLoad(
            name=self._name,
            calls=len(joined),
            room=self._room(used, len(joined) - young, young, devices) if devices else 0,
            rung=self.step,
            utilisation=used,
            wait_s=wait_s if devices else math.inf,
            backlog_s=self._devices.backlog_s(),
            final_p95_s=latencies[math.ceil(0.95 * len(latencies)) - 1] if known else 0.0,
            seen_at=now,
        )
        return unless_behind(load)

    def _room(self, used: Sequence[float], settled: int, young: int, devices: int) -> int:
        """How many further calls there is room for."""
        sure = None
        if self._devices.measured:
            sure = at_once(used[self._promised], self._meter.expected(self._promised) / devices)
        return room(used[-1], settled, young, self._meter.expected(-1) / devices, sure=sure)
