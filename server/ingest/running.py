"""Ingestion as the settings ask for it, as one block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog
from structlog.typing import FilteringBoundLogger

from server.errors import BadSetting
from server.ingest.ingester import Ingester
from server.services import Services
from server.settings import Ingest
from streaming.errors import LogMisconfigured, LogRefused, LogUnavailable
from streaming.log.kafka_settings import KafkaSettings

log: FilteringBoundLogger = structlog.get_logger()

RETRY_S = 2.0
"""Seconds until a cluster that did not answer is tried again."""


@asynccontextmanager
async def ingesting(settings: Ingest, cluster: KafkaSettings | None, services: Services) -> AsyncGenerator[None]:
    """Ingest while the context lasts, if a topic is set.

    Raises:
        BadSetting: If the topic cannot be read, or the format of its bare records is not one that can be served.
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
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(_run(ingester), name="ingest")
        yield
        running.cancel()


async def _run(ingester: Ingester) -> None:
    while True:
        try:
            await ingester.run()
        except (LogMisconfigured, LogRefused) as problem:
            raise BadSetting(str(problem)) from problem
        except LogUnavailable as problem:
            log.warning("ingest.unavailable", problem=str(problem), retry_s=RETRY_S)
            await asyncio.sleep(RETRY_S)
