"""Another model while calls go on: the commands of the page about it, on real processes and a real broker."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from tests.support.calls import Caller, calling
from tests.support.cluster import SLOTS, Cluster, cluster_on, start_broker
from tests.support.documents import ROOT, blocks
from tests.support.kafka_broker import KafkaCluster
from tests.support.ports import HOST, free_port
from tests.support.servers import ServerProcess
from tests.support.tones import GAP_S, PAUSE_S, WORD_S, flat, interleaved, sentences, spoken
from tests.support.wire import wired
from trunkline import Audio

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

AUDIO: Final = Audio("mulaw", 8000, channels=2)
CALLS: Final = 3
WORDS: Final = 5
SENTENCE_S: Final = WORDS * (WORD_S + GAP_S) + PAUSE_S
MOST: Final = 50
"""Sentences of each side, if processes take as long as that to start."""
MORE: Final = 2
"""Sentences behind the last change."""
OLD_SHARDS: Final = 2
ENDS_WITHIN_S: Final = 10.0
"""Seconds in which a shard that is told to end has given its calls away, on a machine that tests share."""
START, END = (block.text for block in blocks("sh") if block.page == "docs/recipes/model.md")
"""What the page says of starting a shard with the new model, and of ending an old one."""


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaCluster]:
    cluster = start_broker()
    yield cluster
    cluster.stop()


class Operator:
    """Types what the page says.

    Args:
        folder: Where files of the commands lie.
        bootstrap: The cluster's brokers.
        prefix: Of its topics.
    """

    def __init__(self, folder: Path, bootstrap: str, prefix: str) -> None:
        self._folder = folder
        kafka = f'[kafka]\nbootstrap = "{bootstrap}"\nprefix = "{prefix}"\nslots = {SLOTS}\n'
        (folder / "cluster.toml").write_text(f'{kafka}[devices]\nengine = "scripted"\n')

    async def type(self, commands: str, **variables: str) -> float:
        """Run commands, with paths and ports of their own, and return how many seconds they took."""
        mine = commands.replace(".venv/bin/python", sys.executable).replace("8091", str(free_port()))
        for file in ("cluster.toml", "shard-base.log", "shard-base.pid"):
            mine = mine.replace(file, str(self._folder / file))
        began = time.monotonic()
        shell = await asyncio.create_subprocess_exec(
            "bash", "-eu", "-c", mine, cwd=ROOT, env={**os.environ, **variables}
        )
        assert await shell.wait() == 0
        return time.monotonic() - began

    def started(self) -> int:
        """Return the process that the commands started."""
        return int((self._folder / "shard-base.pid").read_text())

    def end(self) -> None:
        """End what was started, as a power cut would."""
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(self.started(), signal.SIGKILL)


async def speak(caller: Caller, audio: bytes, changed: asyncio.Event) -> int:
    """Say sentence after sentence until everything was changed, and some more; return how many."""
    left = MORE
    for count in range(1, MOST + 1):
        await caller.play(audio, PAUSE_S + count * SENTENCE_S)
        left -= changed.is_set()
        if not left:
            return count
    return MOST


async def replace_gateway(cluster: Cluster, targets: list[int]) -> None:
    """Start a gateway that knows the new model, send new connections there, and end the old one."""
    (old,) = cluster.gateways.values()
    cluster.set("models.final", "base")
    fresh = cluster.start_gateway("gateway-base")
    await asyncio.to_thread(cluster.await_ready, fresh)
    targets[:] = [fresh.port]
    old.process.terminate()
    assert await asyncio.to_thread(old.process.wait, 60) == 0


async def replace_shards(operator: Operator, old: list[ServerProcess]) -> None:
    """Do what the page says: a new one, then the old ones end."""
    await operator.type(START)
    for shard in old:
        ended = asyncio.create_task(asyncio.to_thread(shard.process.wait, 60))  # who started it hears of its end
        took_s = await operator.type(END, OLD=str(shard.process.pid))
        print(f"an old shard ended {took_s:.1f} s after it was told to")  # noqa: T201 - a measurement
        assert took_s < ENDS_WITHIN_S
        assert await ended == 0


async def test_shards_change_their_model_in_the_middle_of_calls_and_no_word_is_lost(
    broker: KafkaCluster, tmp_path: Path
) -> None:
    """The words are known one by one; each final names who wrote it, and nobody is connected anew for it but once."""
    said = [(sentences(MOST, 2 * call, WORDS), sentences(MOST, 2 * call + 1, WORDS)) for call in range(CALLS)]
    changed = asyncio.Event()
    operator = Operator(tmp_path, broker.bootstrap, "upgrade")
    async with AsyncExitStack() as stack:
        stack.callback(operator.end)
        cluster = stack.enter_context(cluster_on(broker.bootstrap, tmp_path, prefix="upgrade"))
        cluster.set("models.final", "tiny.en")
        await asyncio.to_thread(cluster.start, shards=OLD_SHARDS)
        (gateway,) = cluster.gateways.values()
        front = await stack.enter_async_context(wired(gateway.port))
        targets = [gateway.port]
        front.targets = targets
        callers: list[Caller] = [
            await stack.enter_async_context(calling(f"ws://{HOST}:{front.port}", AUDIO)) for _ in said
        ]
        async with asyncio.TaskGroup() as tasks:
            talks = [
                tasks.create_task(speak(caller, interleaved(*map(spoken, sides)), changed))
                for caller, sides in zip(callers, said, strict=True)
            ]
            await asyncio.sleep(2 * SENTENCE_S)
            await replace_shards(operator, list(cluster.shards.values()))
            await replace_gateway(cluster, targets)
            changed.set()
        for caller in callers:
            await caller.call.close()
            await caller.listening

    for caller, sides, talk in zip(callers, said, talks, strict=True):
        for channel, words in enumerate(sides):
            assert caller.words(channel) == flat(words[: talk.result()])
            assert caller.numbers(channel) == list(range(talk.result()))
            models = [final.model for final in caller.finals if final.channel == channel]
            assert set(models) == {"tiny.en", "base"}
            assert sum(before != after for before, after in pairwise(models)) == 1
