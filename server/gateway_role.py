"""A gateway of a cluster: sockets on one side, the log in Kafka on the other; shards are other processes."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack

from prometheus_client import CollectorRegistry

from server.cluster_log import ClusterLog
from server.gateway import Gateway
from server.health import Readiness
from server.ingest.running import ingesting
from server.members import Members
from server.metrics import Metrics
from server.outlets.running import outlets
from server.page.cluster import ClusterSampler
from server.pages import serve_pages
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
    cluster = ClusterLog(settings.kafka)
    async with AsyncExitStack() as stack:
        # Whoever asks is answered before the log is: what restarts a process that is silent would not help it.
        async with serve_pages(settings.listen.host, settings.listen.port, cluster.readiness, metrics):
            source = await stack.enter_async_context(cluster.connected(stop))
        if source is None:
            return
        metrics.log_waiting.set_function(source.waiting_s)
        members = Members(source, metrics, time.monotonic, by_load=settings.limits.by_load)

        def readiness() -> Readiness:
            if cluster.trouble():
                return cluster.readiness()
            if not gateway.delivery.caught_up.is_set():
                return Readiness(ready=False, reason="what calls said before is still being read")
            return members.readiness()

        gateway = Gateway(
            settings,
            source,
            models=quality_ladder(settings).models,
            readiness=readiness,
            slots=lambda: () if cluster.trouble() else members.slots(gateway.directory),
            starts=members.starts,
            log_trouble=cluster.trouble,
            metrics=metrics,
            shared=True,
            sampler=ClusterSampler(members.view, time.monotonic),
        )
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        following = tasks.create_task(members.run(), name="members")
        async with (
            outlets(settings, source, metrics, cluster=cluster.settings, shared=True),
            ingesting(settings.ingest, cluster.settings, gateway.services),
        ):
            await gateway.run(stop)
        following.cancel()
