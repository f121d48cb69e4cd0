"""Bridges over real sockets: the log in memory and a fake shard behind the gateway."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from streaming.records import CallEnded
from tests.support import audiohook
from tests.support.bridge_sessions import ASTERISK, AUDIOSOCKET, FORK, JAMBONZ, LISTEN, STREAM, audiosocket_frame
from tests.support.bridges import Frame
from tests.support.gateways import Running, running, settings

MULAW = base64.b64encode(b"\xff" * 160).decode()
TELNYX: list[Frame] = [
    '{"event":"connected","version":"1.0.0"}',
    '{"event":"start","stream_id":"S1","start":{"media_format":{"encoding":"PCMU","sample_rate":8000,"channels":1}}}',
    *[
        json.dumps(
            {
                "event": "media",
                "stream_id": "S1",
                "media": {"track": "inbound", "chunk": str(n), "timestamp": str(20 * n), "payload": MULAW},
            }
        )
        for n in [1, 3, 2, *range(4, 26)]
    ],
    '{"event":"stop","stream_id":"S1"}',
]
PLIVO: list[Frame] = [
    (
        '{"event":"start","start":{"streamId":"P1","callId":"C1","tracks":["inbound"],'
        '"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000}}}'
    ),
    *[
        json.dumps({"event": "media", "streamId": "P1", "media": {"track": "inbound", "chunk": n, "payload": MULAW}})
        for n in range(1, 26)
    ],
]
VONAGE: list[Frame] = [
    '{"event":"websocket:connected","content-type":"audio/l16;rate=8000"}',
    *[b"\x00\x00" * 160] * 25,
]


async def send(socket: ClientConnection, frames: list[Frame]) -> None:
    for frame in frames:
        await socket.send(frame)


async def ended(served: Running) -> CallEnded:
    """Wait for the call's end in the log."""
    while not served.shard.ended:
        await served.shard.next(CallEnded)
    return served.shard.ended[-1]


@pytest.mark.parametrize(
    ("path", "frames", "subprotocol"),
    [
        ("plivo", PLIVO, None),
        ("vobiz", PLIVO, None),
        ("vonage", VONAGE, None),
        ("infobip", VONAGE, None),
        ("jambonz-listen", LISTEN, "audio.jambonz.org"),
        ("audio-fork", FORK[:-1], "audio.drachtio.org"),
        ("audio-stream", STREAM, None),
        ("asterisk", ASTERISK, "media"),
        ("generic?encoding=linear16&sample_rate=8000", [b"\x00\x00" * 160] * 25, None),
    ],
)
async def test_a_bridge_that_just_closes_has_ended_its_call(
    path: str, frames: list[Frame], subprotocol: str | None
) -> None:
    """Half a second of audio and a close: all of it is in the log, and the end is a normal one."""
    offered = [Subprotocol(subprotocol)] if subprotocol else None
    async with running() as served:
        async with connect(served.url(f"/bridges/{path}"), subprotocols=offered) as socket:
            assert socket.subprotocol == subprotocol
            await send(socket, frames)
        assert (await ended(served)).reason == "hangup"
        (spec,) = served.shard.opened
        samples = sum(len(chunk.payload) for chunk in served.shard.chunks)
        seconds = samples / (spec.audio.encoding.sample_bytes * spec.audio.channels * spec.audio.rate)
        assert seconds == 0.5


@pytest.mark.parametrize(("path", "frames"), [("telnyx", TELNYX), ("jambonz", JAMBONZ), ("audio-fork", FORK)])
async def test_a_bridge_that_says_stop_gets_our_close_after_its_text(path: str, frames: list[Frame]) -> None:
    """These wait for us: too early a close would lose the last words."""
    async with running() as served, connect(served.url(f"/bridges/{path}")) as socket:
        await send(socket, frames)
        heard = [json.loads(message) async for message in socket]
        assert (socket.close_code, served.shard.ended[0].reason) == (1000, "hangup")
        final = {
            "telnyx": [],
            "jambonz": ["word0"],
            "audio-fork": ["word0"],
        }
        assert [text for message in heard for text in said(message)] == final[path]


def said(message: dict[str, Any]) -> list[str]:
    """Return the text of a final, as jambonz or FreeSWITCH reads it."""
    if message["type"] != "transcription":
        return []
    data = message.get("data") or message | message["alternatives"][0]
    return [data["transcript"]] if data["is_final"] else []


async def test_keys_reach_who_watches_the_call() -> None:
    """From the bridge through the log to a watcher, at their place in time."""
    async with running() as served, connect(served.url("/bridges/asterisk")) as socket:
        await send(socket, ASTERISK[:1])
        async with connect(served.url("/v1/calls/c0ffee/events")) as watcher:
            await send(socket, ASTERISK[1:])
            told: dict[str, Any] = {}
            async for message in watcher:
                told = json.loads(message)
                if told["type"] == "dtmf":
                    break
        assert told == {"type": "dtmf", "channel": 0, "label": "caller", "digit": "5", "at": 0.24}


async def test_a_key_may_stand_in_the_address_or_be_a_basic_password() -> None:
    """Many bridges can be given an address and nothing else; switches know HTTP Basic."""
    async with running(settings(auth__keys='{acme = ["good"]}')) as served:
        for path in ("/bridges/vonage", "/bridges/vonage/bad"):
            with pytest.raises(InvalidStatus) as refused:
                await connect(served.url(path))
            assert refused.value.response.status_code == 401
        basic = {"Authorization": f"Basic {base64.b64encode(b'user:good').decode()}"}
        for path, headers in (("/bridges/vonage/good", None), ("/bridges/vonage", basic)):
            async with connect(served.url(path), additional_headers=headers) as socket:
                await send(socket, VONAGE)
            await ended(served)
            served.shard.ended.clear()
        assert [spec.tenant for spec in served.shard.opened] == ["acme", "acme"]


async def test_audiosocket_is_served_over_tcp_however_the_stream_is_cut() -> None:
    """TCP keeps no frames together."""
    async with running(settings(audiosocket__port="0")) as served:
        assert served.gateway.audiosocket_port is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", served.gateway.audiosocket_port)
        stream = b"".join(frame for frame in AUDIOSOCKET if isinstance(frame, bytes))
        for at in range(0, len(stream), 1000):
            writer.write(stream[at : at + 1000])
            await writer.drain()
        assert await reader.read() == b""
        writer.close()
        assert served.shard.ended[0].reason == "hangup"
        assert sum(len(chunk.payload) for chunk in served.shard.chunks) == 8000


async def test_audiosocket_calls_end_with_the_connection_and_only_peers_get_one() -> None:
    """Asterisk just closes; strangers are closed on."""
    async with running(settings(audiosocket__port="0", audiosocket__peers='["127.0.0.0/8"]')) as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.gateway.audiosocket_port)
        writer.write(audiosocket_frame(0x10, b"\x01\x00" * 160) + b"\x10\x01")
        writer.close()
        assert (await ended(served)).reason == "hangup"
    async with running(settings(audiosocket__port="0", audiosocket__peers='["10.0.0.0/8"]')) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.gateway.audiosocket_port)
        assert await reader.read() == b""
        writer.close()


async def test_audiohook_says_closed_after_its_text_and_leaves_the_close_to_the_peer() -> None:
    """Signed as Genesys signs, from the probe of the address to the last transcript."""
    key, secret = "genesys-key", b"a client secret"
    chosen = settings(
        auth__keys=f'{{acme = ["{key}"]}}', audiohook__secrets=f'{{"{key}" = "{base64.b64encode(secret).decode()}"}}'
    )
    async with running(chosen) as served:
        headers = {"host": f"127.0.0.1:{served.port}", "audiohook-organization-id": audiohook.ORGANIZATION}
        headers |= {"audiohook-session-id": audiohook.SESSION, "audiohook-correlation-id": "c"}
        with pytest.raises(InvalidStatus) as refused:
            await connect(served.url("/bridges/audiohook"), additional_headers={"X-API-KEY": key})
        assert refused.value.response.status_code == 401
        signed = audiohook.sign(
            headers, "/bridges/audiohook?x=1", key=key, secret=secret, created=int(time.time()), nonce="n" * 22
        )
        async with connect(served.url("/bridges/audiohook?x=1"), additional_headers=signed) as socket:
            await send(socket, audiohook.session())
            told: list[dict[str, Any]] = []
            while not told or told[-1]["type"] != "closed":
                told.append(json.loads(await socket.recv()))
        assert (served.shard.opened[0].tenant, served.shard.ended[0].reason) == ("acme", "hangup")
        entities = [message["parameters"]["entities"][0]["data"] for message in told if message["type"] == "event"]
        assert {data["channelId"] for data in entities if data["isFinal"]} == {0, 1}
        assert [message["seq"] for message in told] == list(range(1, len(told) + 1))
