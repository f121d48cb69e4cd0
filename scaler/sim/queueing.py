"""The line before a simulated device: the real batcher behind a small interface, and what a plain server does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from scaler.sim.hardware import Hardware
from streaming.decoding import DecodeJob, Kind
from streaming.ladder import Rung

__all__ = ["Fifo", "Queue", "QueueFactory", "Taken", "model_of"]

FIFO_BATCH: Final = 16
"""Most windows a plain server puts together."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A batch that leaves the line."""

    jobs: tuple[DecodeJob, ...]
    model: str
    frames: int
    """Length of its longest window, rounded up to what the hardware tells apart."""
    done: Callable[[float, float], None]
    """To be called with the seconds it took and the time."""


class Queue(Protocol):
    """The line before one device."""

    def add(self, job: DecodeJob, now: float) -> Sequence[DecodeJob]:
        """Put a job in; return those that are dropped for it."""
        ...

    def cancel(self, number: int) -> None:
        """Take a job out, if it waits."""
        ...

    def take(self, now: float) -> Taken | None:
        """Return the next batch, if there is one and a stream for it."""
        ...

    def wake_at(self, now: float) -> float | None:
        """When ``take`` may return one though nothing else happens."""
        ...

    def expire(self, now: float) -> Sequence[DecodeJob]:
        """Drop what is worthless."""
        ...

    def waits(self, now: float) -> tuple[float, float, int]:
        """Seconds a new final would wait, seconds until all is done, and jobs that wait."""
        ...

    def set_rung(self, rung: Rung) -> None:
        """Put other models in force."""
        ...

    def each_s(self, model: str, seconds: float, beam: int) -> float:
        """Seconds of the device that a window takes in a full batch, as far as is known."""
        ...


QueueFactory = Callable[[Hardware, Rung], Queue]


def model_of(job: DecodeJob, rung: Rung) -> str:
    """Which model decodes a job."""
    return rung.final_model if job.window.kind is Kind.FINAL else rung.partial_model


class Fifo:
    """First come, first served, nothing dropped, up to 16 at a time: what most servers do.

    Args:
        hardware: What it stands before.
        rung: Models in force.
    """

    def __init__(self, hardware: Hardware, rung: Rung) -> None:
        self._hardware = hardware
        self._rung = rung
        self._line: deque[DecodeJob] = deque()
        self._running = 0

    def add(self, job: DecodeJob, now: float) -> Sequence[DecodeJob]:
        """Put a job at the end."""
        del now
        self._line.append(job)
        return ()

    def cancel(self, number: int) -> None:
        """Nothing is ever taken out."""

    def take(self, now: float) -> Taken | None:
        """Return the first jobs."""
        del now
        if not self._line or self._running >= self._hardware.streams:
            return None
        size = min(FIFO_BATCH, self._hardware.max_batch, len(self._line))
        jobs = tuple(self._line.popleft() for _ in range(size))
        self._running += 1
        model = model_of(jobs[0], self._rung)
        frames = max(self._hardware.frames(model, job.window.seconds) for job in jobs)
        return Taken(jobs, model, frames, self._finished)

    def _finished(self, seconds: float, now: float) -> None:
        del seconds, now
        self._running -= 1

    def wake_at(self, now: float) -> float | None:
        """At once, if a stream is free."""
        return now if self._line and self._running < self._hardware.streams else None

    def expire(self, now: float) -> Sequence[DecodeJob]:
        """Nothing is ever dropped."""
        del now
        return ()

    def waits(self, now: float) -> tuple[float, float, int]:
        """What waits, all of it before a new final."""
        del now
        each_s = self.each_s(self._rung.partial_model, 3.0, 1)
        wait_s = len(self._line) * each_s
        return wait_s, wait_s, len(self._line)

    def set_rung(self, rung: Rung) -> None:
        """Put other models in force."""
        self._rung = rung

    def each_s(self, model: str, seconds: float, beam: int) -> float:
        """What a window takes in a batch of 16."""
        del beam
        size = min(FIFO_BATCH, self._hardware.max_batch)
        return (
            self._hardware.seconds(model, self._hardware.frames(model, seconds), size) / size / self._hardware.streams
        )
