"""The outlets that the settings ask for, as one block."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import structlog
from structlog.typing import FilteringBoundLogger

from server.cluster_log import check_connection, reached
from server.errors import BadSetting
from server.metrics import Metrics
from server.outlets.kafka import GroupLedger, PublicTopicSink
from server.outlets.outlet import Ledger, Outlet, Sink, WholeLedger
from server.outlets.webhooks import Endpoint, WebhookSink, key_of, kinds_of
from server.settings import Settings, Webhook
from streaming.errors import LogError
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
        BadSetting: If a receiver's address or secret cannot be used, or the topic, as far as that is known without the
            brokers.
    """
    chosen = settings.transcripts
    endpoints = [endpoint_of(name, webhook) for name, webhook in settings.webhooks.endpoints.items()]
    ways = [Way(f"webhook-{each.name}", partial(WebhookSink, each, metrics, time.time)) for each in endpoints]
    if chosen.topic is not None:
        if cluster is None:
            raise BadSetting("transcripts.topic is set but kafka.bootstrap is not; name the brokers of the topic")
        if cluster.is_own(chosen.topic):
            raise BadSetting(f"transcripts.topic {chosen.topic} is a topic of the log itself; choose another name")
        await check_connection(cluster)
        opened = partial(PublicTopicSink.opened, cluster, chosen.topic, partials=chosen.partials)
        ways.append(Way("transcripts", opened))

    def ledger(way: Way) -> AbstractAsyncContextManager[Ledger]:
        return GroupLedger(cluster, way.name) if shared and cluster is not None else WholeLedger(source.slots)

    loop = asyncio.get_running_loop()
    opening: list[asyncio.Future[Outlet]] = [loop.create_future() for _ in ways]
    async with asyncio.TaskGroup() as tasks:
        telling = [
            tasks.create_task(tell(way, source, partial(ledger, way), metrics, outlet.set_result), name="outlet")
            for way, outlet in zip(ways, opening, strict=True)
        ]
        yield
        await _settle(opening)
        for task in telling:
            task.cancel()


@dataclass(frozen=True, slots=True)
class Way:
    """A way out that the settings ask for."""

    name: str
    """For logs, metrics, and where it is remembered what was told."""
    sink: Callable[[], AbstractAsyncContextManager[Sink]]


async def tell(
    way: Way,
    source: Log,
    ledger: Callable[[], AbstractAsyncContextManager[Ledger]],
    metrics: Metrics,
    opened: Callable[[Outlet], None],
) -> None:
    """Open a way out and tell what there is to tell, until cancelled.

    Calls need none of it and none ends because of it: a way out that does not fit the cluster says so again and again,
    and opens once it fits.

    Args:
        way: The way out.
        source: The log.
        ledger: Opens what remembers how far it is told.
        metrics: Counts what was told.
        opened: Called once the way is open.
    """
    is_open = metrics.part_open.labels(way.name)
    is_open.set(0)
    async with AsyncExitStack() as stack:
        sink = await reached(lambda: stack.enter_async_context(way.sink()), "outlet", outlet=way.name)
        told = await reached(lambda: stack.enter_async_context(ledger()), "outlet", outlet=way.name)
        outlet = Outlet(way.name, source, sink, told, metrics)
        opened(outlet)
        is_open.set(1)
        await outlet.run()


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


async def _settle(opening: list[asyncio.Future[Outlet]]) -> None:
    """Wait until all is told, also by outlets that were still opening when the end came."""
    try:
        async with asyncio.timeout(SETTLE_S):
            running = await asyncio.gather(*opening)
            await asyncio.gather(*(outlet.settled() for outlet in running))
    except (TimeoutError, LogError):
        opened = [outlet.result() for outlet in opening if outlet.done() and not outlet.cancelled()]
        log.warning("outlets.unsettled", waiting=sum(outlet.under_way for outlet in opened))
