"""The page's files and the feeds behind it, over real sockets."""

from __future__ import annotations

from typing import cast

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.gateways import SECOND, START, hear, hear_all, running, say, settings

KEYS = '{acme = ["a"], other = ["b"]}'


async def test_the_page_is_served_with_what_keeps_it_to_itself() -> None:
    """A page that shows what people say may load nothing from elsewhere, and be framed by nobody."""
    async with (
        running() as served,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}", trust_env=False) as client,
    ):
        for path in ("/", "/live"):
            moved = await client.get(path)
            assert (moved.status_code, moved.headers["Location"]) == (302, "live/")
        page = await client.get("/live/")
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        script = await client.get("/live/app.js")
        assert script.headers["Content-Type"].startswith("text/javascript")
        again = await client.get("/live/app.js", headers={"If-None-Match": script.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await client.get("/live/about.json")).json() == {"key_needed": False, "models": []}
        assert (await client.get("/live/../server.py")).status_code == 404
        assert (await client.get("/live/nothing.js")).status_code == 404


async def test_the_calls_of_a_tenant_are_followed_as_they_come_and_go() -> None:
    """One connection for all calls: who looks at two hundred opens no two hundred sockets."""
    async with running(settings(auth__keys=KEYS)) as served, connect(served.url("/v1/stream?token=a")) as first:
        await say(first, {**START, "labels": ["customer"]})
        await first.send(SECOND * 6)
        for _ in range(6):
            await hear(first, "final")
        async with connect(served.url("/v1/calls?token=a")) as mine, connect(served.url("/v1/calls?token=b")) as theirs:
            listed = await hear(mine)
            assert listed["type"] == "calls"
            (call,) = cast("list[dict[str, object]]", listed["calls"])
            assert (call["call"], call["labels"]) == ("call-1", ["customer"])
            assert [(await hear(mine, "final"))["number"] for _ in range(4)] == [2, 3, 4, 5]
            assert await hear(theirs) == {"type": "calls", "calls": [], "version": 1}
            await mine.send("a watcher may say what it likes")

            async with connect(served.url("/v1/stream?token=a")) as second:
                await say(second, {**START, "call": "call-2"})
                opened = await hear(mine, "opened")
                assert (opened["call"], opened["labels"]) == ("call-2", ["channel 0"])
                await second.send(SECOND)
                final = await hear(mine, "final")
                assert (final["call"], final["text"], "words" in final) == ("call-2", "word0", False)
                await say(second, {"type": "close"})
                await hear_all(second)
            closed = await hear(mine, "closed")
            assert (closed["call"], closed["reason"]) == ("call-2", "hangup")

            async with httpx.AsyncClient(trust_env=False) as web:
                address = f"http://127.0.0.1:{served.port}/v1/calls"
                answers = [await web.get(address, headers={"Authorization": f"Bearer {key}"}) for key in "abc"]
            assert [answer.status_code for answer in answers] == [200, 200, 401]
            assert [call["call"] for call in answers[0].json()["calls"]] == ["call-1"]
            assert answers[1].json() == {"calls": []}

            await say(first, {"type": "close"})
            await hear_all(first)
            await theirs.close()
            assert await hear_all(theirs) == []  # not one word of another's calls


async def test_interim_words_may_be_left_out() -> None:
    """Who only counts or archives does not need them."""
    async with running() as served, connect(served.url("/v1/stream")) as socket:
        await say(socket, START)
        await hear(socket, "ready")
        async with connect(served.url("/v1/calls?interim=false")) as calls:
            await hear(calls, "calls")
            await socket.send(SECOND * 2)
            await say(socket, {"type": "close"})
            types: list[object] = []
            while "closed" not in types:
                types.append((await hear(calls))["type"])
            assert "final" in types
            assert "partial" not in types


async def test_the_load_comes_at_once_and_goes_on() -> None:
    """And it needs a key where calls do."""
    async with running(settings(auth__keys=KEYS)) as served:
        with pytest.raises(InvalidStatus):
            await connect(served.url("/v1/load"))
        async with connect(served.url("/v1/load?token=b")) as load:
            first, second = await hear(load), await hear(load)
            assert first["type"] == second["type"] == "load"
            assert first["shards"] == []
            await load.send("a watcher may say what it likes")


async def test_feeds_end_with_the_server_and_say_so() -> None:
    """A page connects again, elsewhere."""
    async with (
        running() as served,
        connect(served.url("/v1/calls")) as calls,
        connect(served.url("/v1/load")) as load,
    ):
        await hear(calls)
        await hear(load)
        await served.gateway.drain()
        for feed in (calls, load):
            assert (await hear_all(feed))[-1]["code"] == "draining"
            assert feed.close_code == 1012
