"""Every metric of a process, declared once: unit in the name, no label that names a call or a caller."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric

VERSION: Final = "0.1"
"""Of this server, as pyproject.toml says it; nothing is installed that could be asked."""

LATENCY_S: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 30.0)
"""Bucket edges in seconds; the promise (3 s) and the alert (10 s) are edges of their own."""


class Told(Gauge):
    """A gauge without labels that is shown once somebody said what it is.

    A gateway has no rung and a shard counts no calls of gateways: their 0 would be believed, and spoil every mean.
    """

    _is_told = False

    def set(self, value: float) -> None:
        """Show this value."""
        self._is_told = True
        super().set(value)

    def set_function(self, f: Callable[[], float]) -> None:
        """Show what a function returns."""
        self._is_told = True
        super().set_function(f)

    def collect(self) -> Iterable[Metric]:
        """Return the metric, if it is to be shown."""
        return super().collect() if self._is_told else ()


class Metrics:
    """The metrics of one registry.

    Args:
        registry: Where they are registered; one per process, or per test.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.sessions = Gauge(
            "trunkline_sessions", "Connections by protocol and state.", ("protocol", "state"), registry=registry
        )
        self.calls = Told("trunkline_calls", "Calls in progress, on all gateways of the log.", registry=registry)
        self.admission = Counter(
            "trunkline_admission_total", "Answers to calls that wanted in.", ("decision", "reason"), registry=registry
        )
        self.refusals = Counter(
            "trunkline_refusals_total", "Requests answered with an HTTP error.", ("status", "code"), registry=registry
        )
        self.closes = Counter(
            "trunkline_closes_total", "Connections that ended.", ("protocol", "reason"), registry=registry
        )
        self.resumes = Counter(
            "trunkline_resumes_total",
            "Calls that lost their connection, by what became of them here.",
            ("outcome",),
            registry=registry,
        )
        self.audio_seconds = Counter(
            "trunkline_audio_seconds_total", "Audio received, every side counted.", ("protocol",), registry=registry
        )
        self.finals = Counter("trunkline_finals_total", "Finals accepted.", ("model",), registry=registry)
        self.finals_lost = Counter(
            "trunkline_finals_lost_total",
            "Stretches of speech that no device could decode and nothing could stand in for; their callers are told.",
            registry=registry,
        )
        self.calls_failed = Counter(
            "trunkline_calls_failed_total", "Calls that a fault of ours ended.", registry=registry
        )
        self.final_latency = Histogram(
            "trunkline_final_latency_seconds",
            "From the arrival of the last spoken sample to the final's record.",
            ("model",),
            buckets=LATENCY_S,
            registry=registry,
        )
        self.partial_latency = Histogram(
            "trunkline_partial_latency_seconds",
            "How far a partial is behind the audio received when it is delivered.",
            ("model",),
            buckets=LATENCY_S,
            registry=registry,
        )
        self.superseded = Counter(
            "trunkline_superseded_total", "Records of former owners that did not count.", registry=registry
        )
        self.final_gaps = Counter(
            "trunkline_final_gap_total", "Finals whose number skipped one; must stay 0.", registry=registry
        )
        self.fenced = Counter("trunkline_slot_epoch_fenced_total", "Changes of a slot's owner.", registry=registry)
        self.unreadable = Counter(
            "trunkline_unreadable_records_total", "Log records this version cannot read.", registry=registry
        )
        self.undecoded = Counter(
            "trunkline_undecoded_windows_total",
            "Windows that got no hypothesis: partials that were replaced, or whatever devices failed of.",
            ("kind", "error"),
            registry=registry,
        )
        self.cadence = Told(
            "trunkline_partial_cadence_seconds", "New audio between two partials of a channel.", registry=registry
        )
        self.expected_wait = Told(
            "trunkline_expected_wait_seconds", "How long a final handed over now would wait.", registry=registry
        )
        self.backlog = Told(
            "trunkline_backlog_seconds",
            "How long the devices need for what they were given, partials included.",
            registry=registry,
        )
        self.queue_wait = Histogram(
            "trunkline_queue_wait_seconds",
            "How long windows waited on a device.",
            ("gpu",),
            buckets=LATENCY_S,
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "trunkline_batch_seconds", "Time of a batch.", ("gpu", "model"), buckets=LATENCY_S, registry=registry
        )
        self.batch_size = Histogram(
            "trunkline_batch_size",
            "Windows in a batch.",
            ("gpu", "model"),
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self.retries = Counter(
            "trunkline_padded_retries_total",
            "Windows decoded once more, padded, because a check fired.",
            ("model",),
            registry=registry,
        )
        self.dropped = Counter(
            "trunkline_dropped_jobs_total",
            "Jobs that left a device's queue undecoded.",
            ("gpu", "why"),
            registry=registry,
        )
        self.faults = Counter(
            "trunkline_gpu_faults_total", "What went wrong on devices.", ("gpu", "kind"), registry=registry
        )
        self.ingest_unreadable = Counter(
            "trunkline_ingest_unreadable_total",
            "Records of the ingested topic that are no events of calls.",
            ("code",),
            registry=registry,
        )
        self.part_open = Gauge(
            "trunkline_part_open",
            "Whether an outlet or ingestion is open; calls over sockets need none of them.",
            ("part",),
            registry=registry,
        )
        self.outlet_waiting = Gauge(
            "trunkline_outlet_waiting",
            "Documents handed to an outlet that are neither told nor given up.",
            ("outlet",),
            registry=registry,
        )
        self.outlet_given_up = Counter(
            "trunkline_outlet_given_up_total",
            "Documents that a receiver never took.",
            ("outlet",),
            registry=registry,
        )
        self.webhook_tries = Counter(
            "trunkline_webhook_tries_total",
            "Posts to webhooks and what came of them.",
            ("outlet", "outcome"),
            registry=registry,
        )
        self.device_ready = Gauge("trunkline_device_ready", "Whether a device takes jobs.", ("gpu",), registry=registry)
        self._declare_scaling(registry)
        self._declare_cluster(registry)
        build = Info("trunkline_build", "What runs here.", registry=registry)
        build.info({"version": VERSION, "python": platform.python_version()})

    def _declare_cluster(self, registry: CollectorRegistry) -> None:
        """Declare what a process of a cluster says of its part in it."""
        self.shard_calls = Told("trunkline_shard_calls", "Calls this shard serves.", registry=registry)
        self.shard_slots = Told("trunkline_shard_slots", "Slots this shard serves.", registry=registry)
        self.log_waiting = Told(
            "trunkline_log_waiting_seconds",
            "How long the oldest record has been waiting for the brokers.",
            registry=registry,
        )

    def _declare_scaling(self, registry: CollectorRegistry) -> None:
        """Declare what the scaler says; one process is one shard, so that no label needs to name it."""
        self.desired_shards = Told(
            "trunkline_desired_shards", "How many shards there should be, the warm ones included.", registry=registry
        )
        self.ready_shards = Told("trunkline_ready_shards", "Shards that take calls.", registry=registry)
        self.utilization = Told(
            "trunkline_utilization_ratio",
            "Work that comes in over what can be done at the promised rung.",
            registry=registry,
        )
        self.capacity = Told(
            "trunkline_capacity_calls", "Calls this shard can hold at its last rung.", registry=registry
        )
        self.room = Told(
            "trunkline_room_calls", "Further calls this shard can take at its last rung.", registry=registry
        )
        self.final_p95 = Told(
            "trunkline_recent_final_p95_seconds",
            "95th percentile of the latency of finals over the last seconds; 0 if there were few.",
            registry=registry,
        )
        self.rung = Told(
            "trunkline_rung",
            "Steps below the promised rung of the quality ladder; negative above it.",
            registry=registry,
        )
        self.rung_changes = Counter(
            "trunkline_rung_changes_total", "Steps on the quality ladder.", ("direction", "reason"), registry=registry
        )
        self.moves = Counter(
            "trunkline_moves_total", "Slots claimed for this shard, with their calls.", ("reason",), registry=registry
        )
        self.handoff_seconds = Histogram(
            "trunkline_handoff_seconds",
            "From the moment a shard reads that a slot is its own to the one it serves it.",
            buckets=LATENCY_S,
            registry=registry,
        )

    def exposition(self) -> bytes:
        """Return everything in the Prometheus text format."""
        return generate_latest(self.registry)
