"""The asynchronous client against a server that runs in the same loop."""

from __future__ import annotations

import asyncio
import socket

import pytest

import trunkline
from trunkline import messages
from trunkline.messages import Ack, Closed, Error, Final, Partial, SpeechStarted
from trunkline.testing import Peer, fake_server

AUDIO = trunkline.Audio("mulaw", 8000, 2)
SECOND = b"\xff" * AUDIO.second_bytes


async def test_closing_drains_the_last_finals() -> None:
    """The last words of a call are words like any other."""
    async with (
        fake_server() as server,
        trunkline.connect(server.url, audio=AUDIO, call="c1", labels=["customer", "agent"]) as call,
    ):
        await call.send(SECOND * 2)
        closed = await call.close()

    assert call.id == "c1"
    assert (closed.audio_s, closed.finals) == (2.0, 2)
    assert call.transcript.labels == ("customer", "agent")
    assert [call.transcript.text(channel) for channel in call.transcript.channels] == ["one two", "one two"]


async def test_leaving_the_block_closes_the_call() -> None:
    """Who forgets to close loses nothing."""
    async with fake_server() as server:
        async with trunkline.connect(server.url, audio=AUDIO) as call:
            await call.send(SECOND)

        assert call.closed == Closed("made-up", "hangup", 1.0, 0.0, 2)
        assert len(call.transcript.finals()) == 2


async def test_events_come_in_order_and_end_with_the_call() -> None:
    """A for loop over the call is all that most users write."""
    mono = trunkline.Audio("mulaw", 8000)
    async with fake_server() as server, trunkline.connect(server.url, audio=mono) as call:
        await call.send(b"\xff" * 8000)
        await call.close()
        events = [type(event) async for event in call]

    assert events == [Ack, SpeechStarted, Partial, Final, Closed]


async def test_an_error_in_the_block_hangs_up_at_once() -> None:
    """The user's own failure must not wait for a server's last finals, nor be hidden by them."""
    gone = asyncio.Event()

    async def listen(peer: Peer) -> None:
        await peer.accept()
        while await peer.receive() is not None:
            pass
        gone.set()

    async with fake_server(listen) as server:
        with pytest.raises(KeyError):
            async with trunkline.connect(server.url, audio=AUDIO):
                raise KeyError("mine")
        await gone.wait()

    assert [type(said) for said in server.peers[0].said] == [messages.Start]


async def test_finalize_waits_for_its_finals() -> None:
    """A bridge that finalizes acts on the text right afterwards."""
    async with fake_server() as server, trunkline.connect(server.url, audio=AUDIO) as call:
        await call.send(SECOND)
        await call.finalize(channel=1)
        assert [final.channel for final in call.transcript.finals()] == [1]
        await call.finalize()
        assert [final.channel for final in call.transcript.finals()] == [0, 1]


async def test_finalize_knows_the_channels() -> None:
    """The server would answer with an error that names no request."""
    async with fake_server() as server, trunkline.connect(server.url, audio=AUDIO) as call:
        with pytest.raises(ValueError, match="channels 0 to 1"):
            await call.finalize(channel=2)


async def test_finalize_does_not_wait_for_a_dead_server() -> None:
    """A waiter that nobody wakes is a bridge that hangs."""

    async def vanish(peer: Peer) -> None:
        await peer.accept()
        await peer.receive()
        peer.socket.transport.abort()

    async with fake_server(vanish) as server:
        with pytest.raises(trunkline.ConnectionLost) as lost:
            async with trunkline.connect(server.url, audio=AUDIO) as call:
                await call.finalize()
    assert lost.value.close_code == 1006


async def test_a_sample_may_be_split_over_two_sends() -> None:
    """Pipes cut where they like; the server refuses frames that do."""
    wide = trunkline.Audio("linear16", 8000, 2)
    async with fake_server() as server, trunkline.connect(server.url, audio=wide) as call:
        for begin in range(0, 40, 5):
            await call.send(bytes(range(begin, begin + 5)))

    assert bytes(server.peers[0].audio) == bytes(range(40))


async def test_long_audio_goes_in_frames_the_server_takes() -> None:
    """A frame over the server's limit would end the call."""
    sizes: list[int] = []

    async def measure(peer: Peer) -> None:
        await peer.accept()
        while isinstance(frame := await peer.receive(), bytes):
            sizes.append(len(frame))
        await peer.send(Closed("made-up", "hangup", 0.0, 0.0, 0))

    async with fake_server(measure) as server, trunkline.connect(server.url, audio=AUDIO) as call:
        await call.send(SECOND * 10)

    assert sum(sizes) == 160_000
    assert max(sizes) <= 65_536


async def test_a_refusal_before_the_upgrade_says_why_and_when() -> None:
    """Bridges decide by these whether to try again, and when."""
    full = trunkline.Refused("overloaded", "no room; try again", status=503, retry_after_s=7)
    async with fake_server(refusal=full) as server:
        with pytest.raises(trunkline.Refused, match="overloaded: no room") as refused:
            async with trunkline.connect(server.url, audio=AUDIO):
                pass

    assert (refused.value.status, refused.value.code, refused.value.retry_after_s) == (503, "overloaded", 7)


async def test_a_refused_start_is_a_refusal_too() -> None:
    """Whether the server says no before or after the upgrade makes no difference to the caller."""

    async def decline(peer: Peer) -> None:
        await peer.receive()
        await peer.send(Error("duplicate_call", "a call of this id is in progress", fatal=True))
        await peer.socket.close(4409, "duplicate_call")

    async with fake_server(decline) as server:
        with pytest.raises(trunkline.Refused) as refused:
            async with trunkline.connect(server.url, audio=AUDIO):
                pass

    assert (refused.value.status, refused.value.code) == (None, "duplicate_call")


async def test_a_server_that_never_accepts_is_given_up() -> None:
    """A bridge has a caller on the line; waiting for ever helps nobody."""

    async def dream(peer: Peer) -> None:
        while await peer.receive() is not None:
            pass

    async with fake_server(dream) as server:
        with pytest.raises(trunkline.Refused) as refused:
            async with trunkline.connect(server.url, audio=AUDIO, open_timeout_s=1.0):  # connecting may take as long
                pass

    assert refused.value.code == "no_answer"


async def test_nothing_listening_is_one_clear_error() -> None:
    """The first thing every new user sees."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(trunkline.Unreachable, match="is the server running"):
            async with trunkline.connect(f"ws://127.0.0.1:{port}", audio=AUDIO):
                pass


async def test_a_failing_call_delivers_what_came_before() -> None:
    """Words that arrived stay words, whatever happens next."""

    async def fail(peer: Peer) -> None:
        await peer.accept()
        await peer.receive()
        await peer.send(SpeechStarted(0, "channel 0", 0.5), Error("too_fast", "slow down", fatal=True))
        await peer.socket.close(1008, "too_fast")

    async with fake_server(fail) as server, trunkline.connect(server.url, audio=AUDIO) as call:
        await call.send(SECOND)
        seen = [type(await anext(call)) for _ in range(2)]
        with pytest.raises(trunkline.CallFailed, match="too_fast: slow down") as failed:
            await anext(call)

    assert seen == [SpeechStarted, Error]
    assert failed.value.code == "too_fast"


async def test_a_failure_that_was_handled_is_not_raised_again() -> None:
    """Who caught it inside the block is done with it."""

    async def vanish(peer: Peer) -> None:
        await peer.accept()
        peer.socket.transport.abort()

    async with fake_server(vanish) as server, trunkline.connect(server.url, audio=AUDIO) as call:
        with pytest.raises(trunkline.ConnectionLost):
            await anext(call)

    assert call.over


async def test_sending_to_an_ended_call_says_so() -> None:
    """A pump that goes on after the end must hear that nobody listens."""

    async def end(peer: Peer) -> None:
        await peer.accept()
        await peer.send(Closed("made-up", "idle", 0.0, 0.0, 0))

    async with fake_server(end) as server, trunkline.connect(server.url, audio=AUDIO) as call:
        assert [type(event) async for event in call] == [Closed]
        with pytest.raises(trunkline.CallFailed, match="call_ended"):
            await call.send(SECOND)


async def test_sending_after_closing_is_a_mistake() -> None:
    """The server would drop this audio without a word."""
    async with fake_server() as server, trunkline.connect(server.url, audio=AUDIO) as call:
        await call.close()
        with pytest.raises(RuntimeError, match="was closed"):
            await call.send(SECOND)


async def test_a_server_that_drains_fails_the_call_after_its_finals() -> None:
    """The bridge must connect again, and keeps every word that was final."""

    async def drain(peer: Peer) -> None:
        await peer.accept()
        await peer.send(
            Error("draining", "the server is about to stop; connect again", fatal=True),
            Closed("made-up", "draining", 0.0, 0.0, 0),
        )
        await peer.socket.close(1012, "draining")

    async with fake_server(drain) as server, trunkline.connect(server.url, audio=AUDIO) as call:
        seen = [type(await anext(call)) for _ in range(2)]
        with pytest.raises(trunkline.CallFailed, match="draining"):
            await anext(call)

    assert seen == [Error, Closed]


async def test_draining_while_the_call_ends_anyway_is_no_failure() -> None:
    """All of the call was heard; that the server stops afterwards is its own affair."""

    async def drain(peer: Peer) -> None:
        await peer.accept()
        await peer.receive()
        await peer.send(
            Error("draining", "the server is about to stop", fatal=True), Closed("made-up", "hangup", 0.0, 0.0, 0)
        )
        await peer.socket.close(1012, "draining")

    async with fake_server(drain) as server, trunkline.connect(server.url, audio=AUDIO) as call:
        assert (await call.close()).reason == "hangup"


async def test_a_reader_who_comes_late_finds_every_final_and_the_newest_partial() -> None:
    """The socket is read even where events are not, and old guesses are worth nothing."""
    mono = trunkline.Audio("mulaw", 8000)
    async with fake_server() as server, trunkline.connect(server.url, audio=mono) as call:
        for _ in range(5):
            await call.send(b"\xff" * 8000)
        await call.finalize()
        for _ in range(3):
            await call.send(b"\xff" * 8000)
        await call.close()
        events = [event async for event in call]

    assert [event.text for event in events if isinstance(event, Final)] == [
        "one two three four five",
        "six seven eight",
    ]
    assert [event.text for event in events if isinstance(event, Partial)] == ["six seven eight"]
    assert sum(isinstance(event, Ack) for event in events) == 1


async def test_a_server_that_talks_nonsense_fails_the_call() -> None:
    """Half a message must not become half a transcript."""

    async def babble(peer: Peer) -> None:
        await peer.accept()
        await peer.socket.send('{"type": "final"}')
        await peer.receive()

    async with fake_server(babble) as server:
        with pytest.raises(trunkline.CallFailed, match="bad_message"):
            async with trunkline.connect(server.url, audio=AUDIO) as call:
                await anext(call)


async def test_the_key_travels_as_a_header() -> None:
    """Addresses end up in logs, headers do not."""
    async with fake_server() as server, trunkline.connect(server.url, audio=AUDIO, key="secret") as call:
        await call.keepalive()

    assert server.requests[0].headers["Authorization"] == "Bearer secret"
    assert server.requests[0].path == "/v1/stream"


async def test_labels_fit_the_channels() -> None:
    """The mistake shows where it was made."""
    with pytest.raises(ValueError, match="2 channels need as many labels"):
        async with trunkline.connect("ws://127.0.0.1:1", audio=AUDIO, labels=["one"]):
            pass
