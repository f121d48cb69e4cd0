"""Waiting for a cluster: as long as it takes, unless told to stop; not at all where it says no."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, MutableMapping

import pytest
import structlog.testing

from server.cluster_log import reached, unless
from server.errors import BadSetting
from streaming.errors import LogError, LogMisconfigured, LogRefused, LogUnavailable
from tests.support.virtual_time import run_virtually


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, object]]]:
    """What is logged; nothing is printed."""
    with structlog.testing.capture_logs() as entries:
        yield entries


def test_a_cluster_that_is_away_is_waited_for_and_it_says_so_each_time(
    logged: list[MutableMapping[str, object]],
) -> None:
    """Brokers and gateways are started together; which comes first must not matter."""

    async def story(clock: Callable[[], float]) -> None:
        async def connect() -> str:
            if clock() < 60.0:
                raise LogUnavailable("no broker answers")
            return "connected"

        assert await reached(connect, "outlet", outlet="crm") == "connected"
        assert clock() == 60.0

    run_virtually(story)
    assert {(entry["event"], entry["outlet"]) for entry in logged} == {("outlet.unavailable", "crm")}
    assert len(logged) == 30


def test_a_cluster_that_refuses_is_asked_less_and_less_often(logged: list[MutableMapping[str, object]]) -> None:
    """Somebody may be giving the right at this moment; and a thousand wrong logins a second help nobody."""
    noted: list[str] = []

    async def story(clock: Callable[[], float]) -> None:
        async def connect() -> float:
            if clock() < 100.0:
                raise LogRefused("no right to read")
            return clock()

        assert await reached(connect, "log", note=lambda problem: noted.append(str(problem))) == 120.0

    run_virtually(story)
    assert [entry["retry_s"] for entry in logged] == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert {entry["event"] for entry in logged} == {"log.refused"}
    assert noted == ["no right to read"] * 7


def test_a_failure_that_nobody_foresaw_is_waited_out_too(logged: list[MutableMapping[str, object]]) -> None:
    """An outlet that opens late must not end the calls of the gateway that it belongs to."""

    async def story(clock: Callable[[], float]) -> None:
        async def connect() -> float:
            if clock() < 5.0:
                raise LogError("joining the group: Kafka failed")
            return clock()

        assert await reached(connect, "outlet") == 6.0

    run_virtually(story)
    assert [entry["event"] for entry in logged] == ["outlet.refused", "outlet.refused"]


def test_settings_that_do_not_fit_the_cluster_are_told_at_once() -> None:
    """The process ends with the code for it, and the one line that helps."""

    async def story(_: Callable[[], float]) -> None:
        async def connect() -> None:
            raise LogMisconfigured("another number of slots")

        with pytest.raises(BadSetting, match="another number of slots"):
            await reached(connect, "log")

    run_virtually(story)


def test_a_process_that_is_stopped_while_it_waits_stops_at_once() -> None:
    """An orchestrator that gives up on a start must not have to kill."""

    async def story(clock: Callable[[], float]) -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(3.5, stop.set)

        async def connect() -> str:
            await asyncio.sleep(1e6)
            return "too late"

        assert await unless(stop, connect()) is None
        assert clock() == 3.5

    run_virtually(story)


def test_what_is_there_before_the_stop_is_used() -> None:
    async def story(_: Callable[[], float]) -> None:
        async def connect() -> str:
            return "connected"

        assert await unless(asyncio.Event(), connect()) == "connected"

    run_virtually(story)
