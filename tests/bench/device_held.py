"""How many channels a device process really carries, what it uses for each, and how soon one alone has its finals."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from itertools import count
from typing import Final

from gpu.pool import DevicePool
from streaming.decoding import DecodeJob, Float32Array, Kind, Window
from streaming.ladder import Rung
from tests.bench.device_channels import HESITATION_S, UTTERANCE_S, Callers, Tally
from tests.bench.running import PROC, busy_s, parse_stat
from tests.bench.scoring import Value, percentiles

TRIES: Final = 3
"""Numbers of channels that are tried: that of the model, and then fewer."""
FEWER: Final = 0.8
"""Share of the channels of a try that failed which the next has at most."""
LONE_FINALS: Final = 20

Row = dict[str, Value]


@dataclass(frozen=True, slots=True)
class _Used:
    """Processor time up to a moment, in seconds."""

    at: float
    host_s: float
    device_s: float
    machine_s: float


class Carrier:
    """A device process that is given channels.

    Args:
        pool: Of one device.
        features: Speech that windows are cut from, shape ``(n_mels, n_frames)``.
        hold_s: Seconds that channels are held.
        limit_s: Most that p95 of end of speech to final may be.
    """

    def __init__(self, pool: DevicePool, features: Float32Array, hold_s: float, limit_s: float) -> None:
        self._pool = pool
        self._features = features
        self._hold_s = hold_s
        self._limit_s = limit_s
        self._numbers = count(10**9)

    async def most(self, rung: Rung, guess: int) -> Row:
        """Hold a number of channels, and fewer until they are kept."""
        self._pool.set_rung(rung)
        channels, row = max(1, guess), Row()
        for _ in range(TRIES):
            before = self._used()
            clock = asyncio.get_running_loop().time
            tally = await Callers(self._pool, rung, self._features, clock, seed=channels).speak(channels, self._hold_s)
            row = self._row(channels, tally, before, self._used())
            if tally.keeps(self._limit_s) or channels == 1:
                break
            answered = tally.answered / max(1, tally.partials)
            channels = max(1, min(channels - 1, round(channels * min(FEWER, answered))))
        return row

    async def alone(self, rung: Rung) -> Row:
        """Decode finals one after the other, with nothing beside them."""
        self._pool.set_rung(rung)
        chance = random.Random(1)  # noqa: S311  lengths of utterances
        took: list[float] = []
        for number in range(LONE_FINALS):
            frames = round(100 * chance.uniform(*UTTERANCE_S))
            start = (number * 977) % (self._features.shape[1] - frames)
            window = Window(self._features[:, start : start + frames], Kind.FINAL, "en")
            now = time.monotonic()
            await self._pool.decode(DecodeJob(next(self._numbers), "alone", 0, "bench", window, now, now + 1.0))
            took.append(HESITATION_S + time.monotonic() - now)
        found = percentiles(took)
        return {"alone_p50_ms": round(1000 * found.p50), "alone_p95_ms": round(1000 * found.p95)}

    def _row(self, channels: int, tally: Tally, before: _Used, after: _Used) -> Row:
        wall_s = after.at - before.at
        host_s, device_s = after.host_s - before.host_s, after.device_s - before.device_s
        others_s = after.machine_s - before.machine_s - host_s - device_s
        memory = self._pool.status().devices[0].memory
        return {
            "channels_held": channels if tally.keeps(self._limit_s) else 0,
            "held_p50_ms": round(1000 * tally.final.p50),
            "held_p95_ms": round(1000 * tally.final.p95),
            "partials_pct": round(100 * tally.answered / max(1, tally.partials)),
            "finals": tally.final.count,
            "host_cpu_ms_per_channel_s": round(1000 * host_s / wall_s / channels, 2),
            "device_cpu_ms_per_channel_s": round(1000 * device_s / wall_s / channels, 2),
            "device_mib": memory.used_mib if memory else None,
            "others_cores": round(max(0.0, others_s) / wall_s, 2),
        }

    def _used(self) -> _Used:
        pid = self._pool.status().devices[0].pid
        device_s = parse_stat((PROC / f"{pid}" / "stat").read_text()).cpu_s if pid else 0.0
        return _Used(time.monotonic(), time.process_time(), device_s, busy_s((PROC / "stat").read_text()))
