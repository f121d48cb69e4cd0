"""Where further devices come from: a person, an autoscaler of the usual kinds, or our own number."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Final

from scaler.policy.desired import TARGET, Bounds, DesiredPolicy
from scaler.policy.desired import Fleet as FleetLoad
from scaler.policy.load import ShardLoad
from scaler.sim.clock import Clock
from scaler.sim.scenario import Scaling, Scenario, Strategy
from scaler.sim.shard import Shard

__all__ = ["Provision"]

PERSON_S: Final = 180.0
"""Until a person has seen that calls are late and has ordered devices."""

NOTICED_S: Final = 40.0
"""Until a cluster has noticed that a node is gone."""

CPU_LOOK_S: Final = 15.0
CPU_AT_BASE: Final = 0.5
"""Processor load of the machines under the usual load: they only feed the devices."""
CPU_TARGET: Final = 0.7

QUEUE_LOOK_S: Final = 30.0
QUEUE_TARGET: Final = 20
"""Jobs in line for each device."""

DESIRED_LOOK_S: Final = 15.0
"""Until an autoscaler has read a number and acted on it."""

WARM_S: Final = 3.0
"""Until a warm device serves."""


class Provision:
    """Orders devices and pays for them.

    Args:
        scenario: How long they take, how many there may be.
        strategy: What decides.
        clock: Time.
        rng: Start times.
        add: Puts a device to work.
    """

    def __init__(
        self, scenario: Scenario, strategy: Strategy, clock: Clock, rng: random.Random, add: Callable[[], None]
    ) -> None:
        self.paid_s = 0.0
        """Device seconds of all that serve, start or stand warm: a machine costs from when it is there."""
        self.needed_s = 0.0
        """Device seconds that the promised rung asked for, at the utilisation that devices are provided for."""
        self.warm = strategy.warm
        """Devices that stand ready without calls."""
        self._scenario = scenario
        self._strategy = strategy
        self._clock = clock
        self._rng = rng
        self._add = add
        self._starting: list[float] = []  # when each is ready
        self._wanted = scenario.devices
        self._lost = 0
        self._looked_at = 0.0
        start_s = scenario.baked_s if strategy.baked else sum(scenario.cold_s) / 2
        bounds = Bounds(least=1, most=scenario.most, promised=scenario.promised, cold_s=start_s + DESIRED_LOOK_S)
        self._desired = DesiredPolicy(bounds)

    def next_s(self) -> float | None:
        """Seconds until another device serves; None if none is on its way."""
        return min(self._starting) - self._clock.now if self._starting else None

    def died(self) -> None:
        """A device is gone."""
        self._lost += 1
        if self._strategy.scaling not in (Scaling.NONE, Scaling.MANUAL):
            self._clock.after(NOTICED_S, self._replace)

    def _replace(self) -> None:
        self._lost -= 1

    def tick(self, shards: Sequence[Shard], loads: Sequence[ShardLoad], waiting: int) -> list[Shard]:
        """Look once a second; return shards that are empty and given back."""
        now = self._clock.now
        self.paid_s += len(shards) + len(self._starting) + self.warm
        asked = sum(load.utilisation[self._scenario.promised] for load in loads)
        self.needed_s += asked / TARGET
        fleet = FleetLoad(shards=loads, starting=len(self._starting), waiting=waiting)
        desired = self._desired.tick(fleet, now).shards
        serving = sum(not shard.leaving for shard in shards)
        match self._strategy.scaling:
            case Scaling.MANUAL if now - self._scenario.burst_at_s >= PERSON_S and self._looked_at == 0.0:
                self._looked_at = now
                scenario = self._scenario
                self._wanted = min(scenario.most, math.ceil(scenario.devices * scenario.burst / scenario.base))
            case Scaling.CPU if now - self._looked_at >= CPU_LOOK_S:
                self._looked_at = now
                calls = sum(len(shard.calls) for shard in shards)
                used = CPU_AT_BASE * calls * self._scenario.devices / self._scenario.base
                self._wanted = max(self._wanted, math.ceil(used / CPU_TARGET))
            case Scaling.QUEUE if now - self._looked_at >= QUEUE_LOOK_S:
                self._looked_at = now
                line = sum(shard.waiting for shard in shards)
                self._wanted = max(self._wanted, min(2 * serving, math.ceil(line / QUEUE_TARGET)))
            case Scaling.DESIRED if now - self._looked_at >= DESIRED_LOOK_S:
                self._looked_at = now
                self._wanted = min(desired, 2 * max(1, serving))
            case _:
                pass
        self._wanted = min(self._wanted, self._scenario.most)
        self._order(serving)
        return self._give_back(shards)

    def _order(self, serving: int) -> None:
        missing = self._wanted - serving - len(self._starting) - self._lost
        for _ in range(missing):
            if self.warm:
                self.warm -= 1
                ready_s = WARM_S
                self._clock.after(self._start_s(), self._refill)
            else:
                ready_s = self._start_s()
            ready_at = self._clock.now + ready_s
            self._starting.append(ready_at)
            self._clock.at(ready_at, self._arrive, ready_at)

    def _arrive(self, ready_at: float) -> None:
        self._starting.remove(ready_at)
        self._add()

    def _refill(self) -> None:
        self.warm = min(self.warm + 1, self._strategy.warm)

    def _start_s(self) -> float:
        if self._strategy.baked:
            return self._scenario.baked_s * self._rng.uniform(0.8, 1.2)
        return self._rng.uniform(*self._scenario.cold_s)

    def _give_back(self, shards: Sequence[Shard]) -> list[Shard]:
        """Empty those with the fewest calls if there are too many, and give back what is empty."""
        if self._strategy.scaling is not Scaling.DESIRED:
            return []
        staying = [shard for shard in shards if not shard.leaving]
        staying.sort(key=lambda shard: (len(shard.calls), shard.name))
        for shard in staying[: max(0, len(staying) - self._wanted)]:
            shard.leaving = True
        return [shard for shard in shards if shard.leaving and not shard.calls]
