"""The client for plain code, against a server in another thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest

import trunkline
from trunkline import sync
from trunkline.messages import Closed, Error, Final
from trunkline.testing import Behaviour, Peer, fake_server, polite

AUDIO = trunkline.Audio("mulaw", 8000, 2)


@contextmanager
def server(behave: Behaviour = polite) -> Generator[str]:
    """A fake server in a thread of its own; gives its address."""
    started = threading.Event()
    urls: list[str] = []
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with fake_server(behave) as fake:
            urls.append(fake.url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait()
    try:
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def test_plain_code_reads_like_the_asynchronous_one() -> None:
    """Scripts and notebooks should not have to learn asyncio to transcribe a call."""
    with server() as url, sync.connect(url, audio=AUDIO, labels=["customer", "agent"]) as call:
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


def test_the_users_own_error_comes_through() -> None:
    """A failure inside the block is the user's, and the thread behind the call must end all the same."""
    with server() as url, pytest.raises(KeyError), sync.connect(url, audio=AUDIO):
        raise KeyError("mine")

    assert all(thread.name != "trunkline" for thread in threading.enumerate())


def test_a_failing_call_raises_in_plain_code() -> None:
    """Errors cross the thread unchanged."""

    async def fail(peer: Peer) -> None:
        await peer.accept()
        await peer.send(Error("internal", "our fault", fatal=True))
        await peer.socket.close(1011)

    with server(fail) as url, sync.connect(url, audio=AUDIO) as call:
        assert isinstance(next(call), Error)
        with pytest.raises(trunkline.CallFailed, match="internal"):
            next(call)


def test_a_refused_call_leaves_no_thread() -> None:
    """Programs that try again must not collect threads."""

    async def decline(peer: Peer) -> None:
        await peer.send(Error("overloaded", "no room", fatal=True, retry_after_s=5.0))
        await peer.socket.close(1013)

    with server(decline) as url, pytest.raises(trunkline.Refused) as refused, sync.connect(url, audio=AUDIO):
        pass

    assert refused.value.retry_after_s == 5.0
    assert all(thread.name != "trunkline" for thread in threading.enumerate())
