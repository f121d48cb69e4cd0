"""What the boundary between a shard and a device process costs: jobs per second, latency added, processor time per job.

    python -m tests.bench.device_boundary --rate 500 --seconds 5 --uvloop

The engine answers at once, so all that is measured is ours: the window's way over, the batcher, the answer's way back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import time
from dataclasses import dataclass

import numpy as np
import uvloop

from gpu.errors import Superseded
from gpu.pool import DevicePool
from gpu.spec import DeviceSpec
from streaming.decoding import DecodeJob, Kind, Window
from streaming.ladder import Rung


@dataclass(slots=True)
class Tally:
    """What was measured."""

    latencies_s: list[float]
    superseded: int = 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="cost of the device boundary")
    parser.add_argument("--rate", type=float, default=500, help="jobs per second, as a Poisson process")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--frames", type=int, default=300, help="10 ms frames of a window")
    parser.add_argument("--max-batch", type=int, default=32)
    parser.add_argument("--engine", default="tests.support.chaos:build")
    parser.add_argument("--fixed-s", type=float, default=0.0, help="seconds a batch of the engine takes")
    parser.add_argument("--uvloop", action="store_true")
    return parser.parse_args()


async def measure(options: argparse.Namespace) -> dict[str, object]:
    """Drive one device at a rate."""
    costs: dict[str, float] = {"fixed_s": options.fixed_s, "each_s": 0.0}
    spec = DeviceSpec(name="bench", models=("m",), engine=options.engine, max_batch=options.max_batch, options=costs)
    features = np.full((80, options.frames), -10.0, np.float32)
    features[0, :2] = 0
    tally = Tally([])
    chance = random.Random(1)  # noqa: S311  arrivals, not secrets

    async def one(pool: DevicePool, number: int) -> None:
        now = time.monotonic()
        kind = Kind.FINAL if number % 5 == 0 else Kind.PARTIAL
        window = Window(features, kind, "en")
        job = DecodeJob(number, f"call-{number % 3000}", 0, "tenant", window, now, now + 1.0)
        try:
            await pool.decode(job)
        except Superseded:
            tally.superseded += 1
        else:
            tally.latencies_s.append(time.monotonic() - now)

    async with DevicePool([spec], Rung("m", "m")) as pool:
        await pool.ready()
        host_s, began, number = time.process_time(), time.monotonic(), 0
        at = began
        async with asyncio.TaskGroup() as tasks:
            while at < began + options.seconds:
                at += chance.expovariate(options.rate)
                await asyncio.sleep(max(0.0, at - time.monotonic()))
                number += 1
                tasks.create_task(one(pool, number))
        took_s, host_s = time.monotonic() - began, time.process_time() - host_s
        device_s = device_time(pool)
    quantiles = np.percentile(np.array(tally.latencies_s) * 1000, [50, 95, 99])
    return {
        "machine": f"{os.cpu_count()} x {platform.machine()}",
        "loop": "uvloop" if options.uvloop else "asyncio",
        "jobs": number,
        "jobs_per_s": round(number / took_s),
        "superseded": tally.superseded,
        "added_ms": dict(zip(("p50", "p95", "p99"), (round(float(each), 2) for each in quantiles), strict=True)),
        "host_us_per_job": round(host_s / number * 1e6),
        "device_us_per_job": round(device_s / number * 1e6),
    }


def device_time(pool: DevicePool) -> float:
    """Seconds of a processor that the device process has used, its start included."""
    with open(f"/proc/{pool.status().devices[0].pid}/stat") as file:  # noqa: PTH123  a bench may wait for a file
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print JSON."""
    options = parse()
    run = uvloop.run if options.uvloop else asyncio.run
    print(json.dumps(run(measure(options))))  # noqa: T201


if __name__ == "__main__":
    main()
