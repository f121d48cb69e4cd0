"""What the gateway costs: CPU per channel of 20 ms mu-law messages in real time, with a log that keeps nothing.

Run it as ``python -m tests.bench.gateway_cpu``; callers run in a process of their own and are not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import multiprocessing
import os
import resource
import socket
import struct
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import uvloop

from server import logs
from server.gateway import Gateway
from server.settings import load
from streaming.log import Entry, Topic

FRAME_S = 0.02
SAMPLES = bytes(range(160))
STREAM = "MZ" + 32 * "0"
PATHS = {"native": "/v1/stream", "twilio": "/bridges/twilio", "telnyx": "/bridges/telnyx"}


class NoLog:
    """A log that forgets at once."""

    def __init__(self) -> None:
        self.appended = 0

    @property
    def slots(self) -> int:
        """Number of slots of every topic."""
        return 256

    async def append(self, topic: Topic, slot: int, key: str, value: bytes) -> asyncio.Future[int]:
        """Forget a record."""
        del slot, key, value
        self.appended += topic is Topic.AUDIO
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        done.set_result(self.appended)
        return done

    def reader(self, topic: Topic) -> NoReader:
        """Open a reader that never reads anything."""
        del topic
        return NoReader()

    async def end_offset(self, topic: Topic, slot: int) -> int:
        """Return 0."""
        del topic, slot
        return 0

    async def start_offsets(self, topic: Topic) -> dict[int, int]:
        """Return 0 for every slot."""
        del topic
        return dict.fromkeys(range(self.slots), 0)

    async def end_offsets(self, topic: Topic) -> dict[int, int]:
        """Return 0 for every slot."""
        del topic
        return dict.fromkeys(range(self.slots), 0)

    async def trim(self, topic: Topic, slot: int, before: int) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


class NoReader:
    """Waits for ever."""

    def assign(self, positions: Mapping[int, int]) -> None:
        """Do nothing."""

    async def next(self) -> list[Entry]:
        """Wait for ever."""
        await asyncio.Event().wait()
        return []

    async def close(self) -> None:
        """Do nothing."""


def frame(opcode: int, payload: bytes) -> bytes:
    """Return a masked WebSocket frame; the mask is zero, which costs the server as much as any other."""
    length = struct.pack("!B", 0x80 | len(payload)) if len(payload) < 126 else struct.pack("!BH", 0xFE, len(payload))
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


def start_of(protocol: str, number: int) -> bytes:
    """Return the frame that starts a call."""
    audio = {"encoding": "mulaw", "sample_rate": 8000, "channels": 1}
    native = {"type": "start", "call": str(number), "audio": audio}
    twilio = {"event": "start", "streamSid": str(number), "start": {"tracks": ["inbound"]}}
    telnyx = {"event": "start", "stream_id": str(number), "start": {"media_format": {"encoding": "PCMU"}}}
    return frame(1, json.dumps({"native": native, "twilio": twilio, "telnyx": telnyx}[protocol]).encode())


def media_of(protocol: str, tick: int) -> bytes:
    """Return the frame of a call's next 20 ms of audio."""
    if protocol == "native":
        return frame(2, SAMPLES)
    stamp = str(round(tick * FRAME_S * 1000))
    payload = base64.b64encode(SAMPLES).decode()
    media = {"track": "inbound", "chunk": str(tick + 1), "timestamp": stamp, "payload": payload}
    if protocol == "telnyx":
        message = {"event": "media", "sequence_number": str(tick + 2), "media": media, "stream_id": STREAM}
    else:
        message = {"event": "media", "sequenceNumber": str(tick + 2), "media": media, "streamSid": STREAM}
    return frame(1, json.dumps(message).encode())


def call(protocol: str, port: int, channels: int, seconds: float) -> None:
    """Make calls in real time, from a process of their own."""
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(channels)]
    for number, one in enumerate(sockets):
        one.sendall(
            f"GET {PATHS[protocol]} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        one.recv(4096)
        one.sendall(start_of(protocol, number))
    begin = time.monotonic()
    for tick in range(round(seconds / FRAME_S)):
        time.sleep(max(0.0, begin + tick * FRAME_S - time.monotonic()))
        media = media_of(protocol, tick)
        for one in sockets:
            one.sendall(media)
    late_s = time.monotonic() - begin - seconds
    sys.stderr.write(f"callers ended {late_s:+.2f} s late\n")


async def measure(protocol: str, channels: int, seconds: float) -> dict[str, object]:
    """Return what the calls cost this process."""
    log = NoLog()
    limits = {"limits.max_calls": "5000", "limits.max_calls_per_tenant": "5000", "listen.port": "0"}
    gateway = Gateway(load(None, {**limits, "limits.closing_s": "0.5"}), log)
    async with gateway.serving() as port:
        callers = multiprocessing.get_context("spawn").Process(target=call, args=(protocol, port, channels, seconds))
        callers.start()
        while gateway.directory.live < channels:  # noqa: ASYNC110 - another process makes the calls
            await asyncio.sleep(0.01)
        cpu, wall, appended = time.process_time(), time.monotonic(), log.appended
        await asyncio.sleep(seconds * 0.8)
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        appended = log.appended - appended
        await asyncio.to_thread(callers.join)
    return {
        "protocol": protocol,
        "channels": channels,
        "cpu_share_of_one_core": round(cpu / wall, 3),
        "cpu_ms_per_channel_second": round(1000 * cpu / wall / channels, 3),
        "channels_per_core": round(channels * wall / cpu),
        "records_per_channel_second": round(appended / wall / channels, 1),
        "memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "cores": os.cpu_count(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    """Measure each protocol and print a JSON line for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocols", nargs="+", choices=[*PATHS], default=["native", "twilio"])
    parser.add_argument("--channels", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0)
    chosen = parser.parse_args()
    logs.configure("error", "json")
    for protocol in chosen.protocols:
        found = uvloop.run(measure(protocol, chosen.channels, chosen.seconds))
        sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
