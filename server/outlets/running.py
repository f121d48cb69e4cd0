"""The outlets that the settings ask for, as one block."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import structlog
from structlog.typing import FilteringBoundLogger

from server.errors import BadSetting
from server.metrics import Metrics
from server.outlets.kafka import GroupLedger, PublicTopicSink
from server.outlets.outlet import Ledger, Outlet, Sink, WholeLedger
from server.outlets.webhooks import Endpoint, WebhookSink, key_of, kinds_of
from server.settings import Settings, Webhook
from streaming.errors import LogError, LogMisconfigured, LogRefused
from streaming.log import Log
from streaming.log.kafka_settings import KafkaSettings

log: FilteringBoundLogger = structlog.get_logger()

SETTLE_S: Final = 5.0
"""Seconds that outlets have at the end to tell what is in the log."""


@asynccontextmanager
async def outlets(
    settings: Settings, source: Log, metrics: Metrics, *, cluster: KafkaSettings | None, shared: bool
) -> AsyncGenerator[None]:
    """Tell the outside while the context lasts, and what is left at its end.

    Args:
        settings: Say to whom.
        source: The log.
        metrics: Counts what was told.
        cluster: Where the public topic lies; None where there is no Kafka.
        shared: Whether the log is in the cluster and several processes share the telling.

    Raises:
        BadSetting: If a receiver's address or secret, or the topic, cannot be used.
    """
    chosen = settings.transcripts
    if chosen.topic is not None and cluster is None:
        raise BadSetting("transcripts.topic is set but kafka.bootstrap is not; name the brokers of the topic")
    if chosen.topic is not None and cluster is not None and cluster.is_own(chosen.topic):
        raise BadSetting(f"transcripts.topic {chosen.topic} is a topic of the log itself; choose another name")
    endpoints = [endpoint_of(name, webhook) for name, webhook in settings.webhooks.endpoints.items()]
    async with AsyncExitStack() as stack:
        sinks: dict[str, Sink] = {}
        for endpoint in endpoints:
            sinks[f"webhook-{endpoint.name}"] = await stack.enter_async_context(
                WebhookSink(endpoint, metrics, time.time)
            )
        try:
            if chosen.topic is not None and cluster is not None:
                opened = PublicTopicSink.opened(cluster, chosen.topic, partials=chosen.partials)
                sinks["transcripts"] = await stack.enter_async_context(opened)
            running: list[Outlet] = []
            for name, sink in sinks.items():
                ledger: Ledger = WholeLedger(source.slots)
                if shared and cluster is not None:
                    ledger = await stack.enter_async_context(GroupLedger(cluster, name))
                running.append(Outlet(name, source, sink, ledger, metrics))
        except (LogMisconfigured, LogRefused) as problem:
            raise BadSetting(str(problem)) from problem
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        telling = [tasks.create_task(outlet.run(), name="outlet") for outlet in running]
        yield
        await _settle(running)
        for task in telling:
            task.cancel()


def endpoint_of(name: str, webhook: Webhook) -> Endpoint:
    """Check a receiver's settings.

    Raises:
        BadSetting: If its address or a secret cannot be used.
    """
    address = urlsplit(webhook.url)
    if address.scheme not in ("https", "http") or not address.hostname:
        raise BadSetting(f"webhooks.endpoints.{name}.url is not an address; write https://HOST/PATH")
    return Endpoint(
        name,
        webhook.url,
        tuple(key_of(secret.get_secret_value()) for secret in webhook.secrets),
        kinds_of(webhook.events),
        frozenset(webhook.tenants),
        webhook.timeout_s,
        webhook.at_once,
        webhook.give_up_s,
    )


async def _settle(running: list[Outlet]) -> None:
    try:
        async with asyncio.timeout(SETTLE_S):
            await asyncio.gather(*(outlet.settled() for outlet in running))
    except (TimeoutError, LogError):
        log.warning("outlets.unsettled", waiting=sum(outlet.under_way for outlet in running))
