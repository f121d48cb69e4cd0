"""A gateway of a cluster: sockets on one side, the log in Kafka on the other; shards are other processes."""

from __future__ import annotations

import asyncio
import signal
import time

from prometheus_client import CollectorRegistry

from server.cluster_log import cluster_log, log_settings
from server.gateway import Gateway
from server.health import Readiness
from server.ingest.running import ingesting
from server.members import Members
from server.metrics import Metrics
from server.outlets.running import outlets
from server.page.cluster import ClusterSampler
from server.quality import quality_ladder
from server.settings import Settings


async def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a stop that was asked for.

    Raises:
        BadSetting: If the address cannot be listened on, or the log cannot be used.
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
        BadSetting: If the address cannot be listened on, or the log cannot be used.
    """
    metrics = Metrics(CollectorRegistry())
    async with cluster_log(settings.kafka, stop) as source:
        if source is None:
            return
        metrics.log_waiting.set_function(source.waiting_s)
        members = Members(source, metrics, time.monotonic, by_load=settings.limits.by_load)

        def log_away() -> bool:
            return source.waiting_s() > settings.kafka.trouble_s

        def readiness() -> Readiness:
            if log_away():
                return Readiness(ready=False, reason=f"the log has taken no record for {source.waiting_s():.0f} s")
            if not gateway.delivery.caught_up.is_set():
                return Readiness(ready=False, reason="what calls said before is still being read")
            return members.readiness()

        gateway = Gateway(
            settings,
            source,
            models=quality_ladder(settings).models,
            readiness=readiness,
            slots=lambda: () if log_away() else members.slots(gateway.directory),
            starts=members.starts,
            log_away=log_away,
            metrics=metrics,
            shared=True,
            sampler=ClusterSampler(members.view, time.monotonic),
        )
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(members.run(), name="members")
            cluster = log_settings(settings.kafka)
            async with (
                outlets(settings, source, metrics, cluster=cluster, shared=True),
                ingesting(settings.ingest, cluster, gateway.services),
            ):
                await gateway.run(stop)
            following.cancel()
