"""The client for plain code, against a server in another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

import trunkline
from trunkline import sync
from trunkline.messages import Closed, Error, Final
from trunkline.testing import FakeServer, Peer

AUDIO = trunkline.Audio("mulaw", 8000, 2)


Serve = Callable[..., AbstractContextManager[FakeServer]]


def test_plain_code_reads_like_the_asynchronous_one(server_in_thread: Serve) -> None:
    """Scripts and notebooks should not have to learn asyncio to transcribe a call."""
    with server_in_thread() as server, sync.connect(server.url, audio=AUDIO, labels=["customer", "agent"]) as call:
        call.send(b"\xff" * 32_000)
        call.keepalive()
        call.finalize()
        assert call.transcript.text(1) == "one two"
        closed = call.close()
        events = list(call)

    assert call.ready.labels == ("customer", "agent")
    assert call.id == "made-up"
    assert call.closed == closed == Closed("made-up", "hangup", 2.0, 0.0, 2)
    assert sum(isinstance(event, Final) for event in events) == 2


def test_the_users_own_error_comes_through(server_in_thread: Serve) -> None:
    """A failure inside the block is the user's, and the thread behind the call must end all the same."""
    with server_in_thread() as server, pytest.raises(KeyError), sync.connect(server.url, audio=AUDIO):
        raise KeyError("mine")

    assert all(thread.name != "trunkline" for thread in threading.enumerate())


def test_a_failing_call_raises_in_plain_code(server_in_thread: Serve) -> None:
    """Errors cross the thread unchanged."""

    async def fail(peer: Peer) -> None:
        await peer.accept()
        await peer.send(Error("internal", "our fault", fatal=True))
        await peer.socket.close(1011)

    with server_in_thread(fail) as server, sync.connect(server.url, audio=AUDIO) as call:
        assert isinstance(next(call), Error)
        with pytest.raises(trunkline.CallFailed, match="internal"):
            next(call)


def test_a_refused_call_leaves_no_thread(server_in_thread: Serve) -> None:
    """Programs that try again must not collect threads."""

    async def decline(peer: Peer) -> None:
        await peer.send(Error("overloaded", "no room", fatal=True, retry_after_s=5.0))
        await peer.socket.close(1013)

    with (
        server_in_thread(decline) as server,
        pytest.raises(trunkline.Refused) as refused,
        sync.connect(server.url, audio=AUDIO),
    ):
        pass

    assert refused.value.retry_after_s == 5.0
    assert all(thread.name != "trunkline" for thread in threading.enumerate())
