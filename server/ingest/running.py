"""Ingestion as the settings ask for it, as one block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from server.cluster_log import check_connection, reached
from server.errors import BadSetting
from server.ingest.ingester import Ingester
from server.services import Services
from server.settings import Ingest
from streaming.log.kafka_settings import KafkaSettings


@asynccontextmanager
async def ingesting(settings: Ingest, cluster: KafkaSettings | None, services: Services) -> AsyncGenerator[None]:
    """Ingest while the context lasts, if a topic is set; what the brokers have against it ends no other call.

    Raises:
        BadSetting: If no client can be made, or the format of its bare records is not one that can be served.
    """
    if settings.topic is None:
        yield
        return
    if cluster is None:
        raise BadSetting("ingest.topic is set but kafka.bootstrap is not; name the brokers of the topic")
    if cluster.is_own(settings.topic):
        raise BadSetting(f"ingest.topic {settings.topic} is a topic of the log itself; choose another name")
    try:
        ingester = Ingester(settings, cluster, services)
    except ValueError as problem:
        raise BadSetting(f"ingest: {problem}") from problem
    await check_connection(cluster)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(reached(ingester.run, "ingest"), name="ingest")
        yield
        running.cancel()
