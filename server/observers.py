"""What shards and devices did, counted: they are told by whoever wires them, and know nothing of Prometheus."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from structlog.typing import FilteringBoundLogger

from server.metrics import Metrics
from streaming.decoding import Hypothesis, Kind
from streaming.ladder import Rung
from streaming.records import FINAL_LOST, INTERNAL, CallClosed, Final, QualityChanged, Record

log: FilteringBoundLogger = structlog.get_logger()


class ShardObserver:
    """Counts what a shard did."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def record_written(self, record: Record) -> None:
        """Time finals from the arrival of the last spoken sample, and count what should not happen."""
        match record:
            case Final():
                self._metrics.final_latency.labels(record.model).observe(record.latency_s)
            case QualityChanged(reason=reason) if reason == FINAL_LOST:
                self._metrics.finals_lost.inc()
            case CallClosed(reason=reason) if reason == INTERNAL:
                self._metrics.calls_failed.inc()
            case _:
                pass

    def decode_failed(self, kind: Kind, error: Exception) -> None:
        """Count a window that was not decoded; a final's is worth a line."""
        self._metrics.undecoded.labels(kind.value, type(error).__name__).inc()
        if kind is Kind.FINAL:
            log.warning("decode.failed", kind=kind.value, error=type(error).__name__, problem=str(error))

    def rung_changed(self, rung: Rung, *, down: bool) -> None:
        """Show what is in force."""
        self._metrics.rung_changes.labels(*(("down", "load") if down else ("up", "room"))).inc()
        self._metrics.cadence.set(rung.cadence_s)
        log.info("shard.rung", final=rung.final_model, partial=rung.partial_model, cadence_s=rung.cadence_s)

    def slot_claimed(self, reason: str) -> None:
        """Count a slot that came to this shard."""
        self._metrics.moves.labels(reason).inc()

    def slot_served(self, took_s: float) -> None:
        """Time how long a slot was on its way."""
        self._metrics.handoff_seconds.observe(took_s)


class DeviceObserver:
    """Counts what devices did."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def batch_done(
        self, device: str, model: str, beam: int, hypotheses: Sequence[Hypothesis], longest_s: float
    ) -> None:
        """Count a batch: its size, its time, and how long its windows waited."""
        del beam, longest_s
        self._metrics.batch_size.labels(device, model).observe(len(hypotheses))
        if hypotheses:
            self._metrics.batch_seconds.labels(device, model).observe(hypotheses[0].compute_s)
        for hypothesis in hypotheses:
            self._metrics.queue_wait.labels(device).observe(hypothesis.queue_s)
            if hypothesis.retried:
                self._metrics.retries.labels(model).inc()

    def job_undone(self, device: str, why: str) -> None:
        """Count a job that left a queue undecoded."""
        self._metrics.dropped.labels(device, str(why)).inc()

    def device_fault(self, device: str, kind: str) -> None:
        """Count a fault."""
        self._metrics.faults.labels(device, str(kind)).inc()
        log.warning("device.fault", device=device, kind=str(kind))

    def device_state(self, device: str, state: str) -> None:
        """Show whether a device takes jobs."""
        self._metrics.device_ready.labels(device).set(str(state) == "ready")
        log.info("device.state", device=device, state=str(state))
