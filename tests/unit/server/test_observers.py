"""What a shard did, in numbers that an operator can alert on."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from server.metrics import Metrics
from server.observers import ShardObserver
from streaming.decoding import Word
from streaming.records import FINAL_LOST, INTERNAL, CallClosed, EndReason, Final, Progress, QualityChanged


def count(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_finals_are_timed_and_lost_text_and_broken_calls_are_counted() -> None:
    """Both must stay 0, so both must be seen."""
    metrics = Metrics(CollectorRegistry())
    observer = ShardObserver(metrics)
    words = (Word("hello", 0.0, 0.4, 0.9),)

    observer.record_written(
        Final(0, "call", 0, 0, 0, 8_000, words, "en", 1.0, "tiny.en", EndReason.ENDPOINT, 0.4, latency_s=0.6)
    )
    observer.record_written(Progress(0, "call", 0, 8_000, 9_000))
    observer.record_written(QualityChanged(0, "call", "base", "overload"))
    observer.record_written(CallClosed(0, "call", "hangup", 1.0, 0.0))
    assert count(metrics, "trunkline_final_latency_seconds_sum", model="tiny.en") == 0.6
    assert count(metrics, "trunkline_finals_lost_total") == 0.0
    assert count(metrics, "trunkline_calls_failed_total") == 0.0

    observer.record_written(QualityChanged(0, "call", "", FINAL_LOST))
    observer.record_written(CallClosed(0, "call", INTERNAL, 1.0, 0.0))
    assert count(metrics, "trunkline_finals_lost_total") == 1.0
    assert count(metrics, "trunkline_calls_failed_total") == 1.0


def test_slots_that_come_are_counted_by_reason_and_timed() -> None:
    """How long nobody serves a call is what a move costs its caller."""
    metrics = Metrics(CollectorRegistry())
    observer = ShardObserver(metrics)

    observer.slot_claimed("drained")
    observer.slot_served(0.4)

    assert count(metrics, "trunkline_moves_total", reason="drained") == 1.0
    assert count(metrics, "trunkline_handoff_seconds_sum") == 0.4
