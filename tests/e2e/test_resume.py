"""Calls over a network that breaks all the time: the SDK and a real server lose nothing between them."""

from __future__ import annotations

import asyncio
import threading
from typing import Final

import pytest

from tests.support.calls import Caller, calling
from tests.support.dice import dice
from tests.support.servers import ServerProcess
from tests.support.tones import RATE, flat, sentences, spoken
from tests.support.wire import wired
from trunkline import Audio, Reconnecting, Resumed, sync

pytestmark = pytest.mark.e2e

AUDIO: Final = Audio("mulaw", RATE)
CALLERS: Final = 4
SENTENCES: Final = 6


async def test_calls_whose_connections_are_cut_in_mid_word_lose_and_repeat_nothing(scripted: ServerProcess) -> None:
    """The words are tones, so every sample is accounted for; connections live for a second or two."""
    chance = dice()
    said = [sentences(SENTENCES, seed) for seed in range(CALLERS)]

    async def one(url: str, number: int) -> Caller:
        async with calling(url, AUDIO) as caller:
            await caller.play(spoken(said[number]))
        return caller

    async with wired(scripted.port) as network:
        network.life_s = lambda: chance.uniform(0.5, 2.5)
        callers = await asyncio.gather(*(one(network.url, number) for number in range(CALLERS)))

    for number, caller in enumerate(callers):
        assert caller.words() == flat(said[number])
        assert caller.numbers() == list(range(len(caller.finals)))
        assert caller.closed.audio_s == pytest.approx(len(spoken(said[number])) / RATE, abs=0.001)
        assert caller.closed.reason == "hangup"
        events = [event for _, event in caller.heard]
        assert any(isinstance(event, Reconnecting) for event in events)
        assert any(isinstance(event, Resumed) for event in events)
    print(f"{network.cuts} connections cut under {CALLERS} calls")  # noqa: T201 - a measurement
    assert network.cuts >= CALLERS


async def test_the_synchronous_client_goes_on_as_well(scripted: ServerProcess) -> None:
    """It is the same client in a thread; its user sees only that sending takes a moment longer."""
    said = sentences(3, seed=14)  # a sentence begins with the word before it
    audio = spoken(said)

    def call(url: str) -> list[str]:
        with sync.connect(url, audio=AUDIO) as live:
            for begin in range(0, len(audio), 1600):
                live.send(audio[begin : begin + 1600])
                pause.wait(0.1)
            live.close()
            return [word.text for final in live.transcript.finals() for word in final.words]

    pause = threading.Event()
    chance = dice()
    async with wired(scripted.port) as network:
        network.life_s = lambda: chance.uniform(0.5, 1.5)
        words = await asyncio.to_thread(call, network.url)

    assert words == flat(said)
    assert network.cuts
