"""The SDK against the gateway: what both ends were written apart from each other must understand."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

import trunkline
from tests.support.gateways import running, settings
from trunkline.audio import Recording
from trunkline.bridge import play
from trunkline.demo import demonstrate, summary
from trunkline.framing import FRAMINGS
from trunkline.messages import Event, Final, Partial
from trunkline.reference import Reference
from trunkline.timing import Turn

AUDIO = trunkline.Audio("mulaw", 8000, 2)
SPEECH = Recording(AUDIO, b"\xff" * (AUDIO.second_bytes // 2))
WATCHED = {"twilio"}
"""Framings whose text comes to who watches the call: who comes late misses interim words, and when speech began."""


async def test_a_call_through_the_client_reaches_the_log_and_comes_back() -> None:
    """The README's example, for real."""
    async with (
        running() as server,
        trunkline.connect(server.url(""), audio=AUDIO, call="c1", labels=["customer", "agent"]) as call,
    ):
        await call.send(SPEECH.data)
        await call.finalize()
        finals = call.transcript.finals()
        closed = await call.close()

    assert {final.label for final in finals} == {"customer", "agent"}
    assert closed.call == "c1"
    assert closed.audio_s == pytest.approx(0.5)


async def test_a_watcher_gets_what_was_said_and_what_is_said() -> None:
    """A supervisor who opens the page late misses nothing."""
    async with (
        running() as server,
        trunkline.connect(server.url(""), audio=AUDIO, call="c2") as call,
    ):
        await call.send(SPEECH.data)
        await call.finalize()
        async with trunkline.watch(server.url(""), "c2") as watched:
            await call.close()
            events = [event async for event in watched]

    assert len([event for event in events if isinstance(event, Final)]) == len(watched.transcript.finals())
    assert watched.transcript.finals() == call.transcript.finals()
    assert watched.closed == call.closed


async def test_a_wrong_key_is_refused_with_a_reason() -> None:
    """Whoever mistypes a key must not look for the mistake in the network."""
    async with running(settings(auth__keys='{acme = ["right"]}')) as server:
        with pytest.raises(trunkline.Refused) as refused:
            async with trunkline.connect(server.url(""), audio=AUDIO, key="wrong"):
                pass

    assert (refused.value.status, refused.value.code) == (401, "unauthorized")


@pytest.mark.parametrize("name", list(FRAMINGS))
@pytest.mark.parametrize("key", [None, "right"], ids=["open", "with a key"])
async def test_every_framing_carries_a_call_and_its_text(name: str, key: str | None) -> None:
    """The load generator speaks three formats; each must reach both sides of the call.

    A bridge's caller reads the text on another connection, which may be there only after the first partials.
    """
    heard: list[Event] = []
    chosen = settings(auth__keys='{acme = ["right"]}') if key else settings()
    async with running(chosen) as server:
        framing = FRAMINGS[name](AUDIO, ("customer", "agent"), key)
        seconds = 3.0 if name in WATCHED else SPEECH.seconds
        played = await play(framing, server.url(""), SPEECH, duration_s=seconds, key=key, on_event=heard.append)
    finals = [event for event in heard if isinstance(event, Final)]

    assert played.sent_s == pytest.approx(seconds)
    assert {final.label for final in finals} == {"customer", "agent"}
    assert any(isinstance(event, Partial) for event in heard)
    assert played.latencies.first_partial_s or name in WATCHED


async def test_the_demonstration_judges_what_it_hears() -> None:
    """A shard that makes words up is not understood, and the summary says so."""
    console = Console(file=io.StringIO(), width=100)
    reference = Reference(("customer", "agent"), (Turn(0, 0.0, 0.2, "good morning"), Turn(1, 0.2, 0.5, "hello")))
    async with running() as server:
        outcome = await demonstrate(server.url(""), SPEECH, reference, console)
    console.print(summary(outcome))
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()

    assert not outcome.understood
    assert outcome.errors.words == 3
    assert "customer" in said
    assert "real-time factor" in said
