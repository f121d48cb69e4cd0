"""The drill's second half: two shards on a real Kafka, one slowed until it is full, one drained, and too many calls."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from tests.bench.diary import OF_GATEWAYS, OF_SHARDS, Diary, Happening, Page, watch
from tests.bench.drill_devices import SETTLES_S, Load, Talk, play_all, stop_in_bursts
from tests.support.cluster import Cluster

DRAINED_WITHIN_S: Final = 10.0
"""Seconds in which a shard that is told to end must have given its slots away."""


@dataclass(frozen=True, slots=True)
class ShardsPlan:
    """When what is done; in seconds from the beginning."""

    load: Load
    slowed_s: tuple[float, float]
    """When the device of the shard with most calls is stopped in bursts."""
    started_s: float
    """When a third shard is started, as an upgrade does."""
    drained_s: float
    """When the shard with most calls is told to end."""


@dataclass(frozen=True, slots=True)
class Drained:
    """How a shard ended."""

    took_s: float
    code: int
    calls: float
    """That it had when it was told to."""


async def hurt_shards(cluster: Cluster, talk: Talk, plan: ShardsPlan) -> tuple[Diary, Drained]:
    """Do it all to a gateway and two shards that run, and return what was seen and how one of them was drained."""
    diary = Diary()
    (gateway,) = cluster.gateways.values()
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch(diary, lambda: _pages(cluster)), name="drill-watch")
        playing = tasks.create_task(play_all(gateway.url, diary, talk, plan.load), name="drill-play")
        slowing = tasks.create_task(_slow(cluster, diary, plan), name="drill-slow")
        draining = tasks.create_task(_replace(cluster, diary, plan), name="drill-drain")
        await asyncio.wait([playing, slowing, draining])
        await asyncio.sleep(SETTLES_S)
        watching.cancel()
    return diary, await draining


def moved(diary: Diary) -> int:
    """Count the slots that left a shard with too much to do for one with less."""
    return round(
        sum(max((count for _, count in diary.of("moved", who)), default=0) for who in diary.processes("moved"))
    )


def _pages(cluster: Cluster) -> list[Page]:
    gateways = [Page(name, each.metrics_url, OF_GATEWAYS) for name, each in cluster.gateways.items()]
    return gateways + [Page(name, each.metrics_url, OF_SHARDS) for name, each in cluster.shards.items()]


def _busiest(cluster: Cluster) -> str:
    """Return the shard with most calls, of those that live."""
    living = {name: each for name, each in cluster.shards.items() if each.process.poll() is None and each.is_ready}
    return max(living, key=lambda name: living[name].metric("trunkline_shard_calls"))


async def _slow(cluster: Cluster, diary: Diary, plan: ShardsPlan) -> None:
    await diary.until(plan.slowed_s[0])
    name = await asyncio.to_thread(_busiest, cluster)
    (device,) = await asyncio.to_thread(cluster.shards[name].device_pids)
    await stop_in_bursts(diary, device, plan.slowed_s)


async def _replace(cluster: Cluster, diary: Diary, plan: ShardsPlan) -> Drained:
    """Start a third shard, then tell the busiest to end."""
    await diary.until(plan.started_s)
    fresh = cluster.start_shard("shard-fresh")
    await asyncio.to_thread(cluster.await_ready, fresh)
    diary.happenings.append(Happening("another shard started", plan.started_s, diary.now))
    await diary.until(plan.drained_s)
    leaving = cluster.shards[await asyncio.to_thread(_busiest, cluster)]
    calls = await asyncio.to_thread(leaving.metric, "trunkline_shard_calls")
    began = time.monotonic()
    leaving.process.terminate()
    code = await asyncio.to_thread(leaving.process.wait, 6 * DRAINED_WITHIN_S)
    took_s = time.monotonic() - began
    diary.happenings.append(Happening("a shard drained by SIGTERM", diary.now - took_s, diary.now))
    return Drained(took_s, code, calls)
