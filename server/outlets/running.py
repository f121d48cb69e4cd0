"""The outlets that the settings ask for, as one block."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import structlog
from structlog.typing import FilteringBoundLogger

from server.errors import BadSetting
from server.metrics import Metrics
from server.outlets.outlet import Ledger, Outlet
from server.outlets.webhooks import Endpoint, WebhookSink, key_of, kinds_of
from server.settings import Webhook, Webhooks
from streaming.log import Log

log: FilteringBoundLogger = structlog.get_logger()

SETTLE_S: Final = 5.0
"""Seconds that outlets have at the end to tell what is in the log."""


@asynccontextmanager
async def outlets(
    webhooks: Webhooks, source: Log, metrics: Metrics, ledger: Callable[[str], Ledger]
) -> AsyncGenerator[None]:
    """Run webhooks while the context lasts, and let them tell what is left at its end.

    Args:
        webhooks: The receivers.
        source: The log.
        metrics: Counts what was told.
        ledger: Gives each outlet, by its name, its share of the slots.

    Raises:
        BadSetting: If a receiver's address or secret cannot be used.
    """
    endpoints = [endpoint_of(name, webhook) for name, webhook in webhooks.endpoints.items()]
    async with AsyncExitStack() as stack:
        running: list[Outlet] = []
        sinks = [await stack.enter_async_context(WebhookSink(each, metrics, time.time)) for each in endpoints]
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        for endpoint, sink in zip(endpoints, sinks, strict=True):
            name = f"webhook-{endpoint.name}"
            running.append(Outlet(name, source, sink, ledger(name), metrics))
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
    except TimeoutError:
        log.warning("outlets.unsettled", waiting=sum(outlet.under_way for outlet in running))
