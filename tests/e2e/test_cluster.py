"""Several machines, one service: real processes on a real broker, killed and drained in the middle of calls."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from streaming.log import Topic
from streaming.log.kafka import KafkaLog, KafkaSettings
from streaming.record_codec import decode, encode
from streaming.records import Claim
from tests.support.calls import Caller, calling
from tests.support.cluster import READY_S, SLOTS, Cluster, cluster_on, start_broker
from tests.support.kafka_broker import KafkaCluster
from tests.support.ports import free_ports
from tests.support.servers import ServerProcess, until
from tests.support.tones import GAP_S, PAUSE_S, WORD_S, Sentence, flat, interleaved, sentences, spoken
from trunkline import Audio, Quality

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

AUDIO: Final = Audio("mulaw", 8000, channels=2)
CUSTOMER, AGENT = sentences(7, seed=1), sentences(6, seed=2)
HURT_AT_S: Final = 4.0
AGAIN_WITHIN_S: Final = 10.0
"""What is promised: seconds until partials come again after the loss of a shard."""
ASLEEP_S: Final = 6.0
MOVES: Final = 104
"""Of slots, while one call goes on."""
SENTENCE_S: Final = 5 * (WORD_S + GAP_S) + PAUSE_S
MOST: Final = 50
"""Sentences of each side, if moving them takes as long as that."""
AWAY_S: Final = 5.0
TOLD_WITHIN_S: Final = 2.0
"""What is promised: seconds until calls are told that the log is away; a busy machine is given one more."""
MOVED_WITHIN_S: Final = 3.0
"""The same for a planned move, on a machine that tests share; the goal is 1 s."""


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaCluster]:
    cluster = start_broker()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def cluster(broker: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that all tests share; each starts what the one before it ended."""
    with cluster_on(broker.bootstrap, tmp_path_factory.mktemp("cluster"), prefix="shared") as cluster:
        yield cluster


def gateway_of(cluster: Cluster) -> ServerProcess:
    """The one gateway."""
    (gateway,) = cluster.gateways.values()
    return gateway


def the_busy_shard(cluster: Cluster) -> ServerProcess:
    """Find who serves the one call, by what the shards say of themselves; its slot may be on its way just now."""
    alive = [shard for shard in cluster.shards.values() if shard.process.poll() is None]
    found: list[ServerProcess] = []

    def found_one() -> bool:
        found[:] = [shard for shard in alive if shard.metric("trunkline_shard_calls") > 0]
        return len(found) == 1

    until(found_one, 10.0, "one shard to have the call")
    return found[0]


def name_of(shard: ServerProcess) -> str:
    """Return what a shard calls itself in the log."""
    (started,) = [line for line in shard.written().splitlines() if '"event": "shard.starting"' in line]
    return str(json.loads(started)["name"])


def no_word_is_missing_or_there_twice(caller: Caller, *sides: list[Sentence]) -> None:
    for channel, said in enumerate(sides):
        assert caller.words(channel) == flat(said)
        assert caller.numbers(channel) == list(range(len(said)))


async def test_a_shard_that_is_killed_costs_no_word_and_partials_come_again(cluster: Cluster) -> None:
    """Promises 1 and 4, across machines: another shard replays what was not final."""
    await asyncio.to_thread(cluster.start)
    gateway = gateway_of(cluster)
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
    gateway = gateway_of(cluster)
    audio = interleaved(spoken(CUSTOMER), spoken(AGENT))
    async with calling(gateway.url, AUDIO) as caller:
        await caller.play(audio, HURT_AT_S)
        leaving = await asyncio.to_thread(the_busy_shard, cluster)
        leaving.process.terminate()
        asked_at = time.monotonic()
        await caller.play(audio)

    no_word_is_missing_or_there_twice(caller, CUSTOMER, AGENT)
    assert await asyncio.to_thread(leaving.process.wait, 30.0) == 0
    again_s = caller.first_partial_after(asked_at, HURT_AT_S) - asked_at
    print(f"partials again {again_s:.1f} s after the shard was asked to stop")  # noqa: T201 - a measurement
    assert again_s < MOVED_WITHIN_S


async def test_a_shard_that_slept_finds_its_slots_taken_and_what_it_wrote_does_not_count(cluster: Cluster) -> None:
    """The zombie: it believes itself the owner until it reads otherwise, and may write before it does."""
    await asyncio.to_thread(cluster.start)
    gateway = gateway_of(cluster)
    audio = interleaved(spoken(CUSTOMER), spoken(AGENT))
    async with calling(gateway.url, AUDIO) as caller:
        await caller.play(audio, HURT_AT_S)
        asleep = await asyncio.to_thread(the_busy_shard, cluster)
        asleep.process.send_signal(signal.SIGSTOP)
        stopped_at = time.monotonic()
        await caller.play(audio, HURT_AT_S + ASLEEP_S)
        asleep.process.send_signal(signal.SIGCONT)
        await caller.play(audio)

    no_word_is_missing_or_there_twice(caller, CUSTOMER, AGENT)
    again_s = caller.first_partial_after(stopped_at, HURT_AT_S) - stopped_at
    print(f"partials again {again_s:.1f} s after the shard fell asleep")  # noqa: T201 - a measurement
    assert again_s < AGAIN_WITHIN_S
    assert asleep.process.poll() is None
    assert "Traceback" not in asleep.written()
    assert gateway.metric("trunkline_final_gap_total") == 0


@pytest.mark.timeout(300)
async def test_a_call_that_is_moved_to_and_fro_loses_nothing(cluster: Cluster, broker: KafkaCluster) -> None:
    """As an operator or a policy moves it: one claim each time."""
    await asyncio.to_thread(cluster.start)
    gateway = gateway_of(cluster)
    said = sentences(MOST, seed=1), sentences(MOST, seed=2)
    audio = interleaved(*map(spoken, said))
    settings = KafkaSettings(broker.bootstrap, prefix=cluster.prefix, slots=SLOTS)
    shards = [name_of(shard) for shard in cluster.shards.values()]
    log = await KafkaLog.connect(settings)
    try:
        async with calling(gateway.url, AUDIO) as caller:
            moving = asyncio.create_task(move_all(log, shards))
            count = 0
            while not moving.done() and count < MOST:
                count += 1
                await caller.play(audio, PAUSE_S + count * SENTENCE_S)
            moved = await moving
    finally:
        await log.close()

    no_word_is_missing_or_there_twice(caller, *(side[:count] for side in said))
    print(f"{moved} moves under {count} sentences of each side")  # noqa: T201 - a measurement
    assert moved == MOVES


async def move_all(log: KafkaLog, shards: Sequence[str]) -> int:
    """Move every slot to the other shard, again and again; return how many moves that was."""
    moved = 0
    for _ in range(0, MOVES, SLOTS):
        await asyncio.sleep(0.7)
        for slot, owner in (await newest_owners(log)).items():
            (other, *_) = (name for name in shards if name != owner)
            await log.append(Topic.CONTROL, 0, f"claim/{slot}", encode(Claim(slot, other, "a test", "moved")))
            moved += 1
    return moved


async def newest_owners(log: KafkaLog) -> dict[int, str]:
    """Return whose each slot is by its newest claim."""
    end = await log.end_offset(Topic.CONTROL, 0)
    reader = log.reader(Topic.CONTROL)
    reader.assign({0: 0})
    owners: dict[int, str] = {}
    read = 0
    while read < end:
        for entry in await reader.next():
            read = entry.offset + 1
            record = decode(entry.value)
            if isinstance(record, Claim):
                owners[record.slot] = record.owner
    await reader.close()
    return owners


async def test_while_the_broker_is_away_calls_are_told_and_afterwards_nothing_is_missing(
    broker: KafkaCluster, cluster: Cluster
) -> None:
    """Nothing is started again: what was said meanwhile waits, and is heard when the log is back."""
    await asyncio.to_thread(cluster.start)
    gateway = gateway_of(cluster)
    audio = interleaved(spoken(CUSTOMER), spoken(AGENT))
    async with calling(gateway.url, AUDIO) as caller:
        await caller.play(audio, HURT_AT_S)
        await asyncio.to_thread(broker.kill, 0)
        killed_at = time.monotonic()
        await caller.play(audio, HURT_AT_S + AWAY_S)
        assert not gateway.is_ready
        await asyncio.to_thread(broker.start, 0)
        back_at = time.monotonic()
        await caller.play(audio)
        await asyncio.to_thread(until, lambda: gateway.is_ready, 30.0, "the gateway to be ready again")

    no_word_is_missing_or_there_twice(caller, CUSTOMER, AGENT)
    told = {message.reason: at for at, message in caller.heard if isinstance(message, Quality)}
    print(f"told {told['log_away'] - killed_at:.1f} s after the broker was gone")  # noqa: T201 - a measurement
    assert told["log_away"] - killed_at < TOLD_WITHIN_S + 1.0
    assert told["log_back"] > told["log_away"]
    again_s = caller.first_partial_after(back_at, HURT_AT_S) - back_at
    print(f"partials again {again_s:.1f} s after it was back")  # noqa: T201 - a measurement
    assert again_s < AGAIN_WITHIN_S


async def test_settings_that_contradict_each_other_are_said_in_one_line(cluster: Cluster) -> None:
    """What is set wrong is not tried for ever."""
    shard = cluster.start_shard("stranger", "--set", "kafka.mechanism=PLAIN", "--set", "kafka.username=me")
    code = await asyncio.to_thread(shard.process.wait, READY_S)

    assert code == 2
    assert shard.written().splitlines()[-1].startswith("trunkline: kafka: SASL mechanism PLAIN needs")


async def test_other_slots_than_the_topics_have_are_refused(cluster: Cluster) -> None:
    """Calls would be looked for where they are not."""
    await asyncio.to_thread(cluster.start)
    other = cluster.start_gateway("other", "--set", "kafka.slots=7")

    assert await asyncio.to_thread(other.process.wait, READY_S) == 2
    assert "partitions and 7 slots are set" in other.written().splitlines()[-1]


async def test_a_broker_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    """Processes of a cluster start in any order."""
    (port,) = free_ports(1)
    with cluster_on(f"127.0.0.1:{port}", tmp_path, prefix="early") as cluster:
        shard = cluster.start_shard("early")
        await asyncio.to_thread(until, lambda: "log.unavailable" in shard.written(), READY_S, "a word about it")
        assert not shard.is_ready
        shard.process.terminate()

        assert await asyncio.to_thread(shard.process.wait, 30.0) == 0
