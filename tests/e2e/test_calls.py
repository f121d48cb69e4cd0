"""Callers that vanish and callers that never speak, beside those that do."""

from __future__ import annotations

import asyncio
import json
from typing import Final

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.support.calls import calling
from tests.support.servers import ServerProcess
from tests.support.tones import GAP_S, PAUSE_S, RATE, WORD_S, flat, sentences, spoken
from trunkline import Audio, Closed, watch
from trunkline import Final as FinalText

pytestmark = pytest.mark.e2e

AUDIO: Final = Audio("mulaw", 8000)
SILENT_SOCKETS: Final = 200


async def test_who_is_cut_off_in_mid_word_is_still_transcribed_to_that_word(scripted: ServerProcess) -> None:
    """A subscriber, who is not the caller, gets the tail: the call record must not depend on how a call ends."""
    said = sentences(2, seed=3)
    audio = spoken(said)
    words_before = 8  # of the second sentence the third word is the last, and only half of it is sent
    sent_s = 2 * PAUSE_S + words_before * (WORD_S + GAP_S) - GAP_S - WORD_S / 2
    async with connect(f"{scripted.url}/v1/stream") as socket:
        start = {"type": "start", "call": "cut-off", "audio": {"encoding": "mulaw", "sample_rate": RATE}}
        await socket.send(json.dumps(start))
        await socket.recv()
        async with watch(scripted.url, "cut-off") as watched:
            await socket.send(audio[: int(sent_s * RATE)])
            await acknowledged(socket, sent_s)
            socket.transport.abort()  # no close frame, as when a bridge's machine loses its power
            told = [message async for message in watched]

    words = [word.text for message in told if isinstance(message, FinalText) for word in message.words]
    assert words == flat(said)[:words_before]
    closed = told[-1]
    assert isinstance(closed, Closed)
    assert closed.reason == "disconnected"
    assert closed.audio_s == pytest.approx(sent_s, abs=0.01)


async def acknowledged(socket: ClientConnection, audio_s: float) -> None:
    """Wait until the server has all audio."""
    async for message in socket:
        told = json.loads(message)
        if told["type"] == "ack" and told["audio_s"] >= audio_s - 0.01:
            return


async def test_two_hundred_sockets_that_never_speak_do_not_disturb_who_does(scripted: ServerProcess) -> None:
    """Port scanners, health checks and broken bridges must cost nothing but their sockets."""
    said = sentences(5, seed=4)
    silent = [await connect(f"{scripted.url}/v1/stream") for _ in range(SILENT_SOCKETS)]
    try:
        async with calling(scripted.url, AUDIO) as caller:
            await caller.play(spoken(said))
        assert caller.words() == flat(said)
        assert caller.numbers() == list(range(len(said)))
        slowest_s = max(final.latency_s for final in caller.finals)
        print(f"slowest final beside {SILENT_SOCKETS} silent sockets: {slowest_s:.2f} s")  # noqa: T201 - a measurement
        assert slowest_s < 2.0
        async with asyncio.timeout(60.0):  # the server's limit for a start is 10 s
            await asyncio.gather(*(socket.wait_closed() for socket in silent))
        assert {socket.close_code for socket in silent} == {4408}
    finally:
        await asyncio.gather(*(socket.close() for socket in silent))
