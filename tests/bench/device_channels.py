"""How many channels of continuous speech a device sustains: through the real batcher, on measured costs or for real.

The same callers speak to both: partials by the cadence, each once the one before is answered, and a final begun at the
hesitation behind every utterance, as sessions do it.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Protocol

import numpy as np

from gpu.batcher import Batch, Batcher, Dropped
from gpu.cost import Cost, CostModel, Lane
from gpu.engine import Bucket
from gpu.errors import NotDecoded, Superseded
from gpu.short_windows import BUCKETS, FULL, Tuning
from streaming.channel import ChannelSettings
from streaming.decoding import DecodeJob, Float32Array, Hypothesis, Kind, Window
from streaming.endpoint import EndpointSettings
from streaming.ladder import Rung
from streaming.utterance import WindowSettings
from tests.bench.scoring import Percentiles, percentiles
from tests.support.virtual_time import run_virtually

UTTERANCE_S: Final = (2.5, 7.5)
"""Shortest and longest utterance."""
PAUSE_S: Final = 0.5
HESITATION_S: Final = EndpointSettings().hesitation_ms / 1000
"""Silence after which a final is begun."""
ENDPOINT_S: Final = EndpointSettings().endpoint_ms / 1000
"""Silence after which it may be shown."""
FIRST_PARTIAL_S: Final = WindowSettings().first_partial_s
SETTLE_S: Final = 4.0
"""Seconds at the beginning that do not count, over which callers begin."""
FINALS_PER_S: Final = 0.18
"""Of a channel."""
COUNTED_FINALS: Final = 400.0
"""That a modelled run is to have, if that takes neither too long nor too short."""
SHORTEST_S: Final = 8.0
LONGEST_S: Final = 40.0
"""Seconds of a modelled run that count."""
STRIDE: Final = 1.5
"""Factor between two numbers of channels that are tried before the last that is good is known to lie between them."""
USUAL_FRAMES: Final = 600
"""Of a window, padding counted."""
ANSWERED: Final = 0.9
"""Share of the partials that must be answered for a cadence to be kept."""


class Device(Protocol):
    """What decodes."""

    async def decode(self, job: DecodeJob) -> Hypothesis:
        """Decode a window."""
        ...


@dataclass(slots=True)
class Tally:
    """What callers saw."""

    finals_s: list[float] = field(default_factory=list[float])
    """End of speech to final, in seconds."""
    partials: int = 0
    """That were due."""
    answered: int = 0
    failed: int = 0

    @property
    def final(self) -> Percentiles:
        """Latency of finals."""
        return percentiles(self.finals_s)

    def keeps(self, limit_s: float) -> bool:
        """Whether finals came in time and partials kept their cadence."""
        return self.final.p95 <= limit_s and self.answered >= ANSWERED * self.partials and not self.failed


class Callers:
    """Channels on which somebody speaks all the time.

    Args:
        device: What decodes.
        rung: Whose cadence they keep.
        features: Speech that windows are cut from, shape ``(n_mels, n_frames)``.
        clock: Monotonic seconds.
        seed: Of what they say.
    """

    def __init__(
        self, device: Device, rung: Rung, features: Float32Array, clock: Callable[[], float], seed: int
    ) -> None:
        self.tally = Tally()
        self._device = device
        self._rung = rung
        self._features = features
        self._clock = clock
        self._random = random.Random(seed)  # noqa: S311 - what is said, not a secret
        self._numbers = count(1)
        self._settings = ChannelSettings()

    async def speak(self, channels: int, seconds: float) -> Tally:
        """Hold so many channels for so long."""
        began = self._clock()
        async with asyncio.TaskGroup() as tasks:
            for channel in range(channels):
                begin = began + SETTLE_S * channel / channels
                tasks.create_task(self._channel(channel, begin, began + SETTLE_S, began + seconds, tasks))
        return self.tally

    async def _channel(
        self, channel: int, begin: float, counted_from: float, until: float, tasks: asyncio.TaskGroup
    ) -> None:
        await self._until(begin)
        while self._clock() < until:
            start = self._clock()
            end = start + self._random.uniform(*UTTERANCE_S)
            at, counts = start + FIRST_PARTIAL_S, start > counted_from
            # those that are due, and not those that were asked for: who waits for an answer asks for no other
            self.tally.partials += counts * math.ceil((end - at) / self._rung.cadence_s)
            while at < end:
                await self._until(at)
                partial = self._partial(channel, self._clock() - start, counts=counts)
                await asyncio.wait([tasks.create_task(partial)], timeout=max(0.0, end - self._clock()))
                at = max(at + self._rung.cadence_s, self._clock())
            await self._until(end + HESITATION_S)
            tasks.create_task(self._final(channel, end - start, end, counts=end > counted_from))
            await self._until(end + PAUSE_S)

    async def _partial(self, channel: int, length_s: float, *, counts: bool) -> None:
        try:
            await self._device.decode(self._job(channel, Kind.PARTIAL, length_s, self._settings.partial_deadline_s))
        except Superseded:
            return
        except NotDecoded:
            self.tally.failed += 1
            return
        self.tally.answered += counts

    async def _final(self, channel: int, length_s: float, end: float, *, counts: bool) -> None:
        try:
            await self._device.decode(self._job(channel, Kind.FINAL, length_s, self._settings.final_deadline_s))
        except NotDecoded:
            self.tally.failed += 1
            return
        if counts:
            self.tally.finals_s.append(max(ENDPOINT_S, self._clock() - end))

    def _job(self, channel: int, kind: Kind, length_s: float, patience_s: float) -> DecodeJob:
        frames = max(1, round(100 * length_s))
        start = self._random.randrange(max(1, self._features.shape[1] - frames))
        window = Window(self._features[:, start : start + frames], kind, "en")
        now = self._clock()
        return DecodeJob(next(self._numbers), f"call-{channel}", 0, "bench", window, now, now + patience_s)

    async def _until(self, moment: float) -> None:
        await asyncio.sleep(max(0.0, moment - self._clock()))


class ModelledDevice:
    """The real batcher in front of batches that only take the time that was measured.

    Args:
        costs: Measured, in a few buckets; others lie on a line between them.
        rung: Models in force.
        streams: Batches at a time.
        max_batch: Largest batch.
        clock: Of the loop.
    """

    def __init__(
        self, costs: Sequence[Cost], rung: Rung, *, streams: int, max_batch: int, clock: Callable[[], float]
    ) -> None:
        self._costs = {(cost.model, cost.bucket): cost for cost in filled_in(costs)}
        self._rung = rung
        self._clock = clock
        self._batcher = Batcher(self._lane, CostModel(self._costs.values()), streams=streams, max_batch=max_batch)
        self._answers: dict[int, asyncio.Future[Hypothesis]] = {}
        self._random = random.Random(1)  # noqa: S311 - how long batches take
        self._alarm: asyncio.TimerHandle | None = None

    async def decode(self, job: DecodeJob) -> Hypothesis:
        """Decode nothing, as long as it would take."""
        answer: asyncio.Future[Hypothesis] = asyncio.get_running_loop().create_future()
        self._answers[job.job] = answer
        self._drop(self._batcher.add(job, self._clock()))
        self._pump()
        return await answer

    def _lane(self, job: DecodeJob) -> Lane:
        model = self._rung.final_model if job.window.kind is Kind.FINAL else self._rung.partial_model
        wanted = min(job.window.features.shape[1] + round(100 * Tuning().tail_s), FULL)
        return model, str(Bucket(next(length for length in BUCKETS if length >= wanted)))

    def _pump(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        now = self._clock()
        loop = asyncio.get_running_loop()
        self._drop(self._batcher.expire(now))
        while batch := self._batcher.take(now):
            seconds = self._seconds(batch)
            loop.call_later(seconds, self._done, batch, seconds)
        wake_at = self._batcher.wake_at(now)
        if wake_at is not None:
            self._alarm = loop.call_later(max(0.0, wake_at - now), self._pump)

    def _seconds(self, batch: Batch) -> float:
        model, bucket = batch.bucket
        cost = self._costs[model, str(bucket)]
        # Exponential, so that one in twenty takes more than the margin longer.
        return cost.line.at(len(batch.jobs)) + self._random.expovariate(1.0) * cost.margin_s / math.log(20)

    def _done(self, batch: Batch, seconds: float) -> None:
        self._batcher.finished(batch, seconds, self._clock())
        for job in batch.jobs:
            answer = self._answers.pop(job.job)
            if not answer.done():
                answer.set_result(Hypothesis((), "en", 1.0, 0.0, batch.model, aligned=True))
        self._pump()

    def _drop(self, dropped: Sequence[Dropped]) -> None:
        for gone in dropped:
            self._answers.pop(gone.job.job).set_exception(Superseded(gone.why.value))


def filled_in(costs: Sequence[Cost]) -> list[Cost]:
    """Costs of every bucket of greedy decoding, on straight lines between those that were measured."""
    filled: list[Cost] = []
    for model in dict.fromkeys(cost.model for cost in costs):
        greedy = [cost for cost in costs if cost.model == model and "x" not in cost.bucket]
        known = sorted((int(cost.bucket.split("+")[0]), cost) for cost in greedy)
        lengths = [length for length, _ in known]
        for length in BUCKETS:
            beyond = max(1.0, length / lengths[-1])  # longer than any that was measured: as much more as it is longer
            columns = zip(*((cost.fixed_s, cost.each_s, cost.margin_s) for _, cost in known), strict=True)
            fixed_s, each_s, margin_s = (beyond * float(np.interp(length, lengths, column)) for column in columns)
            filled.append(Cost(model, str(Bucket(length)), fixed_s, each_s, margin_s))
    return filled


def modelled(costs: Sequence[Cost], rung: Rung, channels: int, *, streams: int, max_batch: int) -> Tally:
    """Hold so many channels on measured costs, in no time: the longer, the fewer they are."""
    nothing = np.broadcast_to(np.float32(-10.0), (80, FULL))
    seconds = SETTLE_S + min(LONGEST_S, max(SHORTEST_S, COUNTED_FINALS / FINALS_PER_S / channels))

    async def work(clock: Callable[[], float]) -> Tally:
        device = ModelledDevice(costs, rung, streams=streams, max_batch=max_batch, clock=clock)
        return await Callers(device, rung, nothing, clock, seed=channels).speak(channels, seconds)

    return run_virtually(work)


def most(sustains: Callable[[int], bool], guess: int = 1, *, precision: float = 0.05) -> int:
    """The largest number of channels that is sustained; 0 if not even one is.

    Args:
        sustains: Whether a number is.
        guess: Where to begin.
        precision: Share by which the answer may be too small.
    """
    good, bad = 0, max(1, guess)
    while sustains(bad):
        good, bad = bad, max(bad + 1, round(bad * STRIDE))
    while not good and bad > 1:
        lower = max(1, round(bad / STRIDE))
        good, bad = (lower, bad) if sustains(lower) else (0, lower)
    while good and bad - good > max(1, precision * good):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if sustains(middle) else (good, middle)
    return good


def bound(costs: Sequence[Cost], rung: Rung, *, streams: int, max_batch: int) -> int:
    """Channels whose windows would fill every batch to the brim: none carries as many, and most carry half."""
    known = filled_in(costs)

    def each_s(model: str) -> float:
        line = next(cost.line for cost in known if cost.model == model and cost.bucket == str(Bucket(USUAL_FRAMES)))
        return line.at(max_batch) / max_batch / streams

    asked_s = each_s(rung.partial_model) / rung.cadence_s + FINALS_PER_S * each_s(rung.final_model)
    return max(1, math.floor(1 / asked_s))
