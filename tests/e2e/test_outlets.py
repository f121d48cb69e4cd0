"""Transcripts that come by themselves, from real servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from streaming.log.kafka_settings import KafkaSettings
from tests.support.calls import calling
from tests.support.cluster import cluster_on, start_broker
from tests.support.kafka_broker import KafkaCluster
from tests.support.public_topic import read_public
from tests.support.receiver import receiving
from tests.support.servers import SCRIPTED, serving, until
from tests.support.tones import flat, interleaved, sentences, spoken
from trunkline import Audio

pytestmark = pytest.mark.e2e

AUDIO: Final = Audio("mulaw", 8000, channels=2)
CUSTOMER, AGENT = sentences(3, seed=5), sentences(2, seed=6)
TOPIC: Final = "words.for.everybody"


async def test_a_server_posts_the_whole_transcript_of_a_call(tmp_path: Path) -> None:
    """One setting, and the business has every call."""
    async with receiving() as receiver:
        flags = ("--set", f"webhooks.endpoints.crm.url={receiver.url}", *SCRIPTED)
        server = serving(*flags, log=tmp_path / "server.log")
        at = await asyncio.to_thread(server.__enter__)
        try:
            async with calling(at.url, AUDIO) as caller:
                await caller.play(interleaved(spoken(CUSTOMER), spoken(AGENT)))
            posts = await receiver.until(len(CUSTOMER) + len(AGENT) + 1)
        finally:
            await asyncio.to_thread(server.__exit__, None, None, None)
        end = json.loads(posts[-1].body)
    assert end["type"] == "call_ended"
    for channel, said in enumerate((CUSTOMER, AGENT)):
        words = [word for part in end["transcript"] if part["channel"] == channel for word in part["text"].split()]
        assert words == flat(said)


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaCluster]:
    cluster = start_broker()
    yield cluster
    cluster.stop()


@pytest.mark.kafka
async def test_a_public_topic_that_no_broker_takes_ends_no_call(broker: KafkaCluster, tmp_path: Path) -> None:
    """It is opened while calls are served: whoever operates the server hears of it, whoever calls does not."""
    flags = ("--set", f"kafka.bootstrap={broker.bootstrap}", "--set", "transcripts.topic=no topic!", *SCRIPTED)
    server = serving(*flags, log=tmp_path / "server.log")
    at = await asyncio.to_thread(server.__enter__)
    try:
        await asyncio.to_thread(until, lambda: "outlet.misconfigured" in at.written(), 20.0, "the outlet to say so")
        async with calling(at.url, AUDIO) as caller:
            await caller.play(interleaved(spoken(CUSTOMER), spoken(AGENT)))
            assert await asyncio.to_thread(at.metric, 'trunkline_part_open{part="transcripts"}') == 0
        assert [caller.words(channel) for channel in (0, 1)] == [flat(CUSTOMER), flat(AGENT)]
    finally:
        await asyncio.to_thread(server.__exit__, None, None, None)


@pytest.mark.kafka
async def test_a_cluster_writes_every_word_to_the_public_topic(broker: KafkaCluster, tmp_path: Path) -> None:
    """Who reads Kafka needs nothing else."""
    with cluster_on(broker.bootstrap, tmp_path, prefix="outlets") as cluster:
        cluster.set("transcripts.topic", TOPIC)
        await asyncio.to_thread(cluster.start, shards=1)
        async with calling(cluster.gateways["gateway-0"].url, AUDIO) as caller:
            await caller.play(interleaved(spoken(CUSTOMER), spoken(AGENT)))
        settings = KafkaSettings(broker.bootstrap)
        documents = await read_public(settings, TOPIC, lambda so_far: any(d["type"] == "call_ended" for d in so_far))
    for channel, said in enumerate((CUSTOMER, AGENT)):
        finals = [each for each in documents if each["type"] == "final" and each["channel"] == channel]
        assert [word for final in finals for word in str(final["text"]).split()] == flat(said)
