"""Twilio's media streams over a real socket, signed with Twilio's own package."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from streaming.call import AudioFormat, Encoding
from streaming.records import AudioChunk, CallEnded
from tests.support.gateways import SECOND, hear, hear_all, running, settings
from tests.support.twilio_signature import signed

TOKEN = "12345678901234567890123456789012"  # noqa: S105 - the reference's test vector
URL = "wss://stt.example.com/bridges/twilio"
SIGNED = settings(twilio__auth_token=TOKEN, twilio__public_url=URL, twilio__tenant="acme")


async def start(socket: ClientConnection, tracks: list[str], parameters: dict[str, str]) -> None:
    """Send what Twilio sends first."""
    await socket.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
    await socket.send(
        json.dumps(
            {
                "event": "start",
                "sequenceNumber": "1",
                "streamSid": "MZ0001",
                "start": {
                    "streamSid": "MZ0001",
                    "accountSid": "AC01",
                    "callSid": "CA01",
                    "tracks": tracks,
                    "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                    "customParameters": parameters,
                },
            }
        )
    )


async def media(socket: ClientConnection, track: str, timestamp_ms: int, samples: bytes) -> None:
    """Send one media message."""
    payload = base64.b64encode(samples).decode()
    body = {"track": track, "chunk": "1", "timestamp": str(timestamp_ms), "payload": payload}
    await socket.send(json.dumps({"event": "media", "sequenceNumber": "2", "streamSid": "MZ0001", "media": body}))


async def test_a_signed_stream_of_two_tracks_is_transcribed_for_who_watches() -> None:
    """The bridge hears nothing back; the text goes to subscribers, by the call id the bridge chose."""
    headers = {"X-Twilio-Signature": signed(TOKEN, URL)}
    async with running(SIGNED) as served:
        async with connect(served.url("/bridges/twilio"), additional_headers=headers) as socket:
            await start(
                socket,
                ["inbound", "outbound"],
                {
                    "call": "call-9",
                    "labels": "customer, agent",
                    "language": "en-GB",
                    "hotwords": "Trunkline,SLA",
                    "q": "7",
                },
            )
            for at in range(0, 1000, 20):
                for track in ("inbound", "outbound"):
                    await media(socket, track, at, SECOND[:160])
            await socket.send(json.dumps({"event": "stop", "sequenceNumber": "9", "streamSid": "MZ0001"}))
            assert await hear_all(socket) == []
            assert socket.close_code == 1000

        spec = served.shard.opened[0]
        assert (spec.call, spec.tenant, spec.labels, spec.language) == ("call-9", "acme", ("customer", "agent"), "en")
        assert (spec.audio, spec.hotwords) == (AudioFormat(Encoding.MULAW, 8000, 2), ("Trunkline", "SLA"))
        assert spec.metadata == {
            "q": "7",
            "twilio.stream_sid": "MZ0001",
            "twilio.call_sid": "CA01",
            "twilio.account_sid": "AC01",
        }
        assert [chunk.position for chunk in served.shard.chunks if chunk.channel == 1] == list(range(0, 8000, 320))
        finals = [final for final in served.gateway.delivery.so_far("call-9") if hasattr(final, "words")]
        assert len(finals) == 2


async def test_a_bidirectional_stream_has_one_track_and_a_drop_without_stop_ends_the_call() -> None:
    """Twilio may vanish; what the caller said last is still said."""
    async with running() as served:
        async with connect(served.url("/bridges/twilio")) as socket:
            await start(socket, ["inbound"], {})
            chunk = asyncio.ensure_future(served.shard.next(AudioChunk))
            await media(socket, "inbound", 100, SECOND)
            assert isinstance(await chunk, AudioChunk)
            async with connect(served.url("/v1/calls/MZ0001/events")) as watcher:
                assert (await hear(watcher))["labels"] == ["inbound"]
                ended = asyncio.ensure_future(served.shard.next(CallEnded))
                socket.transport.abort()
                assert await ended == CallEnded("MZ0001", "disconnected")
                assert (await hear_all(watcher))[-1]["type"] == "closed"
        assert served.shard.chunks[0].position == 800


@pytest.mark.parametrize("signature", ["", "RME30u+MMr96Jx2z02E/241okKQ=", "ü"])
async def test_a_bad_signature_is_refused_with_403(signature: str) -> None:
    """Anyone can find the address; only Twilio can sign for it."""
    async with running(SIGNED) as served:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(served.url("/bridges/twilio"), additional_headers={"X-Twilio-Signature": signature}):
                pass
        assert refused.value.response.status_code == 403


async def test_a_key_in_the_path_serves_who_has_no_auth_token() -> None:
    """Twilio drops the query of an address, so a key can only stand in its path."""
    async with running(settings(auth__keys='{acme = ["secret"]}')) as served:
        async with connect(served.url("/bridges/twilio/secret")) as socket:
            await start(socket, ["inbound"], {})
            chunk = asyncio.ensure_future(served.shard.next(AudioChunk))
            await media(socket, "inbound", 0, SECOND)
            await chunk
        assert served.shard.opened[0].tenant == "acme"
        with pytest.raises(InvalidStatus) as refused:
            async with connect(served.url("/bridges/twilio/guess")):
                pass
        assert refused.value.response.status_code == 401
