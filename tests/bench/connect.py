"""How long a connection takes to be set up: so many new ones a second, on a gateway that also carries calls.

Run it as ``python -m tests.bench.connect``; callers run in a process of their own. Asterisk gives up after 500 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from multiprocessing.connection import Connection

import numpy as np
import uvloop
from websockets.asyncio.client import connect

from server import logs
from tests.support.gateways import running, settings

GENERIC = "/bridges/generic?encoding=mulaw&sample_rate=8000&channels=1"
FRAME_S = 0.02
FRAME = b"\xff" * 160


async def calls(port: int, count: int, stop: asyncio.Event) -> None:
    """Carry calls in real time until told to stop."""

    async def one() -> None:
        async with connect(f"ws://127.0.0.1:{port}{GENERIC}", compression=None) as socket:
            while not stop.is_set():
                await socket.send(FRAME)
                await asyncio.sleep(FRAME_S)

    await asyncio.gather(*(one() for _ in range(count)))


async def attempts(port: int, rate: float, seconds: float) -> list[float]:
    """Connect at a steady rate, whatever becomes of earlier ones; return how long each took, in seconds."""
    took: list[float] = []

    async def one(due: float) -> None:
        async with connect(f"ws://127.0.0.1:{port}{GENERIC}", compression=None, open_timeout=30) as socket:
            took.append(time.perf_counter() - due)
            await socket.send(FRAME)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(round(rate * seconds)):
            due = begun + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(one(due))
    return took


async def caller(port: int, rate: float, seconds: float, count: int) -> list[float]:
    """Connect beside calls in progress."""
    stop = asyncio.Event()
    carried = asyncio.create_task(calls(port, count, stop))
    await asyncio.sleep(1.0)
    took = await attempts(port, rate, seconds)
    stop.set()
    with suppress(OSError):
        await carried
    return took


def call_in(pipe: Connection, port: int, rate: float, seconds: float, count: int) -> None:
    """Be the callers' process."""
    gc.freeze()  # what the callers' own collector stops is none of the gateway's time
    pipe.send(uvloop.run(caller(port, rate, seconds, count)))


async def measure(rate: float, seconds: float, count: int) -> list[float]:
    """Serve, let callers call, return how long each connection took."""
    gc.freeze()  # as python -m server does
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    async with running(settings(limits__max_calls="100000", limits__max_calls_per_tenant="100000")) as served:
        process = context.Process(target=call_in, args=(theirs, served.port, rate, seconds, count))
        process.start()
        took: list[float] = await asyncio.to_thread(ours.recv)
        await asyncio.to_thread(process.join)
    return took


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench and print its report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=50.0, help="new connections a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--calls", type=int, default=50, help="calls in progress beside them")
    chosen = parser.parse_args(arguments)
    logs.configure("warning", "json")
    took = uvloop.run(measure(chosen.rate, chosen.seconds, chosen.calls))
    p50, p95, p99 = (round(float(value) * 1000, 1) for value in np.percentile(took, [50, 95, 99]))
    report = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "per_second": chosen.rate,
        "calls_beside": chosen.calls,
        "connections": len(took),
        "ms": {"p50": p50, "p95": p95, "p99": p99, "max": round(max(took) * 1000, 1)},
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
