"""Channels held for real on a device process: how soon their finals came, and what was used for each."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import count
from typing import Final

from gpu.status import DeviceStatus
from server.governed import GovernedDevices
from streaming.decoding import DecodeJob, Float32Array, Kind, Window
from streaming.ladder import Rung
from tests.bench.device_channels import HESITATION_S, UTTERANCE_S, Callers, Tally
from tests.bench.device_sessions import Sitting, Speakers
from tests.bench.device_store import Row
from tests.bench.running import PROC, busy_s, parse_stat
from tests.bench.scoring import percentiles

TRIES: Final = 3
"""Numbers of channels that are tried at most."""
STEP: Final = 1.25
"""Factor between two of them."""
LATE_S: Final = 0.1
"""How late audio may be handed over before the host is what is measured."""
LONE_FINALS: Final = 20


class By(StrEnum):
    """Who makes the windows that are held."""

    CALLERS = "callers"
    """The same as for the model: cut from speech, by cadence, and with nothing else to do for the host."""
    SESSIONS = "sessions"
    """Voice activity and sessions, from telephone audio as it is spoken."""


@dataclass(frozen=True, slots=True)
class _Used:
    """Processor time up to a moment, in seconds."""

    at: float
    host_s: float
    device_s: float
    machine_s: float

    def others_cores(self, before: _Used) -> float:
        """Processors that others used on average since an earlier moment."""
        own_s = self.host_s + self.device_s - before.host_s - before.device_s
        return round(max(0.0, self.machine_s - before.machine_s - own_s) / (self.at - before.at), 2)


class Carrier:
    """A device process that is given channels.

    Args:
        devices: One device.
        features: Speech that windows are cut from, shape ``(n_mels, n_frames)``.
        hold_s: Seconds that channels are held.
        limit_s: Most that p95 of end of speech to final may be.
    """

    def __init__(
        self,
        devices: GovernedDevices,
        features: Float32Array,
        *,
        hold_s: float,
        limit_s: float,
    ) -> None:
        self._devices = devices
        self._pool = devices.pool
        self._features = features
        self._hold_s = hold_s
        self._limit_s = limit_s
        self._numbers = count(10**9)

    async def hold(self, rung: Rung, channels: int, by: By) -> Row:
        """Hold a number of channels."""
        self._pool.set_rung(rung)
        speakers = self._speakers  # loaded before the time is taken
        before = self._used()
        if by is By.SESSIONS:
            tally: Tally = await speakers.speak(rung, channels, self._hold_s)
        else:
            clock = asyncio.get_running_loop().time
            tally = await Callers(self._pool, rung, self._features, clock, seed=channels).speak(channels, self._hold_s)
        return self._row(channels, tally, before, self._used())

    async def alone(self, rung: Rung) -> Row:
        """Decode finals one after the other, with nothing beside them."""
        self._pool.set_rung(rung)
        before = self._used()
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
        return {
            "alone_p50_ms": round(1000 * found.p50),
            "alone_p95_ms": round(1000 * found.p95),
            "others_cores": self._used().others_cores(before),
        }

    def _row(self, channels: int, tally: Tally, before: _Used, after: _Used) -> Row:
        wall_s = after.at - before.at
        host_s, device_s = after.host_s - before.host_s, after.device_s - before.device_s
        memory = self._device.memory
        late_s = tally.late_s if isinstance(tally, Sitting) else 0.0
        some = tally.final.count > 0
        return {
            "held_p50_ms": round(1000 * tally.final.p50) if some else None,
            "held_p95_ms": round(1000 * tally.final.p95) if some else None,
            "finals": tally.final.count,
            "partials_pct": round(100 * tally.answered / max(1, tally.partials)),
            "verdict": verdict(tally, self._limit_s, late_s),
            "host_cpu_ms_per_channel_s": round(1000 * host_s / wall_s / channels, 2),
            "device_cpu_ms_per_channel_s": round(1000 * device_s / wall_s / channels, 2),
            "device_mib": memory.used_mib if memory else None,
            "others_cores": after.others_cores(before),
        }

    @cached_property
    def _speakers(self) -> Speakers:
        return Speakers(self._devices, self._features.shape[0])

    @property
    def _device(self) -> DeviceStatus:
        return self._pool.status().devices[0]

    def _used(self) -> _Used:
        pid = self._device.pid
        device_s = parse_stat((PROC / f"{pid}" / "stat").read_text()).cpu_s if pid else 0.0
        return _Used(time.monotonic(), time.process_time(), device_s, busy_s((PROC / "stat").read_text()))


def verdict(tally: Tally, limit_s: float, late_s: float = 0.0) -> str:
    """Say what was not kept, or ``kept``."""
    if tally.failed:
        return f"{tally.failed} finals failed"
    if late_s > LATE_S:
        return f"host {late_s:.1f} s late"
    if not tally.final.p95 <= limit_s:  # no final at all is no good either
        return f"p95 over {limit_s:g} s"
    return "kept" if tally.keeps(limit_s) else "partials missed"


async def around(hold: Callable[[int], Awaitable[Row]], guess: int) -> None:
    """Hold a number of channels, then more or fewer, until of two neighbours one is kept and the other is not.

    Args:
        hold: Holds so many.
        guess: Where to begin.
    """
    channels, up = max(1, guess), None
    for _ in range(TRIES):
        kept = (await hold(channels))["verdict"] == "kept"
        up = kept if up is None else up
        if kept is not up:
            return
        following = max(channels + 1, round(channels * STEP)) if up else min(channels - 1, round(channels / STEP))
        if following < 1:
            return
        channels = following
