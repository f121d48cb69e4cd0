"""What a gateway and a shard do where Kafka refuses, fails or tells another time: real processes, a real broker."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.calls import Caller, calling
from tests.support.cluster import READY_S, Cluster, cluster_on, start_broker
from tests.support.guarded_broker import GUARDED, GUEST, STRANGER, WRITE, Rights, login
from tests.support.kafka_broker import KafkaCluster
from tests.support.servers import ServerProcess, until
from tests.support.tones import Sentence, flat, interleaved, sentences, spoken
from trunkline import Audio, Quality

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

AUDIO: Final = Audio("mulaw", 8000, channels=2)
CUSTOMER, AGENT = sentences(3, seed=3), sentences(2, seed=4)
HURT_AT_S: Final = 2.0
HURT_FOR_S: Final = 3.0
TOLD_WITHIN_S: Final = 3.0
"""Seconds within which whoever asks must hear of it: two are promised, and a busy machine is given one more."""
GENERIC: Final = "/bridges/generic?encoding=mulaw&sample_rate=8000&channels=1"
CLOCKS_S: Final = 3600.0


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaCluster]:
    cluster = start_broker(settings=GUARDED)
    asyncio.run(let_the_guest_in(cluster.bootstrap))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("troubles")


@pytest.fixture(scope="module")
def cluster(broker: KafkaCluster, folder: Path) -> Iterator[Cluster]:
    """A gateway and a shard that log in as the guest; tests give back what they take."""
    with cluster_on(broker.bootstrap, folder, prefix="shared") as cluster:
        cluster.add_flags(*login(GUEST))
        yield cluster


async def let_the_guest_in(bootstrap: str) -> None:
    async with Rights(bootstrap) as rights:
        await rights.allow_all(GUEST)


async def serving(cluster: Cluster) -> tuple[ServerProcess, ServerProcess]:
    """Return the gateway and the shard, both ready."""
    await asyncio.to_thread(cluster.start, gateways=1, shards=1)
    (gateway,), (shard,) = cluster.gateways.values(), cluster.shards.values()
    await comes(lambda: gateway.is_ready and shard.is_ready, READY_S, "both to be ready")
    return gateway, shard


async def comes(true: Callable[[], bool], limit_s: float, what: str) -> float:
    return await asyncio.to_thread(until, true, limit_s, what)


async def becomes_ready(process: ServerProcess) -> None:
    what = f"a process to be ready; its log: {process.log}"
    await asyncio.to_thread(until, partial(is_ready, process), READY_S, what, process.process)


def why_not_ready(process: ServerProcess) -> str:
    """Return what a process says is missing; empty if it is ready."""
    with httpx.Client(trust_env=False) as client:
        told = client.get(f"http://127.0.0.1:{process.port}/readyz").json()
    return "" if told["ready"] else str(told["reason"])


def said(process: ServerProcess, event: str) -> list[dict[str, object]]:
    """Return the lines of a log that tell of something."""
    lines = [line for line in process.written().splitlines() if f'"event": "{event}"' in line]
    return [json.loads(line) for line in lines]


def has_said(process: ServerProcess, event: str) -> bool:
    return bool(said(process, event))


def is_ready(process: ServerProcess) -> bool:
    return process.is_ready


def misses(process: ServerProcess, what: str) -> bool:
    """Tell whether a process is not ready because of something."""
    return what in why_not_ready(process)


def no_word_is_missing_or_there_twice(caller: Caller, *sides: list[Sentence]) -> None:
    for channel, sentences_said in enumerate(sides):
        assert caller.words(channel) == flat(sentences_said)
        assert caller.numbers(channel) == list(range(len(sentences_said)))


async def a_new_call_is_refused(gateway: ServerProcess) -> bool:
    try:
        async with connect(f"{gateway.url}{GENERIC}"):
            return False
    except InvalidStatus as refused:
        return refused.response.status_code == 503


async def test_a_wrong_password_is_named_and_tried_ever_more_rarely(broker: KafkaCluster, folder: Path) -> None:
    """A process that ended would be started again at once, and a broker flooded with logins."""
    with cluster_on(broker.bootstrap, folder, prefix="shared") as cluster:
        flags = login(GUEST, "not-the-password")
        processes = [cluster.start_gateway("stranger", *flags), cluster.start_shard("stranger", *flags)]
        for process in processes:
            await comes(partial(has_said, process, "log.refused"), READY_S, "a word about it")
            assert "SaslAuthenticationFailed" in why_not_ready(process)
            assert "check user, password" in why_not_ready(process)
        for process in processes:
            await comes(lambda: len(said(process, "log.refused")) >= 2, READY_S, "another try")  # noqa: B023  at once
            waits_s = [line["retry_s"] for line in said(process, "log.refused")]
            assert waits_s == [2.0, 4.0, 8.0, 16.0, *[30.0] * (len(waits_s) - 4)][: len(waits_s)]
            assert "not-the-password" not in process.written()
            assert await asyncio.to_thread(process.stop) == 0


async def test_who_may_not_use_the_topics_waits_and_begins_once_it_may(broker: KafkaCluster, folder: Path) -> None:
    """Rights are given at the brokers; nobody should have to remember which processes to start again."""
    with cluster_on(broker.bootstrap, folder, prefix="later", slots=2) as cluster:
        processes = [cluster.start_gateway("later", *login(STRANGER)), cluster.start_shard("later", *login(STRANGER))]
        for process in processes:
            await comes(partial(has_said, process, "log.refused"), READY_S, "a word about it")
            assert "AuthorizationFailedError" in why_not_ready(process)
        async with Rights(broker.bootstrap) as rights:
            await rights.allow_all(STRANGER)
        for process in processes:
            await becomes_ready(process)


@pytest.mark.parametrize("topic", ["audio", "out"])
async def test_a_right_that_is_taken_away_in_mid_call_costs_no_word(
    broker: KafkaCluster, cluster: Cluster, topic: str
) -> None:
    """Whoever can resume does when it is given back; meanwhile nobody new is let in where it cannot work."""
    gateway, shard = await serving(cluster)
    hurt = gateway if topic == "audio" else shard
    given_up = len(said(shard, "slot.given_up"))
    audio = interleaved(spoken(CUSTOMER), spoken(AGENT))
    async with calling(gateway.url, AUDIO) as caller, Rights(broker.bootstrap) as rights:
        await caller.play(audio, HURT_AT_S)
        await rights.deny(GUEST, f"shared.{topic}", WRITE)
        playing = asyncio.create_task(caller.play(audio, HURT_AT_S + HURT_FOR_S))
        await comes(partial(misses, hurt, "TopicAuthorizationFailedError"), TOLD_WITHIN_S, "it not to be ready")
        assert f"shared.{topic}" in why_not_ready(hurt)
        if hurt is gateway:
            assert await a_new_call_is_refused(gateway)
        await playing
        await rights.deny_no_more(GUEST, f"shared.{topic}", WRITE)
        await caller.play(audio)

    no_word_is_missing_or_there_twice(caller, CUSTOMER, AGENT)
    assert len(said(shard, "slot.given_up")) - given_up <= 3
    await comes(lambda: gateway.is_ready and shard.is_ready, READY_S, "both to be ready again")


async def test_a_full_disk_is_told_and_costs_no_word(broker: KafkaCluster, cluster: Cluster) -> None:
    """A broker whose disk is full ends; once it has room it is started again, and nothing else is."""
    gateway, shard = await serving(cluster)
    audio = interleaved(spoken(CUSTOMER), spoken(AGENT))
    async with calling(gateway.url, AUDIO) as caller:
        await caller.play(audio, HURT_AT_S)
        broker.fill_disk(0)
        playing = asyncio.create_task(caller.play(audio, HURT_AT_S + HURT_FOR_S))
        await asyncio.to_thread(broker.await_end, 0, 20.0)
        for process in (gateway, shard):
            await comes(partial(misses, process, "no record for"), TOLD_WITHIN_S, "a word")
        assert await a_new_call_is_refused(gateway)
        await playing
        await asyncio.to_thread(broker.start, 0)
        await caller.play(audio)

    no_word_is_missing_or_there_twice(caller, CUSTOMER, AGENT)
    told = [message.reason for _, message in caller.heard if isinstance(message, Quality)]
    assert told == ["log_away", "log_back"]
    assert said(gateway, "log.away")[-1]["problem"]
    await comes(lambda: gateway.is_ready and shard.is_ready, READY_S, "both to be ready again")


async def test_clocks_that_are_hours_apart_are_told_and_cost_no_word(broker: KafkaCluster, folder: Path) -> None:
    """No clock of one machine is compared with another's, but somebody should set them."""
    with cluster_on(broker.bootstrap, folder, prefix="clocks", slots=2) as cluster:
        cluster.add_flags(*login(GUEST))
        cluster.program = (sys.executable, "-m", "tests.support.skewed", str(CLOCKS_S))
        gateway = cluster.start_gateway("ahead")
        cluster.program = (sys.executable, "-m", "tests.support.skewed", str(-CLOCKS_S))
        shard = cluster.start_shard("behind")
        for process in (gateway, shard):
            await becomes_ready(process)
        async with calling(gateway.url, AUDIO) as caller:
            await caller.play(interleaved(spoken(CUSTOMER), spoken(AGENT)))

        no_word_is_missing_or_there_twice(caller, CUSTOMER, AGENT)
        for process, ahead_s in ((gateway, CLOCKS_S), (shard, -CLOCKS_S)):
            await comes(partial(has_said, process, "clock.differs"), READY_S, "a word about the clock")
            (line,) = said(process, "clock.differs")
            assert line["ahead_s"] == pytest.approx(ahead_s, abs=2.0)
            assert "NTP" in str(line["problem"])


async def test_a_record_larger_than_its_topic_takes_ends_its_own_call_alone(broker: KafkaCluster, folder: Path) -> None:
    """The other call lives in another slot: what shares a batch with a record that is too large is refused with it."""
    with cluster_on(broker.bootstrap, folder, prefix="small", slots=2) as cluster:
        cluster.add_flags(*login(GUEST))
        gateway, _ = await serving(cluster)
        async with Rights(broker.bootstrap) as rights:
            await rights.limit_records("small.audio", 4000)
        audio = interleaved(spoken(CUSTOMER), spoken(AGENT))
        async with calling(gateway.url, AUDIO) as caller:
            playing = asyncio.create_task(caller.play(audio))
            await asyncio.sleep(1.0)
            async with connect(f"{gateway.url}{GENERIC}") as other:
                await other.send(bytes(8000))
                with pytest.raises(ConnectionClosed) as closed:
                    await other.recv()
            await playing

        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011
        no_word_is_missing_or_there_twice(caller, CUSTOMER, AGENT)
        (line,) = said(gateway, "connection.log_failed")
        assert "small.audio" in str(line["problem"])
        assert "raise max.message.bytes of the topic" in str(line["problem"])
        assert gateway.is_ready
