"""Several machines, one service: real processes on a real broker, killed and drained in the middle of calls."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.calls import Caller, calling
from tests.support.cluster import Cluster, cluster_on, start_broker
from tests.support.kafka_broker import KafkaCluster
from tests.support.servers import ServerProcess
from tests.support.tones import Sentence, flat, interleaved, sentences, spoken
from trunkline import Audio

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

AUDIO: Final = Audio("mulaw", 8000, channels=2)
CUSTOMER, AGENT = sentences(7, seed=1), sentences(6, seed=2)
HURT_AT_S: Final = 4.0
AGAIN_WITHIN_S: Final = 10.0
"""What is promised: seconds until partials come again after the loss of a shard."""
MOVED_WITHIN_S: Final = 3.0
"""The same for a planned move, on a machine that tests share; the goal is 1 s."""


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaCluster]:
    cluster = start_broker()
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(broker: KafkaCluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    assert isinstance(request.node, pytest.Function)
    with cluster_on(broker.bootstrap, tmp_path, prefix=f"p{abs(hash(request.node.name)) % 10**8}") as cluster:
        yield cluster


def the_busy_shard(cluster: Cluster) -> ServerProcess:
    """Find who serves the one call, by what the shards say of themselves."""
    (busy,) = [shard for shard in cluster.shards.values() if shard.metric("trunkline_shard_calls") > 0]
    return busy


def no_word_is_missing_or_there_twice(caller: Caller, *sides: list[Sentence]) -> None:
    for channel, said in enumerate(sides):
        assert caller.words(channel) == flat(said)
        assert caller.numbers(channel) == list(range(len(said)))


async def test_a_shard_that_is_killed_costs_no_word_and_partials_come_again(cluster: Cluster) -> None:
    """Promises 1 and 4, across machines: another shard replays what was not final."""
    await asyncio.to_thread(cluster.start)
    gateway = cluster.gateways["gateway-0"]
    audio = interleaved(spoken(CUSTOMER), spoken(AGENT))
    async with calling(gateway.url, AUDIO) as caller:
        await caller.play(audio, HURT_AT_S)
        victim = await asyncio.to_thread(the_busy_shard, cluster)
        victim.process.send_signal(signal.SIGKILL)
        killed_at = time.monotonic()
        await caller.play(audio)

    no_word_is_missing_or_there_twice(caller, CUSTOMER, AGENT)
    again_s = caller.first_partial_after(killed_at, HURT_AT_S) - killed_at
    print(f"partials again {again_s:.1f} s after the shard was killed")  # noqa: T201 - a measurement
    assert again_s < AGAIN_WITHIN_S


async def test_a_shard_that_is_asked_to_stop_gives_its_calls_away_and_they_go_on(cluster: Cluster) -> None:
    """A node is drained: nobody waits for calls to end."""
    await asyncio.to_thread(cluster.start)
    gateway = cluster.gateways["gateway-0"]
    audio = interleaved(spoken(CUSTOMER), spoken(AGENT))
    async with calling(gateway.url, AUDIO) as caller:
        await caller.play(audio, HURT_AT_S)
        leaving = await asyncio.to_thread(the_busy_shard, cluster)
        leaving.process.terminate()
        asked_at = time.monotonic()
        await caller.play(audio)

    no_word_is_missing_or_there_twice(caller, CUSTOMER, AGENT)
    assert await asyncio.to_thread(leaving.process.wait, 10.0) == 0
    again_s = caller.first_partial_after(asked_at, HURT_AT_S) - asked_at
    print(f"partials again {again_s:.1f} s after the shard was asked to stop")  # noqa: T201 - a measurement
    assert again_s < MOVED_WITHIN_S
