"""Watching a call that somebody else makes."""

from __future__ import annotations

import pytest

import trunkline
from trunkline.messages import Closed, SpeechStarted, Watching
from trunkline.testing import Peer, fake_server


async def tell(peer: Peer) -> None:
    await peer.send(
        Watching("call/7", ("customer", "agent")),
        SpeechStarted(1, "agent", 0.5),
        Closed("call/7", "hangup", 2.0, 0.0, 0),
    )


async def test_a_watched_call_is_read_like_an_own_one() -> None:
    """A supervisor's screen is the same loop as a bridge's."""
    async with fake_server(tell) as server, trunkline.watch(server.url, "call/7", key="k") as call:
        events = [event async for event in call]

    assert [type(event) for event in events] == [SpeechStarted, Closed]
    assert call.call == Watching("call/7", ("customer", "agent"))
    assert call.transcript.labels == ("customer", "agent")
    assert server.requests[0].path == "/v1/calls/call%2F7/events"
    assert server.requests[0].headers["Authorization"] == "Bearer k"


async def test_an_unknown_call_is_refused() -> None:
    """A mistyped id must not look like a silent call."""
    unknown = trunkline.Refused("unknown_call", "no call of this id is known to this key", status=404)
    async with fake_server(refusal=unknown) as server:
        with pytest.raises(trunkline.Refused, match="unknown_call"):
            async with trunkline.watch(server.url, "nobody"):
                pass

    assert len(server.requests) == 1


async def test_a_call_that_has_not_begun_is_awaited() -> None:
    """Who watches a bridge's call cannot know to the millisecond when the server has heard of it."""

    unknown = trunkline.Refused("unknown_call", "no call of this id is known to this key", status=404)
    async with (
        fake_server(tell, refusal=unknown, refusals=2) as server,
        trunkline.watch(server.url, "soon", wait_s=5.0) as call,
    ):
        assert [type(event) async for event in call] == [SpeechStarted, Closed]

    assert len(server.requests) == 3


async def test_a_watched_call_that_breaks_off_is_an_error() -> None:
    """A screen that stops must say that the call may go on."""

    async def vanish(peer: Peer) -> None:
        await peer.send(Watching("c", ("a",)))

    async with fake_server(vanish) as server, trunkline.watch(server.url, "c") as call:
        with pytest.raises(trunkline.ConnectionLost, match="code 1000"):
            await anext(call)
