"""Calls that outlive their connections: broken, moved, taken over and paused, over real sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from websockets.asyncio.client import ClientConnection, connect

from server.gateway import PULSE_S, Gateway
from server.watchdog import ASK_AGAIN_S, HAND_OVER_S
from streaming.audio import silence
from streaming.call import Encoding
from streaming.log import Topic
from streaming.log.memory import MemoryLog
from streaming.record_codec import encode
from streaming.records import ALL_CHANNELS, UNTIMED, AudioChunk, CallEnded, CallResumed
from tests.support.fake_shard import FakeShard
from tests.support.gateways import SECOND, START, hear, hear_all, running, say, settings

RESUMABLE = {**START, "resumable": True}


class Pair:
    """Two gateways of one log."""

    def __init__(self, log: MemoryLog, shard: FakeShard, ports: list[int], gateways: list[Gateway]) -> None:
        self.log = log
        self.shard = shard
        self.ports = ports
        self.gateways = gateways

    def url(self, number: int, path: str = "/v1/resume") -> str:
        return f"ws://127.0.0.1:{self.ports[number]}{path}"


@asynccontextmanager
async def pair(clock: Callable[[], float] = time.monotonic, **flags: str) -> AsyncGenerator[Pair]:
    """Serve with two gateways while the context lasts."""
    log = MemoryLog(slots=4)
    gateways = [Gateway(settings(**flags), log, shared=True, clock=clock) for _ in range(2)]
    async with AsyncExitStack() as stack:
        shard = await stack.enter_async_context(FakeShard(log).serving())
        ports = [await stack.enter_async_context(gateway.serving()) for gateway in gateways]
        yield Pair(log, shard, ports, gateways)


async def begin(socket: ClientConnection) -> str:
    """Start a call that can be resumed, and return its token."""
    await say(socket, RESUMABLE)
    token = (await hear(socket, "ready"))["resume_token"]
    assert isinstance(token, str)
    return token


async def speak(socket: ClientConnection, seconds: float, finals: int) -> None:
    """Send audio, and wait until so many finals came of it."""
    await socket.send(SECOND[:1] * round(seconds * 8000))
    for _ in range(finals):
        await hear(socket, "final")


def resume(token: str, *finals: int) -> dict[str, object]:
    return {"type": "resume", "call": "call-1", "token": token, "finals": list(finals)}


async def test_a_client_that_comes_back_gets_what_it_missed_and_goes_on_where_its_audio_stopped() -> None:
    """Promise 3: every final exactly once, in order; times go on."""
    async with running() as served:
        async with connect(served.url("/v1/stream")) as socket:
            token = await begin(socket)
            await speak(socket, 1.0, finals=1)
            await socket.send(SECOND + SECOND[:2003])
            await hear(socket, "ack")
        async with connect(served.url("/v1/resume")) as socket:
            await say(socket, resume(token, 1))
            messages = [await hear(socket) for _ in range(2)]
            assert [(message["type"], message.get("number")) for message in messages] == [
                ("final", 1),
                ("resumed", None),
            ]
            assert (messages[-1]["samples"], messages[-1]["audio_s"]) == (18_003, 2.25)
            await socket.send(SECOND)
            await say(socket, {"type": "close"})
            rest = await hear_all(socket)
        assert [message["text"] for message in rest if message["type"] == "final"] == ["word2", "word3"]
        assert (rest[-1]["reason"], rest[-1]["audio_s"], rest[-1]["finals"]) == ("hangup", 3.25, 4)
        assert [chunk.sequence for chunk in served.shard.chunks] == list(range(len(served.shard.chunks)))


async def test_a_call_goes_on_at_another_gateway() -> None:
    """Whichever gateway a client reaches knows the call from the log; the first one ends nothing any more."""
    now = [0.0]
    async with pair(lambda: now[0], limits__resume_s="3") as both:
        async with connect(both.url(0, "/v1/stream")) as socket:
            token = await begin(socket)
            await speak(socket, 1.5, finals=1)
        async with connect(both.url(1)) as socket:
            await say(socket, resume(token, 1))
            assert (await hear(socket, "resumed"))["samples"] == 12_000
            now[0] = 4.0
            await asyncio.sleep(3 * PULSE_S)  # the first gateway would have ended the call by now
            await socket.send(SECOND)
            await say(socket, {"type": "close"})
            rest = await hear_all(socket)
        assert rest[-1]["audio_s"] == 2.5
        assert [ended.reason for ended in both.shard.ended] == ["hangup"]


async def test_a_newer_connection_takes_the_call_from_an_older_one_that_still_lives() -> None:
    """A client whose network changed is back before its old connection is known to be dead."""
    async with pair() as both, connect(both.url(0, "/v1/stream")) as old, connect(both.url(1)) as new:
        token = await begin(old)
        await speak(old, 1.0, finals=1)
        await say(new, resume(token, 1))
        assert (await hear(new, "resumed"))["samples"] == 8_000
        assert (await hear_all(old))[-1]["code"] == "taken_over"
        assert old.close_code == 4409
        await speak(new, 1.0, finals=1)


async def test_a_call_whose_client_stays_away_is_finalised_and_closed() -> None:
    """What was said is not kept open for ever, and who comes too late still gets all of it."""
    async with running(settings(limits__resume_s="0.1")) as served:
        async with connect(served.url("/v1/stream")) as socket:
            token = await begin(socket)
            await socket.send(SECOND[:4000])
        await served.shard.next(CallEnded)
        async with connect(served.url("/v1/resume")) as socket:
            await say(socket, resume(token))
            messages = await hear_all(socket)
        assert [message["type"] for message in messages] == ["final", "closed"]
        assert messages[-1]["reason"] == "disconnected"


@pytest.mark.parametrize("wrong", ["token", "call"])
async def test_what_cannot_be_resumed_gets_one_answer(wrong: str) -> None:
    """So that neither ids nor tokens can be guessed."""
    async with running() as served, connect(served.url("/v1/stream")) as socket:
        token = await begin(socket)
        async with connect(served.url("/v1/resume")) as thief:
            await say(thief, resume(token) | {wrong: "another"})
            (error,) = await hear_all(thief)
        assert (error["code"], thief.close_code) == ("unknown_call", 1008)
        await speak(socket, 1.0, finals=1)


async def test_a_call_that_did_not_ask_for_it_ends_with_its_connection() -> None:
    """Version 1 as it was: clients that do not know about resuming see no difference."""
    async with running() as served:
        async with connect(served.url("/v1/stream")) as socket:
            await say(socket, START)
            assert "resume_token" not in await hear(socket, "ready")
        await served.shard.next(CallEnded)


async def test_a_full_server_takes_back_a_call_it_has() -> None:
    """It is counted already."""
    async with running(settings(limits__max_calls="1")) as served:
        async with connect(served.url("/v1/stream")) as socket:
            token = await begin(socket)
        async with connect(served.url("/v1/resume")) as socket:
            await say(socket, resume(token))
            await hear(socket, "resumed")


async def test_a_gateway_that_stops_sends_its_clients_to_another_one() -> None:
    """A rolling restart: nothing is ended, nothing is heard twice."""
    async with pair() as both, connect(both.url(0, "/v1/stream")) as socket:
        token = await begin(socket)
        await speak(socket, 1.0, finals=1)
        draining = asyncio.create_task(both.gateways[0].drain())
        assert (await hear(socket, "goaway"))["within_s"] == 20.0
        await socket.send(SECOND[:4000])
        await socket.close()
        await draining
        async with connect(both.url(1)) as other:
            await say(other, resume(token, 1))
            assert (await hear(other, "resumed"))["samples"] == 12_000
        assert both.shard.ended == []


async def test_a_gateway_that_stops_lets_go_of_the_calls_it_keeps_for_absent_clients() -> None:
    """Waiting for them would make the stop last a minute."""
    async with pair() as both:
        async with connect(both.url(0, "/v1/stream")) as socket:
            token = await begin(socket)
        await both.gateways[0].drain()
        async with connect(both.url(1)) as other:
            await say(other, resume(token))
            await hear(other, "resumed")


async def test_a_server_that_is_alone_ends_the_calls_of_absent_clients_when_it_stops() -> None:
    """Nothing is there to go on with them; their last words still become final."""
    async with running() as served:
        async with connect(served.url("/v1/stream")) as socket:
            await begin(socket)
            await socket.send(SECOND[:4000])
        ended = asyncio.create_task(served.shard.next(CallEnded))
        await asyncio.sleep(0)
        await served.gateway.drain()
        assert await ended == CallEnded("call-1", "disconnected")


async def test_a_shard_that_is_gone_is_asked_again_and_audio_waits_meanwhile() -> None:
    """Another one serves the slot in a few seconds; if not, the client is told when to try again."""
    now = [0.0]
    async with running(answers=False, clock=lambda: now[0]) as served:
        async with connect(served.url("/v1/stream")) as socket:
            token = await begin(socket)
        asked = asyncio.create_task(served.shard.next(CallResumed))
        async with connect(served.url("/v1/resume")) as socket:
            await say(socket, resume(token))
            first = await asked
            now[0] = ASK_AGAIN_S
            second = await served.shard.next(CallResumed)
            assert isinstance(first, CallResumed)
            assert isinstance(second, CallResumed)
            assert first.nonce != second.nonce
            now[0] = HAND_OVER_S
            (error,) = await hear_all(socket)
        assert (error["code"], error["retry_after_s"], socket.close_code) == ("overloaded", 1.0, 1013)


async def test_audio_before_resumed_is_refused() -> None:
    """Nobody knows yet where it belongs."""
    async with running(answers=False) as served:
        async with connect(served.url("/v1/stream")) as socket:
            token = await begin(socket)
        async with connect(served.url("/v1/resume")) as socket:
            await say(socket, resume(token))
            await socket.send(SECOND)
            assert (await hear_all(socket))[-1]["code"] == "audio_before_start"


async def test_what_is_said_in_a_pause_never_reaches_the_log() -> None:
    """A card number is read out; silence takes its place, and the gap is marked and answered."""
    async with running() as served, connect(served.url("/v1/stream")) as socket:
        token = await begin(socket)
        await socket.send(b"\x01" * 8000)
        await say(socket, {"type": "pause"})
        assert await hear(socket, "paused") == {"type": "paused", "at": 1.0}
        await socket.send(b"\x02" * 8000)
        await socket.close()
        async with connect(served.url("/v1/resume")) as later:
            await say(later, resume(token))
            resumed = await hear(later, "resumed")
            assert (resumed["samples"], resumed["paused"]) == (16_000, True)
            await later.send(b"\x02" * 8000)
            await say(later, {"type": "unpause"})
            assert await hear(later, "unpaused") == {"type": "unpaused", "at": 3.0}
            await later.send(b"\x03" * 8000)
            await say(later, {"type": "close"})
            await hear_all(later)
        heard = b"".join(chunk.payload for chunk in served.shard.chunks)
        assert heard == b"\x01" * 8000 + silence(16_000, Encoding.MULAW) + b"\x03" * 8000


async def test_a_gateway_that_was_asleep_adds_no_audio_to_a_call_it_lost() -> None:
    """Its client is elsewhere and has sent that audio again; what wakes up must not be heard."""
    async with pair() as both, connect(both.url(0, "/v1/stream")) as old, connect(both.url(1)) as new:
        token = await begin(old)
        await say(new, resume(token))
        await hear(new, "resumed")
        place = both.gateways[0].directory.find("call-1")
        assert place is not None
        stale = AudioChunk("call-1", 0, ALL_CHANNELS, UNTIMED, SECOND)
        await both.log.append(Topic.AUDIO, place.slot, "call-1", encode(stale))
        await new.send(SECOND)
        await say(new, {"type": "close"})
        assert (await hear_all(new))[-1]["audio_s"] == 1.0
