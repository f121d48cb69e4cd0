"""The devices of a shard as its governor sees them."""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry

from gpu.spec import DeviceSpec
from gpu.wire import FaultKind
from scaler.governor import Governor
from scaler.policy.health import LOST, MEMORY, Act, Verdict
from server.governed import OVERWHELMED, GovernedDevices, show
from server.metrics import Metrics
from server.observers import DeviceObserver
from streaming.decoding import Hypothesis, Kind
from streaming.ladder import Ladder, Rung

LADDER = Ladder((Rung("a", "a"), Rung("a", "a", cadence_s=2.0)))


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


@pytest.fixture
def devices(metrics: Metrics) -> GovernedDevices:
    spec = DeviceSpec(name="cpu-0", models=("a",), streams=1, max_batch=2)
    return GovernedDevices([spec], LADDER, metrics, DeviceObserver(metrics), lambda: 0.0)


def test_devices_that_are_not_started_are_not_ready(devices: GovernedDevices) -> None:
    [signs] = devices.signs()

    assert (signs.name, signs.ready, signs.deaths, signs.faults) == ("cpu-0", False, 0, {})
    assert math.isinf(devices.expected_wait_s())


def test_faults_are_judged_by_the_names_that_devices_give_them() -> None:
    """The policy knows no device and names kinds by itself: one that no device names would never be acted upon."""
    assert {LOST, MEMORY} <= set(FaultKind)


def test_what_batches_took_is_what_windows_cost(devices: GovernedDevices) -> None:
    answer = Hypothesis((), "en", 1.0, 0.0, "a", aligned=False, compute_s=0.4)

    devices.batch_done("cpu-0", "a", 1, [answer, answer], 3.0)

    assert devices.window_s("a", 3.0, 1) == pytest.approx(0.2)


@pytest.mark.parametrize("act", list(Act))
def test_every_verdict_can_be_carried_out(devices: GovernedDevices, act: Act) -> None:
    devices.obey(Verdict("cpu-0", act, "as a test"))

    assert devices.pool.status().devices[0].held is (act is Act.HOLD)


def test_what_is_measured_and_decided_shows(
    devices: GovernedDevices, metrics: Metrics, registry: CollectorRegistry
) -> None:
    governor = Governor(LADDER, devices)
    show(governor, metrics)
    assert registry.get_sample_value("trunkline_desired_shards") == 0

    governor.asked(Kind.FINAL, 3.0, 0.5)
    governor.tick([0.0], 1.0)

    assert registry.get_sample_value("trunkline_rung") == 0
    assert registry.get_sample_value("trunkline_partial_cadence_seconds") == 1.0
    assert registry.get_sample_value("trunkline_utilization_ratio") == OVERWHELMED
    assert registry.get_sample_value("trunkline_room_calls") == 0
    assert registry.get_sample_value("trunkline_capacity_calls") == 1
    assert registry.get_sample_value("trunkline_desired_shards") == 1
    assert registry.get_sample_value("trunkline_recent_final_p95_seconds") == 0
