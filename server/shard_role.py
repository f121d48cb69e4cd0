"""A shard of a cluster: devices on one side, the log in Kafka on the other; gateways are other processes."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket

import structlog
from prometheus_client import CollectorRegistry

from gpu.loudness import LoudnessVad
from scaler.governor import Governor
from scaler.leading import Leading, Others
from scaler.policy.desired import Bounds
from scaler.shard import Shard
from server.cluster_log import ClusterLog
from server.governed import GovernedDevices, show
from server.health import Readiness
from server.metrics import Metrics
from server.observers import DeviceObserver, ShardObserver
from server.pages import serve_pages
from server.quality import channel_settings, quality_ladder
from server.settings import Settings
from server.standalone import check_start, device_specs, find_detector, find_models

log = structlog.get_logger()


async def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, then give all slots away.

    Returns:
        The exit code: 0 after a stop that was asked for.

    Raises:
        BadSetting: If a model is missing or damaged, the address cannot be listened on, or the log cannot be used.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop)
    return 0


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until told to stop.

    Raises:
        BadSetting: If a model is missing or damaged, the address cannot be listened on, or the log cannot be used.
    """
    ladder = quality_ladder(settings)
    scripted = settings.devices.engine == "scripted"
    mels = find_models(settings, ladder)
    metrics = Metrics(CollectorRegistry())
    name = f"{settings.shard.name or socket.gethostname()}-{secrets.token_hex(3)}"
    devices = GovernedDevices(device_specs(settings.devices, ladder), ladder, metrics, DeviceObserver(metrics))
    others = Others()
    bounds = Bounds(promised=settings.ladder.promised, cold_s=settings.shard.start_s)
    pool, governor = devices.pool, Governor(ladder, devices, name=name, bounds=bounds, others=others)
    show(governor, metrics)
    joined = asyncio.Event()
    cluster = ClusterLog(settings.kafka)

    def readiness() -> Readiness:
        if cluster.trouble():
            return cluster.readiness()
        if not pool.status().ready:
            return Readiness(ready=False, reason="no device is ready yet: models are loading")
        if stop.is_set():
            return Readiness(ready=False, reason="draining")
        return Readiness(ready=joined.is_set(), reason="" if joined.is_set() else "not a member of the cluster yet")

    async with (
        serve_pages(settings.shard.host, settings.shard.port, readiness, metrics) as port,
        cluster.connected(stop) as source,
        pool,
    ):
        if source is None:
            return
        log.info("shard.starting", name=name, host=settings.shard.host, port=port)
        shard = Shard(
            source,
            LoudnessVad() if scripted else find_detector(),
            pool,
            settings=channel_settings(settings.speech, ladder[0].beam, mels),
            governor=governor,
            observer=ShardObserver(metrics),
            idle_s=settings.limits.call_idle_s,
            name=name,
        )
        metrics.shard_calls.set_function(lambda: shard.calls)
        metrics.shard_slots.set_function(lambda: len(shard.slots))
        metrics.ready_shards.set_function(lambda: others.ready)
        metrics.log_waiting.set_function(source.waiting_s)
        await check_start(pool)
        await shard.join(joined, stop, drain_s=settings.shard.drain_s, policy=Leading(name, governor, others))
        log.info("shard.left", name=name)
