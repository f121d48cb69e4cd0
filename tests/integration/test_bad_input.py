"""What peers do wrong gets a clear error and harms no other call."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from server.errors import BadSetting
from server.gateway import Gateway
from server.health import Readiness
from streaming.log.memory import MemoryLog
from streaming.records import CallEnded
from tests.support.gateways import SECOND, START, Running, hear, hear_all, running, say, settings

AUDIO: dict[str, object] = {"encoding": "mulaw", "sample_rate": 8000, "channels": 1}


async def close_of(socket: ClientConnection) -> tuple[list[dict[str, object]], int | None]:
    """Return what still came and the close code."""
    return await hear_all(socket), socket.close_code


async def a_call_works(served: Running, call: str) -> None:
    """Make a whole call."""
    async with connect(served.url("/v1/stream")) as socket:
        await say(socket, {**START, "call": call})
        await socket.send(SECOND)
        await say(socket, {"type": "close"})
        messages = await hear_all(socket)
        assert [message["text"] for message in messages if message["type"] == "final"] == ["word0"]
        assert socket.close_code == 1000


@pytest.mark.parametrize(
    ("first", "code", "close"),
    [
        ('{"type":', "bad_json", 1008),
        ("[1, 2]", "bad_message", 1008),
        ('{"type": "hello"}', "unknown_type", 1008),
        ('{"type": "finalize", "id": "1"}', "bad_message", 1008),
        (json.dumps({"type": "start", "audio": {**AUDIO, "encoding": "mp3"}}), "unknown_encoding", 1008),
        (json.dumps({"type": "start", "audio": {**AUDIO, "sample_rate": 11025}}), "unknown_sample_rate", 1008),
        (json.dumps({"type": "start", "audio": {**AUDIO, "channels": 99}}), "bad_channels", 1008),
        (json.dumps({"type": "start", "audio": AUDIO, "model": "gpt"}), "unknown_model", 1008),
        (json.dumps({"type": "start", "audio": AUDIO, "labels": ["a", "b"]}), "bad_option", 1008),
        (b"\xff" * 160, "audio_before_start", 1008),
    ],
)
async def test_a_bad_first_message_is_answered_and_closed_while_another_call_goes_on(
    first: str | bytes, code: str, close: int
) -> None:
    """Whoever writes a client reads here what is wrong with it."""
    async with (
        running(models=["tiny.en"]) as served,
        connect(served.url("/v1/stream")) as other,
        connect(served.url("/v1/stream")) as socket,
    ):
        await say(other, {**START, "call": "other"})
        await hear(other, "ready")
        await socket.send(first)
        messages, closed_with = await close_of(socket)
        assert (messages[0]["type"], messages[0]["code"], messages[0]["fatal"]) == ("error", code, True)
        assert closed_with == close

        await other.send(SECOND)
        assert (await hear(other, "final"))["text"] == "word0"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("/////w==", "text_instead_of_audio"),
        (b"\x00" * 161, "bad_audio"),
    ],
)
async def test_bad_audio_ends_the_call_with_its_reason(frame: str | bytes, code: str) -> None:
    """Half a sample would turn everything after it into noise."""
    async with running() as served, connect(served.url("/v1/stream")) as socket:
        await say(socket, {**START, "audio": {**AUDIO, "encoding": "linear16"}})
        await hear(socket, "ready")
        ended = asyncio.ensure_future(served.shard.next(CallEnded))
        await socket.send(frame)
        messages, closed_with = await close_of(socket)
        assert (messages[-1]["code"], closed_with) == (code, 1008)
        assert await ended == CallEnded("call-1", code)


async def test_broken_json_in_a_call_is_answered_and_changes_nothing() -> None:
    """A call is not given up for one message."""
    async with running() as served, connect(served.url("/v1/stream")) as socket:
        await say(socket, START)
        await socket.send('{"type": ')
        assert await hear(socket, "error") == {
            "type": "error",
            "code": "bad_json",
            "message": "the text frame is not JSON; send one object per frame",
            "fatal": False,
        }
        await socket.send(SECOND)
        assert (await hear(socket, "final"))["text"] == "word0"


async def test_an_oversize_frame_closes_with_1009() -> None:
    """What one peer may make us hold in memory is bounded."""
    async with running() as served, connect(served.url("/v1/stream")) as socket:
        await say(socket, START)
        await hear(socket, "ready")
        await socket.send(bytes(300_000))
        _, closed_with = await close_of(socket)
        assert closed_with == 1009
        await a_call_works(served, "other")


async def test_audio_faster_than_real_time_is_stopped_after_the_allowance() -> None:
    """One caller cannot take the machine from the others by sending a file."""
    async with running(settings(limits__catch_up_s="5")) as served, connect(served.url("/v1/stream")) as socket:
        await say(socket, START)
        for _ in range(6):
            await socket.send(SECOND)
        messages, closed_with = await close_of(socket)
        assert [message["code"] for message in messages if message["type"] == "error"] == ["too_fast"]
        assert closed_with == 1008


async def test_a_call_that_goes_silent_gets_its_text_and_then_an_idle_close() -> None:
    """A peer that vanished without a word must not hold a place for ever, nor lose its last words."""
    now = [0.0]
    async with running(clock=lambda: now[0]) as served, connect(served.url("/v1/stream")) as socket:
        await say(socket, START)
        await socket.send(SECOND[:4000])
        await hear(socket, "partial")
        now[0] = 300.0
        messages, closed_with = await close_of(socket)
        types = [message["type"] for message in messages]
        assert types.index("error") < types.index("final") < types.index("closed")
        assert closed_with == 4408


async def test_sockets_that_never_speak_are_closed_and_harm_nobody() -> None:
    """Two hundred of them, half without even a request, while a call goes on."""
    now = [0.0]
    async with running(settings(limits__open_s="4"), clock=lambda: now[0]) as served, AsyncExitStack() as stack:
        mute = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(100)]
        for _, writer in mute:
            stack.callback(writer.close)
        silent = [await stack.enter_async_context(connect(served.url("/v1/stream"))) for _ in range(100)]
        await a_call_works(served, "other")
        now[0] = 10.0
        closes = [await close_of(socket) for socket in silent]
        assert {code for _, code in closes} == {4408}
        assert {messages[0]["code"] for messages, _ in closes} == {"start_timeout"}
        assert [await reader.read() for reader, _ in mute] == [b""] * 100


async def test_a_drop_in_mid_word_still_finishes_the_call_for_who_watches() -> None:
    """TCP can vanish without a close; the last words are said all the same."""
    async with running() as served:
        async with connect(served.url("/v1/stream")) as socket:
            await say(socket, START)
            await hear(socket, "ready")
            async with connect(served.url("/v1/calls/call-1/events")) as watcher:
                assert await hear(watcher) == {"type": "watching", "call": "call-1", "labels": ["channel 0"]}
                await socket.send(SECOND + SECOND[:800])
                await hear(watcher, "final")
                socket.transport.abort()
                messages, closed_with = await close_of(watcher)
        assert [(m["text"], m["reason"]) for m in messages if m["type"] == "final"] == [("word1", "end")]
        assert (messages[-1]["type"], messages[-1]["reason"]) == ("closed", "disconnected")
        assert closed_with == 1000


async def test_an_unknown_path_is_a_404_with_a_reason() -> None:
    """A typing error in an address should not look like a broken network."""
    async with running() as served:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(served.url("/v2/stream")):
                pass
        assert refused.value.response.status_code == 404
        assert json.loads(refused.value.response.body)["error"]["code"] == "unknown_path"


async def test_a_page_of_another_site_is_refused() -> None:
    """Else any web page could listen through its visitor's browser."""
    async with running() as served:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(served.url("/v1/stream"), origin="https://evil.example"):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - a NewType of str
                pass
        assert refused.value.response.status_code == 403
        own = f"http://127.0.0.1:{served.port}"
        async with connect(served.url("/v1/stream"), origin=own) as socket:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - a NewType of str
            await say(socket, START)
            await hear(socket, "ready")


async def test_keys_are_demanded_before_the_upgrade_and_taken_from_three_places() -> None:
    """Browsers cannot send headers, so a key may also come as subprotocol or in the query."""
    async with running(settings(auth__keys='{acme = ["secret"]}')) as served:
        url = served.url("/v1/stream")
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url):
                pass
        assert refused.value.response.status_code == 401
        async with connect(url, additional_headers={"Authorization": "bearer secret"}) as socket:
            await say(socket, {**START, "call": "a"})
            await hear(socket, "ready")
        async with connect(f"{url}?token=secret") as socket:
            await say(socket, {**START, "call": "b"})
            await hear(socket, "ready")
        async with connect(url, subprotocols=["trunkline.v1", "secret"]) as socket:  # type: ignore[list-item]  # pyright: ignore[reportArgumentType] - a NewType of str
            assert socket.subprotocol == "trunkline.v1"
            await say(socket, {**START, "call": "c"})
            await hear(socket, "ready")
        assert {spec.tenant for spec in served.shard.opened} == {"acme"}


async def test_a_full_server_says_so_before_the_upgrade_and_a_race_for_the_last_place_after_it() -> None:
    """Overload is answered within two seconds, with a hint when to come back."""
    async with (
        running(settings(limits__max_calls="1")) as served,
        connect(served.url("/v1/stream")) as late,
        connect(served.url("/v1/stream")) as first,
    ):
        await say(first, START)
        await hear(first, "ready")
        with pytest.raises(InvalidStatus) as refused:
            async with connect(served.url("/v1/stream")):
                pass
        assert refused.value.response.status_code == 503
        assert 5 <= int(refused.value.response.headers["Retry-After"]) <= 10
        await say(late, {**START, "call": "late"})
        messages, closed_with = await close_of(late)
        assert (messages[0]["code"], closed_with) == ("overloaded", 1013)
        assert 5.0 <= float(str(messages[0]["retry_after_s"])) <= 10.0


async def test_a_second_call_of_the_same_id_is_refused() -> None:
    """Two callers must never write one transcript."""
    async with running() as served, connect(served.url("/v1/stream")) as first:
        await say(first, START)
        await hear(first, "ready")
        async with connect(served.url("/v1/stream")) as second:
            await say(second, START)
            messages, closed_with = await close_of(second)
            assert (messages[0]["code"], closed_with) == ("duplicate_call", 4409)
        await say(first, {"type": "close"})
        assert (await hear_all(first))[-1]["type"] == "closed"
        await a_call_works(served, "call-2")


async def test_a_port_in_use_is_one_clear_line() -> None:
    """The second server on a port must say which port, not print a traceback."""
    async with running() as served:
        second = Gateway(settings(listen__port=str(served.port)), MemoryLog(slots=1))
        with pytest.raises(BadSetting, match=f"cannot listen on 127.0.0.1:{served.port}.*choose another"):
            async with second.serving():
                pass


async def test_a_shard_that_never_answers_ends_in_an_internal_error() -> None:
    """A client waits for its last finals, but not for ever."""
    now = [0.0]
    async with (
        running(answers=False, clock=lambda: now[0]) as served,
        connect(served.url("/v1/stream")) as socket,
    ):
        ended = asyncio.ensure_future(served.shard.next(CallEnded))
        await say(socket, START)
        await say(socket, {"type": "close"})
        await ended
        now[0] = 30.0
        messages, closed_with = await close_of(socket)
        assert (messages[-1]["code"], closed_with) == ("internal", 1011)


async def test_a_stop_lets_calls_finish_and_tells_them_to_connect_again() -> None:
    """A node is drained without losing a word."""
    async with running() as served:
        async with connect(served.url("/v1/stream")) as socket:
            await say(socket, START)
            await hear(socket, "ready")
            await socket.send(SECOND[:4000])
            await hear(socket, "partial")
            draining = asyncio.create_task(served.gateway.drain())
            messages, closed_with = await close_of(socket)
            await draining
        types = [message["type"] for message in messages]
        assert types.index("error") < types.index("final") < types.index("closed")
        assert closed_with == 1012
        with pytest.raises(InvalidStatus) as refused:
            async with connect(served.url("/v1/stream")):
                pass
        assert refused.value.response.status_code == 503


async def test_a_reader_too_slow_for_its_text_is_cut_off() -> None:
    """Text for one slow reader must not fill the memory of all."""
    async with running(settings(limits__unsent_bytes="2000", limits__catch_up_s="5000")) as served:
        async with connect(served.url("/v1/stream"), max_queue=1) as socket:
            await say(socket, START)
            await hear(socket, "ready")
            socket.transport.pause_reading()
            ended = asyncio.ensure_future(served.shard.next(CallEnded))
            while not ended.done():
                await socket.send(SECOND * 10)
                await asyncio.sleep(0)
            assert (await ended) == CallEnded("call-1", "slow_reader")
            socket.transport.abort()
        await a_call_works(served, "other")


async def test_health_readiness_and_metrics_are_plain_gets() -> None:
    """Orchestrators and Prometheus speak HTTP, not WebSocket."""
    ready = [Readiness(ready=False, reason="the model is warming up"), Readiness(ready=True)]
    async with running(readiness=lambda: ready[0]) as served, httpx.AsyncClient() as http:
        url = f"http://127.0.0.1:{served.port}"
        assert (await http.get(f"{url}/healthz")).json() == {"alive": True}
        answer = await http.get(f"{url}/readyz")
        assert (answer.status_code, answer.json()) == (503, {"ready": False, "reason": "the model is warming up"})
        ready.pop(0)
        assert (await http.get(f"{url}/readyz")).status_code == 200
        await a_call_works(served, "call-4711")
        text = (await http.get(f"{url}/metrics")).text
        assert 'trunkline_finals_total{model="made-up"} 1.0' in text
        assert "trunkline_final_gap_total 0.0" in text
        assert "call-4711" not in text
