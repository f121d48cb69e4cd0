"""Two real sockets that are one call."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.asyncio.client import connect

from streaming.records import CallEnded
from tests.support.gateways import SECOND, hear, running, settings

SIDE = "/bridges/generic?call=joined&of=2&labels=customer,agent&channel="


async def test_two_sockets_of_one_call_come_out_on_its_two_channels() -> None:
    """One watcher, one call, both sides; it goes on when its opener goes, and ends with the last."""
    async with running() as served, connect(served.url(f"{SIDE}1&transcripts=finals")) as agent:
        async with connect(served.url(f"{SIDE}0")) as customer:
            await customer.send(SECOND * 2)
            await agent.send(SECOND * 2)
            async with connect(served.url("/v1/calls/joined/events")) as watcher:
                assert await hear(watcher, "watching") == {
                    "type": "watching",
                    "call": "joined",
                    "labels": ["customer", "agent"],
                }
                heard = {(final["channel"], final["label"]) for final in [await hear(watcher, "final") for _ in "1234"]}
        assert heard == {(0, "customer"), (1, "agent")}
        assert not served.shard.ended
        await agent.send(b"")
        await served.shard.next(CallEnded)
        assert served.shard.ended[0].reason == "hangup"
        assert {json.loads(message)["type"] for message in [message async for message in agent]} >= {"final", "closed"}
        assert [spec.labels for spec in served.shard.opened] == [("customer", "agent")]


async def test_a_call_goes_on_when_the_socket_that_opened_it_is_gone() -> None:
    """Either leg may hang up first."""
    async with running() as served:
        async with connect(served.url(f"{SIDE}0")) as opener:
            await opener.send(SECOND)
            second = await connect(served.url(f"{SIDE}1&transcripts=finals"))
            await second.send(SECOND)
            await hear(second, "final")
        await second.send(SECOND * 2)
        while (await hear(second, "final"))["channel"] != 1:
            pass
        assert not served.shard.ended
        await second.close()
        await served.shard.next(CallEnded)
        assert served.shard.ended[0].reason == "hangup"


@pytest.mark.parametrize("query", ["channel=0&of=2&token=b", "channel=0&of=2&token=a", "channel=1&of=3&token=a"])
async def test_a_socket_that_does_not_fit_is_refused_as_a_duplicate(query: str) -> None:
    """Another tenant, a channel that is taken, another number of channels: the call itself goes on."""
    path = "/bridges/generic?transcripts=finals&call=joined&"
    async with (
        running(settings(auth__keys='{acme = ["a"], other = ["b"]}')) as served,
        connect(served.url(f"{path}channel=0&of=2&token=a")) as first,
        connect(served.url(f"{path}{query}")) as other,
    ):
        assert (await hear(other))["code"] == "duplicate_call"
        await first.send(SECOND)
        assert (await hear(first, "final"))["channel"] == 0


async def test_a_call_whose_sockets_all_broke_goes_on_when_one_comes_back() -> None:
    """As a native call does; what was said meanwhile is silence, and times go on."""
    async with running() as served:
        first = await connect(served.url(f"{SIDE}0&transcripts=finals"))
        await first.send(SECOND)
        await hear(first, "final")
        first.transport.abort()
        await first.wait_closed()
        async with connect(served.url(f"{SIDE}1&transcripts=finals")) as second:
            assert (await hear(second, "final"))["channel"] == 0
            await second.send(SECOND * 2)
            assert (await hear(second, "final"))["channel"] == 1
            assert not served.shard.ended
        await served.shard.next(CallEnded)
        assert [ended.reason for ended in served.shard.ended] == ["hangup"]
        assert len(served.shard.opened) == 1


async def test_a_call_whose_sockets_broke_and_stay_away_ends_when_its_time_is_over() -> None:
    """What was said last becomes final, and its slot is free."""
    async with running(settings(limits__resume_s="0.2")) as served:
        first = await connect(served.url(f"{SIDE}0"))
        await first.send(SECOND)
        first.transport.abort()
        await served.shard.next(CallEnded)
        assert served.shard.ended[0].reason == "disconnected"


async def test_a_gateway_that_stops_ends_the_calls_it_keeps_for_broken_sockets() -> None:
    """Waiting for them would make every stop last a minute."""
    async with running() as served:
        first = await connect(served.url(f"{SIDE}0&transcripts=finals"))
        await first.send(SECOND)
        await hear(first, "final")
        first.transport.abort()
        joint = served.gateway.services.joining.find("joined")
        while joint is None or not joint.kept:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0)
        ended = asyncio.create_task(served.shard.next(CallEnded))
        await served.gateway.drain()
        assert await ended == CallEnded("joined", "disconnected")
