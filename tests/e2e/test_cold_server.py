"""A server whose first call comes in the moment it is ready: it knows by then what it can carry."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.support.models import model_folder
from tests.support.servers import ServerProcess, serving
from trunkline import Audio, Refused, connect

pytestmark = pytest.mark.e2e

MANY: Final = 64
"""More than two processor cores carry."""

OVERLOADED: Final = 503


@pytest.fixture
def cold(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that nobody has called yet."""
    model_folder("tiny.en")
    with serving(log=tmp_path / "server.log") as server:
        yield server


async def test_a_cold_server_takes_what_it_can_carry_at_once_and_tells_the_others_when_to_come_back(
    cold: ServerProcess,
) -> None:
    """Its devices timed the real model before it was ready; nobody has to find out by losing words."""
    room = int(await asyncio.to_thread(cold.metric, "trunkline_room_calls "))
    taken, refused = 0, list[Refused]()
    async with AsyncExitStack() as calls:
        while taken < MANY and not refused:
            try:
                await calls.enter_async_context(connect(cold.url, audio=Audio("mulaw", 8000)))
                taken += 1
            except Refused as problem:
                refused.append(problem)
    print(f"{taken} calls were taken at once, {room} had been announced")  # noqa: T201 - a measurement

    assert taken == room >= 1
    [last] = refused
    assert last.status == OVERLOADED
    assert last.retry_after_s is not None
    assert 5 <= last.retry_after_s <= 10
