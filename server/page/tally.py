"""Counts what one shard and its devices do, for the load feed, beside what Prometheus is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from server.metrics import Metrics
from server.observers import DeviceObserver, ShardObserver
from server.page.load import Happening
from server.page.recent import Recent
from streaming.decoding import Hypothesis
from streaming.ladder import Rung


@dataclass(slots=True)
class DeviceTally:
    """What one device did."""

    queue: Recent
    busy_s: float = 0.0
    """Seconds of batches, all streams together."""
    batches: int = 0
    windows: int = 0


@dataclass(slots=True)
class Tally:
    """What happened on a shard since it began.

    Attributes:
        clock: Monotonic seconds.
        wall_clock: Unix seconds.
    """

    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    rung: Rung | None = None
    """In force; None while that is the best one."""
    devices: dict[str, DeviceTally] = field(default_factory=dict[str, DeviceTally])
    _happenings: list[Happening] = field(default_factory=list[Happening])

    def device(self, name: str) -> DeviceTally:
        """Return what a device did."""
        if name not in self.devices:
            self.devices[name] = DeviceTally(Recent(self.clock))
        return self.devices[name]

    def note(self, what: str, where: str, text: str) -> None:
        """Keep what happened until it is taken."""
        self._happenings.append(Happening(at=self.wall_clock(), what=what, where=where, text=text))

    def happenings(self) -> tuple[Happening, ...]:
        """Take what happened since this was last called."""
        taken, self._happenings = tuple(self._happenings), []
        return taken


class TallyingShardObserver(ShardObserver):
    """Tells a tally, too.

    Args:
        metrics: Where Prometheus looks.
        tally: What the load feed looks at.
    """

    def __init__(self, metrics: Metrics, tally: Tally) -> None:
        super().__init__(metrics)
        self._tally = tally

    def rung_changed(self, rung: Rung, *, down: bool) -> None:
        """Remember what is in force."""
        super().rung_changed(rung, down=down)
        self._tally.rung = rung
        models = " / ".join(dict.fromkeys((rung.partial_model, rung.final_model)))
        care = "with care" if rung.beam > 1 else "greedily"
        self._tally.note("rung", "", f"{models}, finals {care}, interim words every {rung.cadence_s:g} s")


class TallyingDeviceObserver(DeviceObserver):
    """Tells a tally, too.

    Args:
        metrics: Where Prometheus looks.
        tally: What the load feed looks at.
    """

    def __init__(self, metrics: Metrics, tally: Tally) -> None:
        super().__init__(metrics)
        self._tally = tally

    def batch_done(
        self, device: str, model: str, beam: int, hypotheses: Sequence[Hypothesis], longest_s: float
    ) -> None:
        """Remember how long it took and how long its windows waited."""
        super().batch_done(device, model, beam, hypotheses, longest_s)
        done = self._tally.device(device)
        done.batches += 1
        done.windows += len(hypotheses)
        if hypotheses:
            done.busy_s += hypotheses[0].compute_s
        for hypothesis in hypotheses:
            done.queue.add(hypothesis.queue_s)

    def device_fault(self, device: str, kind: str) -> None:
        """Remember that something went wrong."""
        super().device_fault(device, kind)
        self._tally.note("fault", device, str(kind))

    def device_state(self, device: str, state: str) -> None:
        """Remember that a device came or went."""
        super().device_state(device, state)
        self._tally.note("device", device, str(state))
