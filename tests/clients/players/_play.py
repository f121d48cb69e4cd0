"""What every player does: read the recording, send it in real time, report what came back.

Players run in environments of their own, so they share nothing with the repository but this file.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version

PIECE_S = 0.1
"""Seconds of audio per message."""


@dataclass
class Job:
    """What the runner asks for: ports and a 16-bit mono recording."""

    port: int
    wyoming_port: int
    path: str
    partials: list[str] = field(default_factory=list)
    finals: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        with wave.open(self.path) as recording:
            self.rate = recording.getframerate()
            self.samples = recording.readframes(recording.getnframes())

    def pieces(self) -> Iterator[bytes]:
        """Give out the recording in pieces, and a second of silence behind it."""
        samples = self.samples + bytes(2 * self.rate)
        size = 2 * round(self.rate * PIECE_S)
        for at in range(0, len(samples), size):
            yield samples[at : at + size]

    async def live(self) -> AsyncIterator[bytes]:
        """Give out the pieces in real time."""
        begun = time.monotonic()
        for number, piece in enumerate(self.pieces()):
            await asyncio.sleep(max(0.0, begun + number * PIECE_S - time.monotonic()))
            yield piece

    def report(self, package: str, proved: str) -> None:
        """Print what was found out, for the runner."""
        told = {
            "version": version(package),
            "partials": len([text for text in self.partials if text]),
            "finals": [text.strip() for text in self.finals if text.strip()],
            "proved": proved,
        }
        sys.stdout.write("\n" + json.dumps(told) + "\n")
        sys.stdout.flush()


def play(player: Callable[[Job], Awaitable[None]]) -> None:
    """Run a player."""
    asyncio.run(_within(player, Job(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))


async def _within(player: Callable[[Job], Awaitable[None]], job: Job) -> None:
    async with asyncio.timeout(60):
        await player(job)
