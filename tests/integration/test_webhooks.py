"""Webhooks of real calls: whatever protocol they came by, their text reaches the receiver."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from websockets.asyncio.client import connect

from server.outlets.running import outlets
from tests.support.gateways import SECOND, START, Running, hear, hear_all, running, say, settings
from tests.support.receiver import Receiver, receiving

ALL = '["call_started", "final", "call_ended"]'


@asynccontextmanager
async def serving(**flags: str) -> AsyncGenerator[tuple[Running, Receiver]]:
    """Serve with one receiver, ``crm``."""
    async with receiving() as receiver:
        chosen = settings(webhooks__endpoints__crm__url=f'"{receiver.url}"', **flags)
        async with (
            running(chosen) as served,
            outlets(chosen, served.log, served.metrics, cluster=None, shared=False),
        ):
            yield served, receiver


def bodies(receiver: Receiver) -> list[dict[str, object]]:
    return [json.loads(posted.body) for posted in receiver.posts]


async def test_a_native_call_is_told_from_its_beginning_to_its_end() -> None:
    """One document when it starts, one per final, one with all of it."""
    async with serving(webhooks__endpoints__crm__events=ALL) as (served, receiver):
        async with connect(served.url("/v1/stream")) as socket:
            await say(socket, {**START, "labels": ["customer"]})
            await socket.send(SECOND * 2)
            await say(socket, {"type": "close"})
            await hear_all(socket)
        await receiver.until(4)
        start, first, second, end = bodies(receiver)
        assert (start["labels"], start["tenant"], start["protocol"]) == (["customer"], "local", "native")
        assert [first["text"], second["text"]] == ["word0", "word1"]
        assert end["finals"] == 2


async def test_a_bridges_call_is_told_too() -> None:
    """A carrier takes no text back: this is how its calls' words reach the business."""
    async with serving() as (served, receiver):
        async with connect(served.url("/bridges/generic?encoding=mulaw&sample_rate=8000&call=b-1")) as socket:
            await socket.send(SECOND)
        await receiver.until(2)
        assert [body["type"] for body in bodies(receiver)] == ["final", "call_ended"]
        assert bodies(receiver)[1]["protocol"] == "generic"


async def test_a_receiver_of_one_tenant_is_not_told_of_anothers_calls() -> None:
    """Keys say whose a call is, and so whose its words are."""
    flags = {"auth__keys": '{acme = ["a"], other = ["b"]}', "webhooks__endpoints__crm__tenants": '["acme"]'}
    async with serving(**flags) as (served, receiver):
        for call, key in (("theirs", "b"), ("ours", "a")):
            async with connect(served.url(f"/v1/stream?token={key}")) as socket:
                await say(socket, {**START, "call": call})
                await socket.send(SECOND)
                await say(socket, {"type": "close"})
                await hear_all(socket)
        await receiver.until(2)
    assert {body["call"] for body in bodies(receiver)} == {"ours"}


async def test_what_is_said_last_is_told_before_the_server_stops() -> None:
    """A stop waits for receivers, within bounds."""
    async with serving() as (served, receiver), connect(served.url("/v1/stream")) as socket:
        await say(socket, START)
        await socket.send(SECOND)
        await hear(socket, "final")
        await say(socket, {"type": "close"})
        await hear_all(socket)
    assert [body["type"] for body in bodies(receiver)] == ["final", "call_ended"]
