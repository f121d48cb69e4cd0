"""What several tests of the client share."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager

import pytest
from blockbuster import blockbuster_ctx

from trunkline.errors import Refused
from trunkline.testing import Behaviour, FakeServer, fake_server, polite


@pytest.fixture(autouse=True)
def blocking_the_event_loop_fails_the_test(request: pytest.FixtureRequest) -> Generator[None]:
    """A client that blocks the loop stops everything else its user does: file reads, sleeps and waits in it raise."""
    if isinstance(request.node, pytest.Function) and inspect.iscoroutinefunction(request.node.obj):
        with blockbuster_ctx(["trunkline"]):
            yield
    else:
        yield


@contextmanager
def _in_thread(behave: Behaviour = polite, refusal: Refused | None = None) -> Generator[FakeServer]:
    loop = asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()
    fakes: list[FakeServer] = []

    async def serve() -> None:
        async with fake_server(behave, refusal=refusal) as fake:
            fakes.append(fake)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait()
    try:
        yield fakes[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.fixture
def server_in_thread() -> Callable[..., AbstractContextManager[FakeServer]]:
    """Makes fake servers for tests that have no event loop of their own."""
    return _in_thread
