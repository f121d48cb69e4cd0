"""What the log in Kafka costs: from append in one process to arrival in another, and what one writer carries.

    python -m tests.bench.kafka_log                        # starts a broker of its own
    python -m tests.bench.kafka_log --bootstrap HOST:PORT  # measures a cluster of yours

One chunk is 200 ms of G.711. One line of JSON per measurement.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import struct
import sys
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Final

import numpy as np
import uvloop

from streaming.log import Topic
from streaming.log.kafka import KafkaLog, KafkaSettings
from tests.support.kafka_broker import SERVING_JVM, VERSIONS, KafkaCluster

CHUNK_BYTES: Final = 1600
CHUNKS_PER_S: Final = 5
SLOTS: Final = (1, 64, 256)
STAMP: Final = struct.Struct("<d")  # the monotonic clock is one for all processes of a machine


def chunk() -> bytes:
    """Return a chunk that says when it was made."""
    return STAMP.pack(time.monotonic()) + bytes(CHUNK_BYTES - STAMP.size)


async def _read(settings: KafkaSettings, count: int, pipe: Connection) -> None:
    pipe.recv()
    log = await KafkaLog.connect(settings)
    reader = log.reader(Topic.AUDIO)
    reader.assign({slot: await log.end_offset(Topic.AUDIO, slot) for slot in range(settings.slots)})
    pending = asyncio.create_task(reader.next())
    await asyncio.sleep(1.0)  # the first fetch is at the broker
    pipe.send("ready")
    used = time.process_time()
    taken: list[float] = []
    while len(taken) < count:
        entries = await pending
        now = time.monotonic()
        taken += [now - STAMP.unpack_from(entry.value)[0] for entry in entries]
        pending = asyncio.create_task(reader.next())
    pending.cancel()
    pipe.send((taken, time.process_time() - used))
    await log.close()


def _reader(settings: KafkaSettings, count: int, pipe: Connection) -> None:
    uvloop.run(_read(settings, count, pipe))


def _note(durable: list[float], sent: float, _: asyncio.Future[int]) -> None:
    durable.append(time.monotonic() - sent)


async def _write(
    settings: KafkaSettings, pipe: Connection, per_slot_s: float, seconds: float
) -> tuple[list[float], float]:
    log = await KafkaLog.connect(settings)
    for slot in range(settings.slots):  # the first record of a slot finds cold code and new files
        await (await log.append(Topic.AUDIO, slot, "call", b""))
    pipe.send("warm")
    pipe.recv()  # "ready"
    durable: list[float] = []
    used = time.process_time()
    began = time.monotonic()
    count = round(settings.slots * per_slot_s * seconds)
    for index in range(count):
        due = began + index / (settings.slots * per_slot_s)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        sent = time.monotonic()
        done = await log.append(Topic.AUDIO, index % settings.slots, "call", chunk())
        done.add_done_callback(partial(_note, durable, sent))
    used = time.process_time() - used
    await log.close()
    return durable, used


def latency(bootstrap: str, slots: int, seconds: float, linger_ms: int) -> dict[str, object]:
    """Measure append to arrival at a steady rate."""
    settings = KafkaSettings(bootstrap, prefix=f"bench-{os.getpid()}-{slots}", slots=slots, linger_ms=linger_ms)
    per_slot_s = max(CHUNKS_PER_S, 50 / slots)
    here, there = multiprocessing.Pipe()
    count = round(slots * per_slot_s * seconds)
    reading = multiprocessing.get_context("spawn").Process(target=_reader, args=(settings, count, there))
    reading.start()
    durable, wrote_s = uvloop.run(_write(settings, here, per_slot_s, seconds))
    taken, read_s = here.recv()
    reading.join()
    return {
        "slots": slots,
        "linger_ms": linger_ms,
        "records_per_s": slots * per_slot_s,
        **percentiles("append_to_read_ms", taken),
        **percentiles("append_to_durable_ms", durable),
        "writer_cpu_percent": round(100 * wrote_s / seconds, 1),
        "reader_cpu_percent": round(100 * read_s / seconds, 1),
    }


async def _flood(settings: KafkaSettings, count: int) -> dict[str, object]:
    log = await KafkaLog.connect(settings)
    began, used = time.monotonic(), time.process_time()
    last: dict[int, asyncio.Future[int]] = {}
    for index in range(count):
        slot = index % settings.slots
        last[slot] = await log.append(Topic.AUDIO, slot, "call", chunk())
        if index % 64 == 0:
            await asyncio.sleep(0)
    for done in last.values():
        await done
    took, used = time.monotonic() - began, time.process_time() - used
    await log.close()
    return {
        "flood_slots": settings.slots,
        "records_per_s": round(count / took),
        "mb_per_s": round(count * CHUNK_BYTES / took / 1e6, 1),
        "cpu_us_per_record": round(1e6 * used / count, 1),
        "idempotent": log.idempotent,
    }


def percentiles(name: str, seconds: Sequence[float]) -> dict[str, object]:
    """Return p50, p99 and the largest, in ms."""
    values = np.asarray(seconds) * 1000
    names = {"p50": 50, "p99": 99, "max": 100}
    return {f"{name}_{each}": round(float(np.percentile(values, at)), 2) for each, at in names.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, one line each."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--bootstrap", default=os.environ.get("KAFKA_BOOTSTRAP", ""))
    parser.add_argument("--version", choices=VERSIONS, default=VERSIONS[0])
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--slots", type=int, nargs="*", default=SLOTS)
    parser.add_argument("--linger-ms", type=int, default=KafkaSettings("").linger_ms)
    chosen = parser.parse_args(arguments)
    cluster = None if chosen.bootstrap else KafkaCluster(version=chosen.version, jvm=SERVING_JVM)
    bootstrap = cluster.bootstrap if cluster else chosen.bootstrap
    try:
        for slots in chosen.slots:
            sys.stdout.write(json.dumps(latency(bootstrap, slots, chosen.seconds, chosen.linger_ms)) + "\n")
            sys.stdout.flush()
        settings = KafkaSettings(bootstrap, prefix=f"bench-{os.getpid()}-flood", slots=64)
        sys.stdout.write(json.dumps(uvloop.run(_flood(settings, 100_000))) + "\n")
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        sys.stdout.write(json.dumps({"cores": os.cpu_count(), "peak_rss_mb": round(peak_mb)}) + "\n")
    finally:
        if cluster is not None:
            cluster.stop()


if __name__ == "__main__":
    main()
