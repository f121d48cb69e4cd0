"""Devices that die or hang in the middle of a call, in real processes with real signals."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Final

import pytest

from tests.support.calls import Caller, calling
from tests.support.servers import SCRIPTED, ServerProcess, is_running, kill, serving, until
from tests.support.tones import Sentence, flat, interleaved, sentences, spoken
from trunkline import Audio

pytestmark = pytest.mark.e2e

AUDIO: Final = Audio("mulaw", 8000, channels=2)
CUSTOMER, AGENT = sentences(9, seed=1), sentences(8, seed=2)
ENOUGH: Final = 5
"""Sentences of each side where nothing has to be waited for."""
HURT_AT_S: Final = 4.0
AGAIN_WITHIN_S: Final = 10.0
"""What is promised: seconds until partials come again after the loss of a device."""


async def device_of(server: ServerProcess) -> int:
    await asyncio.to_thread(until, lambda: server.is_ready and len(server.device_pids()) == 1, 30.0, "one device")
    return server.device_pids()[0]


def no_word_is_missing_or_there_twice(caller: Caller, server: ServerProcess, *sides: list[Sentence]) -> None:
    for channel, said in enumerate(sides):
        assert caller.words(channel) == flat(said)
        assert caller.numbers(channel) == list(range(len(said)))
    assert server.metric("trunkline_finals_lost_total") == 0
    assert server.metric("trunkline_final_gap_total") == 0


async def test_a_device_that_is_killed_in_mid_call_costs_no_word_and_partials_come_again(
    scripted: ServerProcess,
) -> None:
    """Promises 1 and 4. It is killed while both sides speak, so finals and partials are under way."""
    device = await device_of(scripted)
    sides = CUSTOMER[:ENOUGH], AGENT[:ENOUGH]
    audio = interleaved(*map(spoken, sides))
    async with calling(scripted.url, AUDIO) as caller:
        await caller.play(audio, HURT_AT_S)
        kill(device, signal.SIGKILL)
        killed_at = time.monotonic()
        await caller.play(audio)

    no_word_is_missing_or_there_twice(caller, scripted, *sides)
    again_s = caller.first_partial_after(killed_at, HURT_AT_S) - killed_at
    print(f"partials again {again_s:.1f} s after the device was killed")  # noqa: T201 - a measurement
    assert again_s < AGAIN_WITHIN_S
    assert not is_running(device)
    assert await device_of(scripted) != device


async def test_a_device_that_hangs_is_ended_and_replaced_and_costs_no_word(scripted: ServerProcess) -> None:
    """A driver that never returns cannot be interrupted: the process goes, its windows are decoded elsewhere."""
    device = await device_of(scripted)
    audio = interleaved(spoken(CUSTOMER), spoken(AGENT))
    async with calling(scripted.url, AUDIO) as caller:
        await caller.play(audio, HURT_AT_S)
        kill(device, signal.SIGSTOP)
        stopped_at = time.monotonic()
        await caller.play(audio)

    no_word_is_missing_or_there_twice(caller, scripted, CUSTOMER, AGENT)
    assert not is_running(device)
    again_s = caller.first_partial_after(stopped_at, HURT_AT_S) - stopped_at
    slowest_s = max(final.latency_s for final in caller.finals)
    print(f"partials again {again_s:.1f} s after the device was stopped, slowest final {slowest_s:.1f} s")  # noqa: T201
    assert again_s < AGAIN_WITHIN_S
    assert slowest_s < AGAIN_WITHIN_S
    assert "no heartbeat" in scripted.written()


async def test_a_call_whose_features_the_devices_make_keeps_its_words_when_one_is_killed(tmp_path: Path) -> None:
    """What is decoded again elsewhere is the audio: another process makes the same of it."""
    sides = CUSTOMER[:ENOUGH], AGENT[:ENOUGH]
    with serving(*SCRIPTED, "--set", "devices.front_end=numpy", log=tmp_path / "log") as server:
        device = await device_of(server)
        audio = interleaved(*map(spoken, sides))
        async with calling(server.url, AUDIO) as caller:
            await caller.play(audio, HURT_AT_S)
            kill(device, signal.SIGKILL)
            await caller.play(audio)

        no_word_is_missing_or_there_twice(caller, server, *sides)
