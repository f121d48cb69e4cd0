"""Whole calls played to a server, alone and in numbers."""

from __future__ import annotations

import pytest

import trunkline
from trunkline.audio import Recording
from trunkline.bridge import play
from trunkline.framing import NativeFraming
from trunkline.load import Load, Tally, code_of, report, run_load
from trunkline.messages import Audio, Closed, Error, Final, ServerMessage, SpeechStarted
from trunkline.reference import Reference
from trunkline.testing import Behaviour, Peer, fake_server
from trunkline.timing import Turn

AUDIO = Audio("mulaw", 8000, 2)
SHORT = Recording(AUDIO, b"\xff" * (AUDIO.second_bytes // 10))


def load(calls: int = 2, *, framing: str = "native", reference: Reference | None = None) -> Load:
    return Load(calls, framing, SHORT, reference, ("customer", "agent"), ramp_s=0.0, duration_s=None)


def hear(*events: ServerMessage) -> Behaviour:
    """A server that hears the same whatever comes."""

    async def behave(peer: Peer) -> None:
        await peer.accept()
        while isinstance(await peer.receive(), bytes):
            pass
        await peer.send(*events)

    return behave


CLOSED = Closed("made-up", "hangup", 0.1, 0.0, 0)
FINAL = Final(
    0, "customer", 0, 0.0, 0.1, "w", (trunkline.Word("w", 0.0, 0.1, 1.0),), 1.0, "en", "m", "endpoint", 0.08, 0.0
)


async def test_a_call_is_played_to_its_end() -> None:
    """All of the audio goes out, and the last final is waited for."""
    heard: list[ServerMessage] = []
    async with fake_server(hear(SpeechStarted(0, "customer", 0.0), FINAL, CLOSED)) as server:
        played = await play(NativeFraming(AUDIO, ()), server.url, SHORT, on_event=heard.append)

    assert bytes(server.peers[0].audio) == SHORT.data
    assert heard[1:] == [SpeechStarted(0, "customer", 0.0), FINAL, CLOSED]
    assert played.sent_s == pytest.approx(0.1)
    assert played.took_s >= 0.1
    assert len(played.latencies.first_partial_s) == len(played.latencies.final_s) == 1


async def test_a_short_recording_is_played_again_and_cut_off() -> None:
    """Long load runs need no long recording."""
    turns = [Turn(0, 0.0, 0.05)]
    async with fake_server(hear(CLOSED)) as server:
        played = await play(NativeFraming(AUDIO, ()), server.url, SHORT, turns=turns, duration_s=0.17)

    assert len(server.peers[0].audio) == round(0.17 * AUDIO.second_bytes)
    assert (played.latencies.turns, played.latencies.unfinished) == (2, 2)


async def test_a_call_that_the_server_gives_up_raises_its_reason() -> None:
    """The load generator counts failures by code."""

    async def give_up(peer: Peer) -> None:
        await peer.accept()
        await peer.receive()
        await peer.send(Error("too_fast", "slow down", fatal=True))
        await peer.socket.close(1008)

    async with fake_server(give_up) as server:
        with pytest.raises(trunkline.CallFailed, match="too_fast"):
            await play(NativeFraming(AUDIO, ()), server.url, SHORT)


async def test_a_refused_start_is_a_refusal() -> None:
    """A full server answers after the upgrade too."""

    async def refuse(peer: Peer) -> None:
        await peer.receive()
        await peer.send(Error("overloaded", "no room", fatal=True, retry_after_s=5.0))
        await peer.socket.close(1013)

    async with fake_server(refuse) as server:
        with pytest.raises(trunkline.Refused, match="overloaded"):
            await play(NativeFraming(AUDIO, ()), server.url, SHORT)


async def test_a_server_that_vanishes_is_a_lost_connection() -> None:
    """Nothing was said, so nothing is made up."""

    async def vanish(peer: Peer) -> None:
        await peer.accept()
        peer.socket.transport.abort()

    async with fake_server(vanish) as server:
        with pytest.raises(trunkline.ConnectionLost):
            await play(NativeFraming(AUDIO, ()), server.url, SHORT)


async def test_load_counts_what_went_well() -> None:
    """One line per figure, and nothing lost between calls."""
    states: list[tuple[int, int, int]] = []

    def note(tally: Tally) -> None:
        states.append((tally.waiting, tally.talking, tally.done))

    reference = Reference((), (Turn(0, 0.0, 0.08),))
    async with fake_server(hear(FINAL, CLOSED)) as server:
        tally = await run_load(load(3, reference=reference), server.url, None, note)
    found = report(load(3), tally)

    assert (tally.waiting, tally.talking, tally.done, tally.failed) == (0, 0, 3, 0)
    assert len(tally.latencies.final_s) == len(tally.setups_s) == 3
    assert (found["done"], found["turns"], found["unfinished"], found["errors"]) == (3, 3, 0, {})
    assert states[-1] == (0, 0, 3)
    assert max(talking for _, talking, _ in states) == 3


async def test_load_counts_failures_by_code() -> None:
    """A hundred failed calls are one line with a number, not a hundred lines."""
    full = trunkline.Refused("overloaded", "no room", status=503)
    async with fake_server(hear(CLOSED), refusal=full, refusals=2) as server:
        tally = await run_load(load(3), server.url, None)

    assert (tally.done, dict(tally.errors)) == (1, {"overloaded": 2})
    assert isinstance(tally.refused, trunkline.Refused)
    assert report(load(3), tally)["final_s"] == {"count": 0, "p50": None, "p95": None, "p99": None, "most": None}


async def test_a_recording_that_does_not_fit_fails_before_any_call() -> None:
    """A thousand calls with the same mistake are one mistake."""
    wrong = Load(5, "twilio", Recording(Audio("linear16", 8000, 2), bytes(64)), None, (), 0.0, None)
    async with fake_server() as server:
        with pytest.raises(ValueError, match="Twilio sends mu-law"):
            await run_load(wrong, server.url, None)

    assert server.peers == []


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (trunkline.Refused("overloaded", "m"), "overloaded"),
        (trunkline.CallFailed("internal", "m"), "internal"),
        (trunkline.ConnectionLost("m", close_code=1006), "closed_1006"),
        (trunkline.Unreachable("m"), "unreachable"),
        (trunkline.TrunklineError("m"), "failed"),
    ],
)
def test_every_failure_has_a_code(problem: trunkline.TrunklineError, code: str) -> None:
    """Failures are compared between runs by these names."""
    assert code_of(problem) == code
