"""What is done to a cluster of real processes while calls are in progress."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry

from scaler.membership import claim_key
from server.members import Members
from server.metrics import Metrics
from streaming.log import Topic
from streaming.log.kafka import KafkaLog, KafkaSettings
from streaming.record_codec import encode
from streaming.records import Claim
from tests.chaos.load import Load
from tests.support.cluster import SLOTS, Cluster
from tests.support.kafka_broker import KafkaCluster
from tests.support.servers import ServerProcess
from tests.support.wire import Wire

MOVES: Final = 200
MOVE_EVERY_S: Final = 0.1


@dataclass(slots=True)
class Stage:
    """Where it happens."""

    cluster: Cluster
    brokers: KafkaCluster
    front: Wire
    """Between callers and gateways."""
    back: Wire
    """Between gateways and shards, and the broker."""
    load: Load
    prefix: str
    dice: random.Random


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One thing that goes wrong."""

    name: str
    what: str
    """As it is printed."""
    do: Callable[[Stage], Awaitable[None]]
    """Begins with ``load.mark`` at the moment it hurts."""
    brokers: int = 1
    within_s: float = 10.0
    """Seconds within which text must come again for every call."""


def busiest(cluster: Cluster) -> ServerProcess:
    """Find the shard with the most calls."""
    return max(cluster.shards.values(), key=lambda shard: shard.metric("trunkline_shard_calls"))


async def kill_a_shard(stage: Stage) -> None:
    """As a power cut does."""
    victim = await asyncio.to_thread(busiest, stage.cluster)
    stage.load.mark()
    victim.process.send_signal(signal.SIGKILL)


async def freeze_a_shard(stage: Stage) -> None:
    """Its calls go elsewhere meanwhile; when it wakes it believes that it still owns them."""
    victim = await asyncio.to_thread(busiest, stage.cluster)
    stage.load.mark()
    victim.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(10)
    victim.process.send_signal(signal.SIGCONT)


async def kill_a_gateway(stage: Stage) -> None:
    """Its callers find another by themselves."""
    stage.load.mark()
    next(iter(stage.cluster.gateways.values())).process.send_signal(signal.SIGKILL)


async def kill_a_broker(stage: Stage) -> None:
    """Whatever it led has new leaders; later it comes back."""
    stage.load.mark()
    await asyncio.to_thread(stage.brokers.kill, 0)
    await asyncio.sleep(8)
    await asyncio.to_thread(stage.brokers.start, 0)


async def break_the_network(stage: Stage) -> None:
    """Between our processes and the broker: slow, then cut, then resets, then pulled and plugged in again."""
    stage.load.mark()
    stage.back.delay_s = 0.1
    await asyncio.sleep(4)
    stage.back.delay_s = 0.0
    for _ in range(3):
        stage.back.reset()
        await asyncio.sleep(1.5)
    stage.back.hold()
    await asyncio.sleep(4)
    stage.back.release()


async def cut_the_callers(stage: Stage) -> None:
    """Between callers and gateways: resets every second, and one pulled cable."""
    stage.load.mark()
    for _ in range(8):
        stage.front.reset()
        await asyncio.sleep(1)
    stage.front.hold()
    await asyncio.sleep(3)
    stage.front.release()
    stage.front.reset()


async def restart_everything(stage: Stage) -> None:
    """One process after the other, as an upgrade does."""
    stage.load.mark()
    cluster = stage.cluster
    for old in list(cluster.shards.values()):
        fresh = cluster.start_shard(f"fresh-{len(cluster.shards)}")
        await asyncio.to_thread(cluster.await_ready, fresh)
        old.process.terminate()
        await asyncio.to_thread(old.process.wait, 30)
    for old in list(cluster.gateways.values()):
        fresh = cluster.start_gateway(f"fresh-{len(cluster.gateways)}")
        await asyncio.to_thread(cluster.await_ready, fresh)
        stage.front.targets = [*(port for port in stage.front.targets if port != old.port), fresh.port]
        old.process.terminate()
        await asyncio.to_thread(old.process.wait, 60)


async def move_slots(stage: Stage) -> None:
    """Slots with calls, to and fro, by claims that no coordinator made."""
    log = await KafkaLog.connect(KafkaSettings(stage.brokers.bootstrap, prefix=stage.prefix, slots=SLOTS))
    members = Members(log, Metrics(CollectorRegistry()), time.monotonic)
    following = asyncio.create_task(members.run())
    try:
        await asyncio.sleep(2)
        stage.load.mark()
        for _ in range(MOVES):
            names = [name for name in members.view.members if members.view.alive(name, now=time.monotonic())]
            busy = [(slot, name) for name in names for slot in members.view.members[name].heartbeat.busy]
            if busy and len(names) > 1:
                slot, owner = stage.dice.choice(busy)
                to = stage.dice.choice([name for name in names if name != owner])
                await log.append(Topic.CONTROL, 0, claim_key(slot), encode(Claim(slot, to, "chaos", "moved")))
            await asyncio.sleep(MOVE_EVERY_S)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await log.close()


DISTURBANCES: Final = (
    Disturbance("shard-killed", "SIGKILL of the busiest shard", kill_a_shard),
    Disturbance("shard-frozen", "SIGSTOP of the busiest shard for 10 s, then SIGCONT", freeze_a_shard),
    Disturbance("gateway-killed", "SIGKILL of a gateway; its callers resume at the other", kill_a_gateway),
    Disturbance("leader-killed", "SIGKILL of one of three brokers, back after 8 s", kill_a_broker, brokers=3),
    Disturbance("log-network", "broker behind 100 ms, resets and 4 s of nothing", break_the_network, within_s=15.0),
    Disturbance("caller-network", "callers reset eight times, and 3 s of nothing", cut_the_callers, within_s=15.0),
    Disturbance("rolling-restart", "every shard and gateway replaced, one by one", restart_everything),
    Disturbance("moves", f"{MOVES} moves of slots with calls in {MOVES * MOVE_EVERY_S:g} s", move_slots),
)
