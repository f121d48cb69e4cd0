"""The same with voices and real models: a recorded call undisturbed, with its shard killed, with its model changed."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos.disturbances import busiest
from tests.support.calls import Caller, calling
from tests.support.cluster import Cluster, cluster_on
from tests.support.kafka_broker import KafkaCluster
from trunkline import Audio
from trunkline.audio import read_file
from trunkline.reference import Reference, read_reference
from trunkline.words import WordErrors, word_errors

CALL: Final = Path(__file__).parents[1] / "data" / "call"
HURT_AT_S: Final = 20.0
BETTER: Final = "base"
"""The model that the call is moved to."""
AT_MOST: Final = 2
"""Words by which the disturbed call may be worse: a replay cuts its windows elsewhere, and tiny.en hears them anew."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call was understood."""

    errors: WordErrors
    numbered: bool
    """Whether the finals of each side count up from 0, each once."""
    models: tuple[str, ...]
    """That wrote them, in the order in which they came in."""


async def speak() -> bool:
    """Play the call three times, print what became of it, and return whether all was well."""
    brokers = await asyncio.to_thread(KafkaCluster, 1)
    try:
        calm = await _play(brokers, "calm", None)
        hurt = await _play(brokers, "hurt", lambda cluster: busiest(cluster).process.send_signal(signal.SIGKILL))
        better = await _play(brokers, "better", _change_the_model)
    finally:
        await asyncio.to_thread(brokers.stop)
    good = all(
        each.numbered and each.errors.errors <= calm.errors.errors + AT_MOST and each.models == models
        for each, models in ((calm, ("tiny.en",)), (hurt, ("tiny.en",)), (better, ("tiny.en", BETTER)))
    )
    print(  # noqa: T201 - what the command is for
        f"{'ok  ' if good else 'FAIL'} speech           word errors {calm.errors.errors} undisturbed, "
        f"{hurt.errors.errors} with SIGKILL of the shard, {better.errors.errors} with {BETTER} from the middle on, of "
        f"{calm.errors.words} words; every final once (tiny.en, a call of 50 s)",
        flush=True,
    )
    return good


def _change_the_model(cluster: Cluster) -> None:
    """As ``docs/recipes/model.md`` says: a new shard, then the old ones end."""
    old = list(cluster.shards.values())
    cluster.set("models.final", BETTER)
    cluster.await_ready(cluster.start_shard(BETTER))
    for shard in old:
        shard.stop()


async def _play(brokers: KafkaCluster, prefix: str, do: Callable[[Cluster], None] | None) -> Outcome:
    recording, reference = read_file(CALL / "call.wav"), read_reference(CALL / "call.json")
    with (
        tempfile.TemporaryDirectory(prefix="trunkline-chaos-") as folder,
        cluster_on(brokers.bootstrap, Path(folder), prefix=prefix) as cluster,
    ):
        cluster.set("devices.engine", "whisper")
        await asyncio.to_thread(cluster.start, shards=2)
        gateway = next(iter(cluster.gateways.values()))
        audio = Audio(recording.audio.encoding, recording.audio.sample_rate, recording.audio.channels)
        async with calling(gateway.url, audio) as caller:
            await caller.play(recording.data, HURT_AT_S)
            async with asyncio.TaskGroup() as tasks:
                if do is not None:
                    tasks.create_task(asyncio.to_thread(do, cluster))
                await caller.play(recording.data)
    return _judge(caller, reference, recording.audio.channels)


def _judge(caller: Caller, reference: Reference, channels: int) -> Outcome:
    errors, numbered = WordErrors(), True
    for channel in range(channels):
        errors += word_errors(reference.text(channel), " ".join(caller.words(channel)))
        numbered &= caller.numbers(channel) == list(range(len(caller.numbers(channel))))
    return Outcome(errors, numbered, tuple(dict.fromkeys(final.model for final in caller.finals)))
