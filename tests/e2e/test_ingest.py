"""Kafka in, Kafka out: calls from a topic that others write, on a real broker and real processes."""

from __future__ import annotations

import asyncio
import signal
import sys
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from streaming.audio import decode, encode
from streaming.call import Encoding
from streaming.log.kafka_settings import KafkaSettings
from tests.support.call_topic import CallTopic, records_of, shuffled
from tests.support.calls import calling
from tests.support.cluster import Cluster, cluster_on, start_broker
from tests.support.dice import dice
from tests.support.kafka_broker import KafkaCluster
from tests.support.public_topic import Documents, read_public
from tests.support.servers import SCRIPTED, serving, until
from tests.support.tones import RATE, Sentence, flat, interleaved, sentences, spoken
from trunkline import Audio

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

AUDIO: Final = Audio("mulaw", RATE, channels=2)
LABELS: Final = ["customer", "agent"]
OPEN: Final = 'trunkline_part_open{part="ingest"}'
CALLS: Final = {f"call-{number}": (sentences(3, seed=number), sentences(2, seed=50 + number)) for number in range(3)}


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaCluster]:
    cluster = start_broker()
    yield cluster
    cluster.stop()


def ingesting(cluster: Cluster, prefix: str) -> tuple[str, str]:
    """Set a cluster up to read one topic and write another; return their names."""
    came, went = f"{prefix}-pbx", f"{prefix}-words"
    cluster.set("ingest.topic", came)
    cluster.set("transcripts.topic", went)
    return came, went


def all_ended(documents: Documents) -> bool:
    return {each["call"] for each in documents if each["type"] == "call_ended"} == set(CALLS)


def every_word_is_there_once(documents: Documents) -> None:
    once = {str(each["id"]): each for each in documents if each["type"] == "final"}
    for call, sides in CALLS.items():
        for label, said in zip(LABELS, sides, strict=True):
            assert words_of(list(once.values()), call, label) == flat(said)


def words_of(finals: Sequence[dict[str, object]], call: str, label: str) -> list[str]:
    mine = [final for final in finals if (final["call"], final["label"]) == (call, label)]
    return [
        word for final in sorted(mine, key=lambda each: int(str(each["number"]))) for word in str(final["text"]).split()
    ]


def audio_of(sides: tuple[list[Sentence], list[Sentence]]) -> bytes:
    return interleaved(*(spoken(said) for said in sides))


async def test_calls_from_a_topic_come_out_word_for_word(broker: KafkaCluster, tmp_path: Path) -> None:
    """Though some records came twice and some late: that is what at least once means."""
    chance = dice()
    with cluster_on(broker.bootstrap, tmp_path, prefix="orderly") as cluster:
        came, went = ingesting(cluster, "orderly")
        async with CallTopic.opened(broker.bootstrap, came) as topic:
            await asyncio.to_thread(cluster.start, shards=1)
            for call, sides in CALLS.items():
                await topic.write(call, shuffled(records_of(audio_of(sides), LABELS), chance), channels=2)
            documents = await read_public(KafkaSettings(broker.bootstrap), went, all_ended)
    every_word_is_there_once(documents)


async def test_a_gateway_that_is_killed_leaves_its_calls_to_the_others(broker: KafkaCluster, tmp_path: Path) -> None:
    """Another takes its share, and its calls over, in mid-sentence."""
    with cluster_on(broker.bootstrap, tmp_path, prefix="killed") as cluster:
        came, went = ingesting(cluster, "killed")
        async with CallTopic.opened(broker.bootstrap, came) as topic:
            await asyncio.to_thread(cluster.start, gateways=2, shards=1)
            records = {call: records_of(audio_of(sides), LABELS) for call, sides in CALLS.items()}
            for call, told in records.items():
                await topic.write(call, told[: len(told) // 2], channels=2)
            await asyncio.sleep(3)
            cluster.gateways["gateway-0"].process.send_signal(signal.SIGKILL)
            for call, told in records.items():
                await topic.write(call, told[len(told) // 2 :], channels=2)
            documents = await read_public(KafkaSettings(broker.bootstrap), went, all_ended)
    every_word_is_there_once(documents)


async def test_the_command_line_writes_a_recording_and_reads_its_words(broker: KafkaCluster, tmp_path: Path) -> None:
    """One server, no code: what the recipe says."""
    said = sentences(3, seed=9)
    recording = tmp_path / "call.wav"
    with wave.open(str(recording), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(encode(decode(spoken(said), Encoding.MULAW), Encoding.L16))
    flags = {"kafka.bootstrap": broker.bootstrap, "ingest.topic": "cli-pbx", "transcripts.topic": "cli-words"}
    settings = [part for name, value in flags.items() for part in ("--set", f"{name}={value}")]
    async with CallTopic.opened(broker.bootstrap, "cli-pbx"):
        with serving(*settings, *SCRIPTED, log=tmp_path / "server.log"):
            kafka = ("--bootstrap", broker.bootstrap)
            wrote = await trunkline(
                "ingest", str(recording), *kafka, "--topic", "cli-pbx", "--label", "caller", "--fast"
            )
            call = wrote.split()[-1]
            told = await trunkline("tail", *kafka, "--topic", "cli-words", "--from-start", "--call", call)
    assert [word for line in told.splitlines() for word in line.partition("caller: ")[2].split()] == flat(said)


@pytest.mark.timeout(180)
async def test_a_topic_that_is_not_there_yet_ends_no_call_and_is_read_once_it_is(
    broker: KafkaCluster, tmp_path: Path
) -> None:
    """Who writes it may begin after us; until then whoever operates the server sees that it waits."""
    flags = ("--set", f"kafka.bootstrap={broker.bootstrap}", "--set", "ingest.topic=late-pbx", *SCRIPTED)
    server = serving(*flags, log=tmp_path / "server.log")
    at = await asyncio.to_thread(server.__enter__)
    try:
        assert await asyncio.to_thread(at.metric, OPEN) == 0
        async with calling(at.url, AUDIO) as caller:
            await caller.play(audio_of(CALLS["call-0"]))
        assert [caller.words(channel) for channel in (0, 1)] == [flat(said) for said in CALLS["call-0"]]
        async with CallTopic.opened(broker.bootstrap, "late-pbx"):
            await asyncio.to_thread(until, lambda: at.metric(OPEN) == 1, 90.0, "ingestion to begin", at.process)
        assert await asyncio.to_thread(at.stop) == 0
    finally:
        await asyncio.to_thread(server.__exit__, None, None, None)


async def trunkline(*arguments: str) -> str:
    """Run the command, and return what it printed."""
    command = Path(sys.executable).with_name("trunkline")
    process = await asyncio.create_subprocess_exec(
        command, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()
    return told.decode()
