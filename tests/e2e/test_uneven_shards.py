"""A shard that has too much to do beside one that has nothing: real devices, a real broker, the policies that run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import CollectorRegistry

from gpu.loudness import LoudnessVad
from gpu.spec import DeviceSpec
from scaler.governor import Governor
from scaler.leading import Leading, Others
from scaler.shard import Shard
from server.governed import GovernedDevices
from server.metrics import Metrics
from server.observers import DeviceObserver, ShardObserver
from server.quality import channel_settings, quality_ladder
from server.settings import Settings, load
from server.standalone import SCRIPTED_MELS
from streaming.log.kafka import KafkaLog, KafkaSettings
from tests.support.calls import Caller, calling
from tests.support.cluster import SLOTS, cluster_on, start_broker
from tests.support.kafka_broker import KafkaCluster
from tests.support.tones import GAP_S, PAUSE_S, WORD_S, flat, interleaved, sentences, spoken
from trunkline import Audio

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

AUDIO: Final = Audio("mulaw", 8000, channels=2)
SENTENCE_S: Final = 5 * (WORD_S + GAP_S) + PAUSE_S
AT_LEAST: Final = 3
"""Sentences of each side."""
MOST: Final = 30
"""The same, if it takes as long until something is moved."""
CALLS: Final = 3
WINDOW_S: Final = 0.12
"""Seconds the slow shard's device takes for each window: the calls then ask for all that it can do."""


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaCluster]:
    cluster = start_broker()
    yield cluster
    cluster.stop()


@asynccontextmanager
async def shard_on(broker: KafkaCluster, prefix: str, name: str, window_s: float) -> AsyncGenerator[Metrics]:
    """Run a shard whose one device takes so long for each window; its value is what the shard says of itself."""
    settings: Settings = load()
    ladder = quality_ladder(settings)
    metrics, others = Metrics(CollectorRegistry()), Others()
    spec = DeviceSpec(
        name=name, models=ladder.models, engine="scripted", streams=1, max_batch=1, options={"each_s": window_s}
    )
    devices = GovernedDevices([spec], ladder, metrics, DeviceObserver(metrics))
    governor = Governor(ladder, devices, name=name, others=others)
    log = await KafkaLog.connect(KafkaSettings(broker.bootstrap, prefix=prefix, slots=SLOTS))
    async with devices.pool:
        await devices.pool.ready()
        shard = Shard(
            log,
            LoudnessVad(),
            devices.pool,
            settings=channel_settings(settings.speech, ladder[0].beam, SCRIPTED_MELS),
            governor=governor,
            observer=ShardObserver(metrics),
            name=name,
        )
        joined, leave = asyncio.Event(), asyncio.Event()
        policy = Leading(name, governor, others)
        running = asyncio.create_task(shard.join(joined, leave, drain_s=0.1, policy=policy))
        await joined.wait()
        yield metrics
        leave.set()
        await running
    await log.close()


def moved_to(metrics: Metrics) -> float:
    """Return how many slots came to a shard because another had too much to do."""
    return metrics.registry.get_sample_value("trunkline_moves_total", {"reason": "moved"}) or 0.0


@pytest.mark.timeout(300)
async def test_slots_of_a_saturated_shard_go_to_an_idle_one_in_the_middle_of_calls(
    broker: KafkaCluster, tmp_path: Path
) -> None:
    """Who leads sees it by what shards say of themselves; no word is lost, and the slow shard takes nothing back."""
    said = sentences(MOST, seed=1), sentences(MOST, seed=2)
    audio = interleaved(*map(spoken, said))
    count = 0
    async with AsyncExitStack() as stack:
        cluster = stack.enter_context(cluster_on(broker.bootstrap, tmp_path, prefix="uneven"))
        gateway = cluster.start_gateway("gateway")
        slow = await stack.enter_async_context(shard_on(broker, "uneven", "slow", WINDOW_S))
        await asyncio.to_thread(cluster.await_ready, gateway)
        callers: list[Caller] = [await stack.enter_async_context(calling(gateway.url, AUDIO)) for _ in range(CALLS)]
        quick = await stack.enter_async_context(shard_on(broker, "uneven", "quick", 0.0))
        while count < AT_LEAST or (not moved_to(quick) and count < MOST):
            count += 1
            await asyncio.gather(*(caller.play(audio, PAUSE_S + count * SENTENCE_S) for caller in callers))
        for caller in callers:
            await caller.call.close()
            await caller.listening
        print(f"{moved_to(quick):.0f} slots were moved under {count} sentences")  # noqa: T201 - a measurement

        assert moved_to(quick) >= 1
        assert moved_to(slow) == 0
        for caller in callers:
            for channel, side in enumerate(said):
                assert caller.words(channel) == flat(side[:count])
