"""Calls that go on after their connection broke, against a server that runs in the same loop."""

from __future__ import annotations

import asyncio

import pytest

import trunkline
from trunkline import messages, reconnecting
from trunkline.backoff import FORGET_S, LONGEST_S, Backoff, Throttle
from trunkline.messages import Ack, Closed, Error, Final, GoAway, Paused, Reconnecting, Resume, Resumed, Unpaused
from trunkline.ring import Ring, silence
from trunkline.testing import Behaviour, Peer, fake_server

AUDIO = trunkline.Audio("mulaw", 8000)
SECOND = bytes(range(250)) * 32
TOKEN = "".join(["to", "ken"])


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No jitter, and no memory of other tests' servers."""
    monkeypatch.setattr("trunkline.backoff.FIRST_S", 0.0)
    monkeypatch.setattr(reconnecting, "_THROTTLES", {})


def final(number: int) -> Final:
    return Final(0, "channel 0", number, 0.0, 1.0, f"t{number}", (), 1.0, "en", "fake", "endpoint", 1.0, 0.1)


async def accept(peer: Peer, resume_s: float = 5.0) -> None:
    start = await peer.receive()
    assert isinstance(start, messages.Start)
    assert start.resumable
    await peer.send(messages.Ready("c", ("channel 0",), "fake", 1, TOKEN, resume_s))


async def hear(peer: Peer, size: int) -> None:
    while len(peer.audio) < size:
        await peer.receive()


def resumed(samples: int, *, paused: bool = False) -> Resumed:
    return Resumed("c", ("channel 0",), "fake", samples, samples / 8000, paused, 1)


async def until_closed(peer: Peer, finals: int = 0) -> None:
    while not isinstance(await peer.receive(), messages.Close):
        pass
    await peer.send(Closed("c", "hangup", 1.0, 0.0, finals))


class Breaking:
    """Behaves on each connection as told, and breaks all but the last."""

    def __init__(self, *turns: Behaviour) -> None:
        self.turns = list(turns)
        self.asked: list[Resume] = []

    async def __call__(self, peer: Peer) -> None:
        turn = self.turns.pop(0)
        if peer.path == "/v1/resume":
            asked = await peer.receive()
            assert isinstance(asked, Resume)
            self.asked.append(asked)
        await turn(peer)
        if self.turns:
            peer.socket.transport.abort()


async def test_a_broken_call_sends_again_what_the_server_lacks_and_gets_what_it_missed() -> None:
    """Every sample and every final exactly once; the user only sees two events more."""

    async def first(peer: Peer) -> None:
        await accept(peer)
        await hear(peer, 8000)
        await peer.send(final(0))

    async def second(peer: Peer) -> None:
        await peer.send(final(0), final(1), resumed(5000))
        await until_closed(peer, 2)

    server_does = Breaking(first, second)
    async with fake_server(server_does) as server, trunkline.connect(server.url, audio=AUDIO) as call:
        await call.send(SECOND)
        await call.close()
        events = [type(event) async for event in call]

    assert server_does.asked == [Resume("c", TOKEN, (1,))]
    assert bytes(server.peers[1].audio) == SECOND[5000:]
    assert events == [Final, Reconnecting, Final, Resumed, Closed]
    assert call.transcript.text(0) == "t0 t1"


async def test_acknowledged_audio_is_let_go_and_what_is_missing_after_all_becomes_silence() -> None:
    """Times must go on even where a server lost what it had acknowledged."""
    acked = asyncio.Event()

    async def first(peer: Peer) -> None:
        await accept(peer)
        await hear(peer, 8000)
        await peer.send(Ack(0.5))
        await acked.wait()

    async def second(peer: Peer) -> None:
        await peer.send(resumed(3000))
        await until_closed(peer)

    async with fake_server(Breaking(first, second)) as server, trunkline.connect(server.url, audio=AUDIO) as call:
        await call.send(SECOND)
        assert isinstance(await anext(call), Ack)
        acked.set()
        await call.close()

    assert bytes(server.peers[1].audio) == silence(992, AUDIO) + SECOND[3992:]


async def test_requests_without_an_answer_are_made_again_where_they_were() -> None:
    """A finalize that was lost with its connection would be waited for for ever."""

    async def first(peer: Peer) -> None:
        await accept(peer)
        await hear(peer, 8000)
        assert isinstance(await peer.receive(), messages.Finalize)

    async def second(peer: Peer) -> None:
        await peer.send(resumed(4000))
        await hear(peer, 4000)
        asked = await peer.receive()
        assert isinstance(asked, messages.Finalize)
        await peer.send(messages.Finalized(asked.id, None))
        await until_closed(peer)

    async with fake_server(Breaking(first, second)) as server, trunkline.connect(server.url, audio=AUDIO) as call:
        await call.send(SECOND)
        await call.finalize()
        await call.send(SECOND)

    assert bytes(server.peers[1].audio) == SECOND[4000:] + SECOND


async def test_a_server_that_stops_is_left_at_once() -> None:
    """The bridge behind this client need not know that its server was replaced."""

    async def first(peer: Peer) -> None:
        await accept(peer)
        await peer.send(GoAway(20.0))
        while await peer.receive() is not None:
            pass

    async def second(peer: Peer) -> None:
        await peer.send(resumed(0))
        await until_closed(peer)

    async with fake_server(Breaking(first, second)) as server, trunkline.connect(server.url, audio=AUDIO) as call:
        events = [await anext(call) for _ in range(3)]

    assert [type(event) for event in events] == [GoAway, Reconnecting, Resumed]
    assert len(server.peers) == 2


async def test_a_call_that_ended_meanwhile_is_told_to_its_end() -> None:
    """Its last finals are worth having."""

    async def second(peer: Peer) -> None:
        await peer.send(final(0), Closed("c", "disconnected", 1.0, 0.0, 1))

    async with fake_server(Breaking(accept, second)) as server, trunkline.connect(server.url, audio=AUDIO) as call:
        events = [type(event) async for event in call]

    assert events == [Reconnecting, Final, Closed]


@pytest.mark.parametrize("code", ["unknown_call", "taken_over"])
async def test_what_will_not_change_is_not_tried_again(code: str) -> None:
    """A call that is gone stays gone; the error says why."""

    async def second(peer: Peer) -> None:
        await peer.send(Error(code, "no such call", fatal=True))

    async with fake_server(Breaking(accept, second)) as server:
        with pytest.raises(trunkline.CallFailed, match=f"{code}: the call could not be resumed"):
            async with trunkline.connect(server.url, audio=AUDIO) as call:
                await call.finalize()
    assert len(server.peers) == 2


async def test_a_full_server_is_asked_again_when_it_said() -> None:
    """Whoever comes back all the time keeps it full."""

    async def second(peer: Peer) -> None:
        await peer.send(Error("overloaded", "later", fatal=True, retry_after_s=0.01))

    async def third(peer: Peer) -> None:
        await peer.send(resumed(0))
        await until_closed(peer)

    async with (
        fake_server(Breaking(accept, second, third)) as server,
        trunkline.connect(server.url, audio=AUDIO) as call,
    ):
        events = [await anext(call) for _ in range(3)]

    assert [type(event) for event in events] == [Reconnecting, Reconnecting, Resumed]
    assert isinstance(events[1], Reconnecting)
    assert events[1].wait_s >= 0.01
    assert "overloaded" in events[1].reason


async def test_a_call_that_cannot_be_resumed_in_time_is_given_up() -> None:
    """After that the server has closed it; the error says what the last try met."""

    async def first(peer: Peer) -> None:
        await accept(peer, resume_s=0.05)

    async def never(peer: Peer) -> None:
        await asyncio.sleep(0.02)
        peer.socket.transport.abort()

    async with fake_server(Breaking(first, *[never] * 50)) as server:
        with pytest.raises(trunkline.ConnectionLost, match=r"within 0\.05 s: the connection broke"):
            async with trunkline.connect(server.url, audio=AUDIO) as call:
                await call.finalize()


async def test_who_does_not_want_it_keeps_what_there_was() -> None:
    """A call that ends with its connection."""

    async def first(peer: Peer) -> None:
        start = await peer.accept()
        assert not start.resumable
        peer.socket.transport.abort()

    async with fake_server(first) as server:
        with pytest.raises(trunkline.ConnectionLost):
            async with trunkline.connect(server.url, audio=AUDIO, resume=False) as call:
                await call.finalize()


async def test_an_error_of_the_user_ends_the_call_rather_than_leaving_it_to_wait() -> None:
    """The server would keep it for a minute, for nobody."""
    said: list[object] = []

    async def first(peer: Peer) -> None:
        await accept(peer)
        while (message := await peer.receive()) is not None:
            said.append(message)

    async with fake_server(first) as server:
        with pytest.raises(KeyError):
            async with trunkline.connect(server.url, audio=AUDIO):
                raise KeyError("mine")
    assert said == [messages.Close()]


async def test_nothing_of_a_pause_leaves_this_machine() -> None:
    """A card number that was never sent cannot be found anywhere."""

    async def first(peer: Peer) -> None:
        await accept(peer)
        while not isinstance(message := await peer.receive(), messages.Close):
            if isinstance(message, messages.Pause):
                await peer.send(Paused(1.0))
            if isinstance(message, messages.Unpause):
                await peer.send(Unpaused(2.0))
        await peer.send(Closed("c", "hangup", 3.0, 0.0, 0))

    async with fake_server(first) as server, trunkline.connect(server.url, audio=AUDIO) as call:
        await call.send(SECOND)
        await call.pause()
        await call.send(SECOND)
        await call.unpause()
        await call.send(SECOND)

    assert bytes(server.peers[0].audio) == SECOND + silence(8000, AUDIO) + SECOND


def test_a_ring_keeps_what_is_not_acknowledged_and_no_more_than_its_bound() -> None:
    """Places count from the call's beginning, whatever was let go."""
    ring = Ring(AUDIO, 1.0)
    ring.append(SECOND)
    assert (ring.start, ring.end, ring.room) == (0, 8000, 0)
    ring.acknowledge(0.251)
    assert (ring.start, ring.room) == (2000, 2000)
    assert ring.read(2000, 2010) == SECOND[2000:2010]
    ring.release(1 << 30)
    assert (ring.start, ring.end) == (8000, 8000)
    assert ring.rewind(8000) == 0


def test_silence_is_that_of_the_encoding() -> None:
    """Zeros are the loudest there is in mu-law."""
    kinds = ("mulaw", "alaw", "linear16")
    assert [silence(1, trunkline.Audio(kind, 8000)) for kind in kinds] == [b"\xff", b"\xd5", b"\0"]


def test_waits_grow_and_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand clients of a server that died must not come back in one moment."""
    monkeypatch.setattr("trunkline.backoff.FIRST_S", 0.25)
    late, early = Backoff(lambda: 1.0), Backoff(lambda: 0.0)
    assert [late.next_s() for _ in range(7)] == [0.25, 0.5, 1.0, 2.0, 4.0, LONGEST_S, LONGEST_S]
    assert early.next_s(at_least_s=3.0) == 3.0


def test_who_is_refused_most_of_the_time_asks_less() -> None:
    """And asks again once that is long ago."""
    throttle = Throttle()
    assert not throttle.holds_back(0.0, 0.0)
    for _ in range(9):
        throttle.answered(taken=False, now=0.0)
    assert throttle.holds_back(0.89, 0.0)
    assert not throttle.holds_back(0.91, 0.0)
    assert not throttle.holds_back(0.5, 10 * FORGET_S)
    for _ in range(9):
        throttle.answered(taken=True, now=0.0)
    assert not throttle.holds_back(0.0, 0.0)
