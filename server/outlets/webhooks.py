"""Webhooks after the Standard Webhooks specification: signed, in order within a call, tried again until taken."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import httpx
import structlog
from structlog.typing import FilteringBoundLogger

from server.errors import BadSetting
from server.metrics import Metrics
from server.outlets.documents import Document, Kind
from server.outlets.lines import Lines

log: FilteringBoundLogger = structlog.get_logger()

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what secrets begin with

FIRST_PAUSE_S: Final = 0.5
"""Seconds before the second try; each further pause is twice as long."""
LONGEST_PAUSE_S: Final = 300.0
ROOM: Final = 1000
"""Documents that may wait for one receiver in memory; more wait in the log."""


def key_of(secret: str) -> bytes:
    """Read a signing secret: ``whsec_`` and the key in base64.

    Raises:
        BadSetting: If it is anything else.
    """
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not key:
        raise BadSetting(
            "a webhook's secret is 'whsec_' and at least one byte in base64; make one with: "
            "echo whsec_$(openssl rand -base64 32)"
        )
    return key


def signature(keys: Sequence[bytes], message: str, sent_at: int, body: bytes) -> str:
    """Sign a message.

    Args:
        keys: One signature each, so that a receiver may know the old or the new one while they change.
        message: Its id.
        sent_at: Unix time in seconds.
        body: Exactly as sent.
    """
    signed = f"{message}.{sent_at}.".encode() + body
    return " ".join("v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A receiver."""

    name: str
    url: str
    keys: tuple[bytes, ...]
    kinds: frozenset[Kind]
    tenants: frozenset[str]
    """Whose calls it hears of; none means everybody's."""
    timeout_s: float
    at_once: int
    """Requests under way at a time."""
    give_up_s: float
    """Seconds after which a document that was never taken is given up."""


class WebhookSink:
    """Posts documents to one endpoint; an ``async with`` block is its life.

    Args:
        endpoint: Where to.
        metrics: Counts tries.
        wall_clock: Unix time in seconds.
        dice: Spreads the pauses between tries, 0..1.
    """

    partials = False
    transcripts = True

    def __init__(
        self,
        endpoint: Endpoint,
        metrics: Metrics,
        wall_clock: Callable[[], float],
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._endpoint = endpoint
        self._metrics = metrics
        self._wall_clock = wall_clock
        self._dice = dice
        self._lines = Lines(self._tell, f"webhook-{endpoint.name}", ROOM)
        self._turns = asyncio.Semaphore(endpoint.at_once)
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> WebhookSink:
        """Open the connections; certificates are read from files, which blocks."""
        self._client = await asyncio.to_thread(httpx.AsyncClient, timeout=self._endpoint.timeout_s, trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop where it stands."""
        await self._lines.__aexit__()
        if self._client is not None:
            await self._client.aclose()

    def wants(self, document: Document) -> bool:
        """Tell whether the endpoint asked for this kind, of this tenant."""
        endpoint = self._endpoint
        return document.kind in endpoint.kinds and (not endpoint.tenants or document.tenant in endpoint.tenants)

    async def put(self, document: Document) -> asyncio.Future[None]:
        """Take a document; its future is done once the endpoint took it, or it was given up."""
        return await self._lines.put(document)

    async def _tell(self, document: Document, since: float) -> None:
        try:
            await self._deliver(document, since)
        except Exception as problem:  # noqa: BLE001  what cannot even be sent must not hold up what follows it
            self._give_up(document, type(problem).__name__)

    async def _deliver(self, document: Document, since: float) -> None:
        loop, endpoint = asyncio.get_running_loop(), self._endpoint
        pause_s = FIRST_PAUSE_S
        while True:
            async with self._turns:
                outcome, wait_s = await self._post(document)
            self._metrics.webhook_tries.labels(endpoint.name, outcome).inc()
            if outcome == "taken":
                return
            if loop.time() - since >= endpoint.give_up_s:
                self._give_up(document, outcome)
                return
            log.warning("webhook.not_taken", outlet=endpoint.name, document=document.id, outcome=outcome)
            await asyncio.sleep(max(wait_s, pause_s * (0.5 + self._dice() / 2)))
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _give_up(self, document: Document, outcome: str) -> None:
        self._metrics.outlet_given_up.labels(self._endpoint.name).inc()
        log.error("webhook.given_up", outlet=self._endpoint.name, document=document.id, last=outcome)

    async def _post(self, document: Document) -> tuple[str, float]:
        """Try once.

        Returns:
            ``taken``, or what went wrong, and the seconds the endpoint asked to be left alone.
        """
        assert self._client is not None  # within the block
        body = document.json()
        sent_at = int(self._wall_clock())
        message = quote(document.id, safe="/:@")  # callers choose their calls' ids; a header takes less than they do
        headers = {
            "content-type": "application/json",
            "user-agent": "trunkline",
            "webhook-id": message,
            "webhook-timestamp": str(sent_at),
        }
        if self._endpoint.keys:
            headers["webhook-signature"] = signature(self._endpoint.keys, message, sent_at, body)
        try:
            answer = await self._client.post(self._endpoint.url, content=body, headers=headers)
        except httpx.TimeoutException:
            return "timeout", 0.0
        except httpx.HTTPError:
            return "unreachable", 0.0
        if answer.is_success:
            return "taken", 0.0
        asked = answer.headers.get("retry-after", "")
        return f"http_{answer.status_code}", min(float(asked), LONGEST_PAUSE_S) if asked.isdecimal() else 0.0


def kinds_of(names: Collection[str]) -> frozenset[Kind]:
    """Turn the settings' names into kinds."""
    return frozenset(Kind(name) for name in names)
