"""Waiting for a cluster: as long as it takes, unless told to stop; not at all where it says no."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, MutableMapping

import pytest
import structlog.testing

from server.cluster_log import check_connection, log_settings, reached, unless
from server.errors import BadSetting
from server.settings import Kafka
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


def test_a_part_that_does_not_fit_the_cluster_says_so_as_an_error_and_is_tried_again(
    logged: list[MutableMapping[str, object]],
) -> None:
    """Calls are served without it, so it must not end them; a topic can be made while we wait."""

    async def story(clock: Callable[[], float]) -> None:
        async def connect() -> float:
            if clock() < 60.0:
                raise LogMisconfigured("the topic does not exist")
            return clock()

        assert await reached(connect, "outlet", outlet="crm") == 60.0

    run_virtually(story)
    assert [entry["retry_s"] for entry in logged] == [2.0, 4.0, 8.0, 16.0, 30.0]
    assert {(entry["event"], entry["log_level"]) for entry in logged} == {("outlet.misconfigured", "error")}


def test_whoever_is_told_of_a_failure_may_end_the_asking() -> None:
    """Before anything is served, a process that waits would hide what a person has to change."""

    async def story(clock: Callable[[], float]) -> None:
        async def connect() -> None:
            raise LogMisconfigured("another number of slots")

        def note(problem: LogError) -> None:
            raise BadSetting(str(problem)) from problem

        with pytest.raises(BadSetting, match="another number of slots"):
            await reached(connect, "log", note=note)
        assert clock() == 0.0

    run_virtually(story)


async def test_a_certificate_that_cannot_be_used_is_found_without_a_broker() -> None:
    """A public topic is opened while calls are served; what is wrong on this machine is said before."""
    settings = log_settings(Kafka(bootstrap="127.0.0.1:1", tls=True, ca_file="no-such-file.pem"))

    with pytest.raises(BadSetting, match=r"no-such-file\.pem"):
        await check_connection(settings)


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
