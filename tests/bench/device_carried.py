"""How many channels a device carries: by the model, alone, and held for real around what the model says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import product
from typing import Final

import uvloop
from prometheus_client import CollectorRegistry

from gpu.cost import Cost
from gpu.pool import DevicePool
from gpu.wire import UNSTARTED
from server.governed import GovernedDevices
from server.metrics import Metrics
from server.observers import DeviceObserver
from streaming.ladder import Ladder, Rung
from tests.bench.device_bay import Bay
from tests.bench.device_channels import bound, modelled, most
from tests.bench.device_held import By, Carrier, around
from tests.bench.device_plan import RANDOM, Plan
from tests.bench.device_store import LeftOut, Measuring, Row

LIMIT_S: Final = 1.0
"""Most that p95 of end of speech to final may be for a number of channels to count."""
CADENCES_S: Final = (1.0, 0.5)
START_S: Final = 300.0
"""Seconds a device process may take to load its models."""
ALONE: Final = ("alone_p50_ms", "alone_p95_ms", "others_cores")
"""Columns of a single channel."""
MOST_SESSIONS: Final = 150
"""Channels for which one process of the host is sure to be able to make the windows: sessions begin with no more."""


class NotStarted(Exception):
    """The device process did not become ready."""


class Carried:
    """The channels of one engine.

    Args:
        plan: What to measure.
        measuring: Keeps what was measured.
        bay: Knows the models.
        engine: Its name.
        costs: What its batches cost.
        streams: Batches at a time.
    """

    def __init__(
        self, plan: Plan, measuring: Measuring, bay: Bay, *, engine: str, costs: Sequence[Cost], streams: int
    ) -> None:
        self._plan = plan
        self._measuring = measuring
        self._rows = measuring.store.rows
        self._bay = bay
        self._engine = engine
        self._costs = costs
        self._streams = streams
        known = {cost.model for cost in costs}
        self._rungs = [
            Rung(partials, finals, cadence_s=cadence_s)
            for cadence_s, (partials, finals) in product(CADENCES_S, plan.pairs)
            if {partials, finals} <= known
        ]

    def channels(self) -> list[Row]:
        """How many by the model, and how soon one alone has its finals; by cadence, with one model and with two."""
        carried = self._modelled()
        lively = [
            rung for rung in carried if rung.cadence_s == CADENCES_S[0] and self._key("alone", rung) not in self._rows
        ]
        self._on_device(lively, self._alone)
        return [
            self._named_row(rung)
            | {name: self._rows[self._key("modelled", rung)][name] for name in ("channels_modelled", "modelled_p95_ms")}
            | self._rows.get(self._key("alone", rung), dict.fromkeys(ALONE))
            for rung in carried
        ]

    def held(self) -> list[Row]:
        """Hold channels for real around the number of the model, beside what the model says of each number."""
        carried = self._modelled()
        self._on_device([rung for rung in carried if self._key("climbed", rung) not in self._rows], self._hold)
        return [
            self._named_row(rung) | {"windows_by": by, "channels": channels} | self._expected(rung, channels) | row
            for rung in carried
            for by in By
            for channels, row in self._tries(rung, by)
        ]

    # --- the model -------------------------------------------------------------------------------------------------

    def _modelled(self) -> dict[Rung, int]:
        """Channels of each rung, if they can be had."""
        rows = {
            rung: self._measuring.measured(self._key("modelled", rung), partial(self._most, rung))
            for rung in self._rungs
        }
        return {rung: int(str(row["channels_modelled"])) for rung, row in rows.items() if row is not None}

    def _key(self, what: str, rung: Rung) -> str:
        return f"{what} {self._engine}, {rung.partial_model} and {rung.final_model} every {rung.cadence_s:g} s"

    def _named_row(self, rung: Rung) -> Row:
        named: Row = {"engine": self._engine, "partials": rung.partial_model, "finals_by": rung.final_model}
        return named | {"cadence_s": rung.cadence_s}

    def _most(self, rung: Rung) -> Row:
        largest = self._plan.batches[-1]
        hold = partial(modelled, self._costs, rung, streams=self._streams, max_batch=largest)
        guess = bound(self._costs, rung, streams=self._streams, max_batch=largest) // 2
        channels = most(lambda count: hold(count).keeps(LIMIT_S), guess)
        return {"channels_modelled": channels, "modelled_p95_ms": round(1000 * hold(max(1, channels)).final.p95)}

    def _expected(self, rung: Rung, channels: int) -> Row:
        tally = modelled(self._costs, rung, channels, streams=self._streams, max_batch=self._plan.batches[-1])
        found = tally.final
        return {"modelled_p95_ms": round(1000 * found.p95) if found.count else None}

    # --- for real --------------------------------------------------------------------------------------------------

    def _on_device(self, rungs: Sequence[Rung], work: Callable[[Carrier, Rung], Awaitable[None]]) -> None:
        """Do something for each rung on a device process that holds the models of all that share one."""
        self._bay.clear()  # the device's memory is for the process now
        for random in (False, True):
            together = [rung for rung in rungs if rung.final_model.endswith(RANDOM) is random]
            try:
                if together:
                    uvloop.run(self._given(together, work))
            except (NotStarted, LeftOut) as problem:
                self._measuring.problem(f"channels, {self._engine}: {problem}")

    async def _given(self, rungs: Sequence[Rung], work: Callable[[Carrier, Rung], Awaitable[None]]) -> None:
        models = list(dict.fromkeys(model for rung in rungs for model in rung.models))
        costs = [cost for cost in self._costs if cost.model in models]
        spec = self._bay.spec(self._engine, models, self._streams, costs)
        ladder = Ladder((self._named(rungs[0]),))
        metrics = Metrics(CollectorRegistry())
        devices = GovernedDevices([spec], ladder, metrics, DeviceObserver(metrics))
        async with devices.pool:
            await _started(devices.pool)
            shape = self._bay.shape(models[0])
            features = self._bay.sound(shape.n_mels if shape else 80)
            carrier = Carrier(devices, features, hold_s=self._plan.hold_s, limit_s=LIMIT_S)
            for rung in rungs:
                await work(carrier, rung)

    async def _alone(self, carrier: Carrier, rung: Rung) -> None:
        await self._noted(self._key("alone", rung), lambda: carrier.alone(self._named(rung)))

    async def _hold(self, carrier: Carrier, rung: Rung) -> None:
        guess = int(str(self._rows[self._key("modelled", rung)]["channels_modelled"]))
        await around(partial(self._held, carrier, rung, By.CALLERS), guess)
        await around(partial(self._held, carrier, rung, By.SESSIONS), min(guess, MOST_SESSIONS))
        self._rows[self._key("climbed", rung)] = {}

    async def _held(self, carrier: Carrier, rung: Rung, by: By, channels: int) -> Row:
        key = f"{self._key('held', rung)}, {by} x{channels}"
        return await self._noted(key, lambda: carrier.hold(self._named(rung), channels, by))

    def _tries(self, rung: Rung, by: By) -> list[tuple[int, Row]]:
        """What was held of a rung, the fewest channels first."""
        begin = f"{self._key('held', rung)}, {by} x"
        return sorted((int(key.removeprefix(begin)), row) for key, row in self._rows.items() if key.startswith(begin))

    async def _noted(self, key: str, work: Callable[[], Awaitable[Row]]) -> Row:
        """Return a row, measured now if it was not before."""
        if key not in self._rows:
            with self._measuring.store.attempt(key):
                self._rows[key] = await work()
            self._measuring.tell(f"{key}: {self._rows[key]}")
        return self._rows[key]

    def _named(self, rung: Rung) -> Rung:
        return Rung(self._bay.name(rung.partial_model), self._bay.name(rung.final_model), cadence_s=rung.cadence_s)


async def _started(pool: DevicePool) -> None:
    """Wait until the pool's device is ready.

    Raises:
        NotStarted: If it cannot be started.
    """
    deadline = time.monotonic() + START_S
    while not (status := pool.status()).ready:
        (device,) = status.devices
        if not UNSTARTED.isdisjoint(device.faults) or time.monotonic() > deadline:
            raise NotStarted(device.problem or f"the device process was not ready within {START_S:.0f} s")
        await asyncio.sleep(0.1)
