"""Watching a call that others make."""

from __future__ import annotations

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.gateways import SECOND, START, hear, hear_all, running, say, settings


async def test_a_late_watcher_gets_every_final_and_a_watcher_of_an_ended_call_its_end_too() -> None:
    """Who comes late must not miss what was said before."""
    async with running() as served, connect(served.url("/v1/stream")) as socket:
        await say(socket, {**START, "labels": ["customer"]})
        await socket.send(SECOND * 2)
        await hear(socket, "final")
        await hear(socket, "final")
        async with connect(served.url("/v1/calls/call-1/events")) as late:
            assert await hear(late) == {"type": "watching", "call": "call-1", "labels": ["customer"]}
            assert [(await hear(late, "final"))["number"] for _ in range(2)] == [0, 1]
            await late.send("a watcher may say what it likes")
            await socket.send(SECOND)
            assert (await hear(late, "final"))["number"] == 2
            await say(socket, {"type": "close"})
            assert (await hear_all(late))[-1]["finals"] == 3
        await hear_all(socket)
        async with connect(served.url("/v1/calls/call-1/events")) as later:
            messages = await hear_all(later)
            assert [message["type"] for message in messages] == ["watching", "final", "final", "final", "closed"]
            assert later.close_code == 1000


async def test_a_watcher_who_leaves_ends_nothing() -> None:
    """The call belongs to its caller."""
    async with running() as served, connect(served.url("/v1/stream")) as socket:
        await say(socket, START)
        await hear(socket, "ready")
        async with connect(served.url("/v1/calls/call-1/events")) as watcher:
            await hear(watcher)
        await socket.send(SECOND)
        assert (await hear(socket, "final"))["text"] == "word0"


async def test_only_the_tenant_of_a_call_may_watch_it() -> None:
    """Another tenant gets the answer of a call that does not exist."""
    async with (
        running(settings(auth__keys='{acme = ["a"], other = ["b"]}')) as served,
        connect(served.url("/v1/stream?token=a")) as socket,
    ):
        await say(socket, START)
        await hear(socket, "ready")
        for call, key in (("call-1", "b"), ("call-2", "a")):
            with pytest.raises(InvalidStatus) as refused:
                async with connect(served.url(f"/v1/calls/{call}/events?token={key}")):
                    pass
            assert refused.value.response.status_code == 404
        async with connect(served.url("/v1/calls/call-1/events?token=a")) as watcher:
            assert (await hear(watcher))["type"] == "watching"


async def test_watchers_are_told_when_the_server_stops() -> None:
    """A watcher connects again, elsewhere."""
    async with running() as served, connect(served.url("/v1/stream")) as socket:
        await say(socket, START)
        await hear(socket, "ready")
        async with connect(served.url("/v1/calls/call-1/events")) as watcher:
            await hear(watcher)
            draining = asyncio.create_task(served.gateway.drain())
            assert (await hear_all(watcher))[-1]["code"] == "draining"
            assert watcher.close_code == 1012
            await hear_all(socket)
            await draining
