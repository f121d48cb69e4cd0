"""The real batcher and cost model, for the simulator. The one module of the simulator that knows ``gpu``.

``scaler`` may not import ``gpu``: siblings meet only where a process is put together. The simulator is put together
here, so that it runs the very code that devices run and cannot drift from it; everything else in it sees the interface
in ``queueing``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpu.batcher import Batch, Batcher
from gpu.cost import Cost, CostModel, Lane
from gpu.profile import read_profile
from scaler.sim.hardware import Hardware
from scaler.sim.queueing import Taken, model_of
from streaming.decoding import DecodeJob
from streaming.ladder import Rung

__all__ = ["Deadlines", "measured"]


class Deadlines:
    """The line of a device as Trunkline runs it: finals first, newest partials only, batches by deadline and cost.

    Args:
        hardware: What it stands before; its costs are known from the start, as from a profile.
        rung: Models in force.
    """

    def __init__(self, hardware: Hardware, rung: Rung) -> None:
        self._hardware = hardware
        self._rung = rung
        self._costs = CostModel(
            Cost(model, str(frames), fixed_s, each_s)
            for model, lines in hardware.lines.items()
            for frames, fixed_s, each_s in lines
        )
        self._batcher = Batcher(self._bucket, self._costs, streams=hardware.streams, max_batch=hardware.max_batch)

    def add(self, job: DecodeJob, now: float) -> Sequence[DecodeJob]:
        """Put a job in; return those that are dropped for it."""
        return [gone.job for gone in self._batcher.add(job, now)]

    def cancel(self, number: int) -> None:
        """Take a job out, if it waits."""
        self._batcher.cancel(number)

    def take(self, now: float) -> Taken | None:
        """Return the next batch, if a stream is free and waiting would not help."""
        batch = self._batcher.take(now)
        if batch is None:
            return None
        frames = int(str(batch.bucket[1]))
        return Taken(batch.jobs, batch.model, frames, lambda seconds, at: self._done(batch, seconds, at))

    def _done(self, batch: Batch, seconds: float, now: float) -> None:
        self._batcher.finished(batch, seconds, now)

    def wake_at(self, now: float) -> float | None:
        """When ``take`` may return one though nothing else happens."""
        return self._batcher.wake_at(now)

    def expire(self, now: float) -> Sequence[DecodeJob]:
        """Drop partials whose moment is over."""
        return [gone.job for gone in self._batcher.expire(now)]

    def waits(self, now: float) -> tuple[float, float, int]:
        """Seconds a new final would wait, seconds until all is done, and jobs that wait."""
        load = self._batcher.load(now)
        return load.final_wait_s, load.wait_s, load.finals + load.partials

    def set_rung(self, rung: Rung) -> None:
        """Put other models in force, for what waits, too."""
        self._rung = rung
        self._batcher.rearrange()

    def each_s(self, model: str, seconds: float, beam: int) -> float:
        """Seconds of the device that a window takes in a full batch, as the cost model has learned."""
        del beam
        size = self._hardware.max_batch
        return self._costs.predict((model, self._hardware.frames(model, seconds)), size) / size / self._hardware.streams

    def _bucket(self, job: DecodeJob) -> Lane:
        model = model_of(job, self._rung)
        return model, self._hardware.frames(model, job.window.seconds)


def measured(file: Path) -> Hardware:
    """A device as it was measured.

    Raises:
        BadProfile: If the file holds no profile.
    """
    profile = read_profile(file)
    lines: dict[str, list[tuple[int, float, float]]] = {}
    for cost in profile.costs:
        if "x" in cost.bucket:
            continue  # of a beam, which no rung of the simulator has
        frames = int(cost.bucket.split("+")[0])
        lines.setdefault(cost.model, []).append((frames, cost.fixed_s, cost.each_s))
    return Hardware(
        name=profile.device,
        provenance=f"measured on {profile.measured}, {profile.machine}, {profile.engine}, {profile.compute_type}",
        streams=profile.streams,
        max_batch=profile.max_batch,
        lines={model: tuple(sorted(each)) for model, each in lines.items()},
    )
