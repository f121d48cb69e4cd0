"""Webhooks, told to a real receiver on loopback."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from standardwebhooks.webhooks import Webhook as Verifier

from server.errors import BadSetting
from server.metrics import Metrics
from server.outlets.documents import Document, Documents, Kind
from server.outlets.running import endpoint_of
from server.outlets.webhooks import Endpoint, WebhookSink, key_of
from server.settings import Webhook, load
from tests.support.outputs import a_call
from tests.support.receiver import DROP, HANG, Receiver, receiving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of these tests


def documents(call: str, finals: int) -> list[Document]:
    writing = Documents(transcripts=True)
    return [document for record in a_call(call, finals) if (document := writing.of(record)) is not None]


class Setup:
    def __init__(self, receiver: Receiver, sink: WebhookSink, metrics: Metrics) -> None:
        self.receiver = receiver
        self.sink = sink
        self._metrics = metrics

    async def tell(self, told: list[Document]) -> None:
        await asyncio.gather(*[await self.sink.put(document) for document in told])

    def tries(self, outcome: str) -> float:
        labels = {"outlet": "crm", "outcome": outcome}
        return self._metrics.registry.get_sample_value("trunkline_webhook_tries_total", labels) or 0.0

    @property
    def given_up(self) -> float:
        return self._metrics.registry.get_sample_value("trunkline_outlet_given_up_total", {"outlet": "crm"}) or 0.0


@asynccontextmanager
async def setup(**changes: object) -> AsyncGenerator[Setup]:
    async with receiving() as receiver:
        endpoint = endpoint_of("crm", Webhook.model_validate({"url": receiver.url, "secrets": (SECRET,), **changes}))
        metrics = Metrics(CollectorRegistry())
        async with WebhookSink(endpoint, metrics, time.time, dice=lambda: 0.0) as sink:
            yield Setup(receiver, sink, metrics)


async def test_a_receivers_own_library_accepts_what_is_posted() -> None:
    """Receivers check signatures with the specification's libraries."""
    async with setup() as at:
        await at.tell(documents("call-1", 2))
        verifier = Verifier(SECRET)
        bodies = [verifier.verify(posted.body, posted.headers) for posted in at.receiver.posts]
        assert [body["type"] for body in bodies] == ["call_started", "final", "final", "call_ended"]


async def test_a_changed_body_is_not_accepted() -> None:
    """The test above can fail."""
    async with setup() as at:
        await at.tell(documents("call-1", 0)[:1])
        posted = at.receiver.posts[0]
        with pytest.raises(Exception, match="signature"):
            Verifier(SECRET).verify(posted.body.replace(b"acme", b"evil"), posted.headers)


async def test_while_secrets_change_both_are_good() -> None:
    """A secret is changed without a document lost."""
    other = "whsec_" + "A" * 32
    async with setup(secrets=(SECRET, other)) as at:
        await at.tell(documents("call-1", 0)[:1])
        for secret in (SECRET, other):
            assert Verifier(secret).verify(at.receiver.posts[0].body, at.receiver.posts[0].headers)


async def test_what_is_not_taken_is_posted_again_and_the_order_of_a_call_is_kept() -> None:
    """A receiver that is restarted misses nothing, and hears no answer before its question."""
    async with setup() as at:
        at.receiver.answers.extend([(500, {}), (DROP, {})])
        await at.tell(documents("call-1", 3))
        texts = [json.loads(posted.body).get("text", "") for posted in at.receiver.posts]
        assert texts == ["", "", "", "w0", "w1", "w2", ""]
        assert len({posted.headers["webhook-id"] for posted in at.receiver.posts}) == 5
        assert (at.tries("http_500"), at.tries("unreachable"), at.tries("taken")) == (1, 1, 5)


async def test_a_receiver_that_asks_to_be_left_alone_is() -> None:
    """Retry-After is honoured where it is longer than our own pause."""
    async with setup() as at:
        at.receiver.answers.append((429, {"retry-after": "1"}))
        began = asyncio.get_running_loop().time()
        await at.tell(documents("call-1", 0)[:1])
        assert asyncio.get_running_loop().time() - began >= 1.0


async def test_one_call_that_is_not_taken_holds_up_no_other() -> None:
    """Order is of a call, not of all."""
    async with setup(give_up_s=60) as at:
        at.receiver.answers.append((500, {"retry-after": "300"}))
        stuck = await at.sink.put(documents("call-1", 0)[0])
        await at.receiver.until(1)
        await at.tell(documents("call-2", 2))
        assert not stuck.done()


async def test_what_is_never_taken_is_given_up_and_counted() -> None:
    """A receiver that is gone for good does not fill the log's place for ever."""
    async with setup(give_up_s=0.1) as at:
        at.receiver.answers.extend([(404, {}), (404, {})])
        await at.tell(documents("call-1", 0)[:1])
        assert at.given_up == 1


async def test_what_cannot_even_be_written_down_is_given_up_and_what_follows_it_is_told() -> None:
    """Else one document would hold up its call, and keep its place among those that wait, for good."""
    started, *rest = documents("call-1", 1)
    async with asyncio.timeout(10), setup() as at:
        await at.tell([replace(started, body={"labels": object()}), *rest])
        assert at.given_up == 1
        assert [json.loads(posted.body)["type"] for posted in at.receiver.posts] == ["final", "call_ended"]


async def test_a_receiver_that_does_not_answer_is_not_waited_for_longer_than_set() -> None:
    """A hung receiver is tried again."""

    async with setup(timeout_s=0.05, give_up_s=0.01) as at:
        at.receiver.answers.append((HANG, {}))
        await at.tell(documents("call-1", 0)[:1])
        assert at.tries("timeout") == 1


async def test_a_call_may_have_any_id() -> None:
    """Callers choose their calls' ids; headers take less than they do."""
    async with setup() as at:
        await at.tell([replace(documents("call-1", 0)[0], id="Gespräch 7\r\nx: y/started")])
        posted = at.receiver.posts[0]
        assert posted.headers["webhook-id"] == "Gespr%C3%A4ch%207%0D%0Ax:%20y/started"
        assert Verifier(SECRET).verify(posted.body, posted.headers)


def wants(document: Document, **changes: object) -> bool:
    endpoint: Endpoint = endpoint_of("crm", Webhook.model_validate({"url": "https://crm.example/h", **changes}))
    return WebhookSink(endpoint, Metrics(CollectorRegistry()), lambda: 0.0).wants(document)


def test_a_receiver_of_one_tenant_hears_of_no_other() -> None:
    """What one tenant's callers said is for that tenant alone; what nobody owns, for none of them."""
    start, said, *_ = documents("call-1", 1)
    del start
    assert wants(said, tenants=("acme",))
    assert not wants(said, tenants=("other",))
    assert not wants(replace(said, tenant=""), tenants=("acme",))


def test_a_receiver_gets_the_events_it_asked_for() -> None:
    """Who wants one document per call gets one."""
    kinds = [document.kind for document in documents("call-1", 1) if wants(document, events=("call_ended",))]
    assert kinds == [Kind.ENDED]


@pytest.mark.parametrize("secret", ["", "secret", "whsec_", "whsec_not base64", "whsec_*"])
def test_a_secret_that_is_none_is_refused_with_how_to_make_one(secret: str) -> None:
    """An operator is told, not a receiver."""
    with pytest.raises(BadSetting, match="openssl rand"):
        key_of(secret)


@pytest.mark.parametrize("url", ["", "crm.example", "ftp://crm.example/", "https://"])
def test_an_address_that_is_none_is_refused_by_name(url: str) -> None:
    """The setting to change is named."""
    with pytest.raises(BadSetting, match=r"webhooks\.endpoints\.crm\.url"):
        endpoint_of("crm", Webhook(url=url))


def test_receivers_are_set_by_name() -> None:
    """As tables in the file, or one by one as flags."""
    chosen = load(
        None, {"webhooks.endpoints.crm.url": "https://crm.example/h", "webhooks.endpoints.crm.timeout_s": "3"}
    )
    assert chosen.webhooks.endpoints["crm"].timeout_s == 3.0
