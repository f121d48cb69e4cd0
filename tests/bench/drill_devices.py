"""The drill's first half: one server with two devices, one slowed, one killed, and calls that are too many."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.bench.diary import Diary, Happening, Page, call, watch
from tests.bench.script import Script
from tests.support.servers import ServerProcess, kill

BURST_S: Final = 0.7
"""Length of a stop, and of the pause behind it: shorter than the silence for which a device is held."""
SETTLES_S: Final = 2.0
"""Seconds that are watched after the last call."""
BACK_S: Final = 60.0
"""Further seconds, while the rung is not back: on a machine that has more to do it takes longer until all is calm."""

Talk = Callable[[int, float], Script]
"""Makes what is said in a call, by its number and the seconds it is to last at least."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Calls that are too many."""

    from_s: float
    to_s: float
    every_s: float
    """Between the beginnings of two."""
    last_s: float
    """Length of each."""


@dataclass(frozen=True, slots=True)
class Load:
    """Who calls."""

    calls: int
    """From the beginning to the end, a second apart."""
    crowd: Crowd
    ends_s: float
    """Seconds from the beginning; long enough behind the crowd for the rung to come back."""


@dataclass(frozen=True, slots=True)
class DevicesPlan:
    """When what is done; in seconds from the beginning."""

    load: Load
    slowed_s: tuple[float, float]
    """When the first device is stopped in bursts."""
    killed_s: float
    """When the second is killed."""


async def hurt_devices(server: ServerProcess, talk: Talk, plan: DevicesPlan) -> Diary:
    """Do it all to a standalone server with two devices, and return what was seen."""
    diary = Diary()
    async with asyncio.TaskGroup() as tasks:
        page = Page("server", server.metrics_url)
        watching = tasks.create_task(watch(diary, lambda: [page]), name="drill-watch")
        slow, victim = await asyncio.to_thread(server.device_pids)
        doing = [
            tasks.create_task(stop_in_bursts(diary, slow, plan.slowed_s), name="drill-slow"),
            tasks.create_task(_kill(diary, victim, plan.killed_s), name="drill-kill"),
            tasks.create_task(play_all(server.url, diary, talk, plan.load), name="drill-play"),
        ]
        await asyncio.wait(doing)
        await asyncio.sleep(SETTLES_S)
        until_s = diary.now + BACK_S
        while max(diary.last_rungs(), default=1) > 0 and diary.now < until_s:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.5)
        watching.cancel()
    return diary


async def play_all(url: str, diary: Diary, talk: Talk, load: Load) -> None:
    """Play the calls that stay, and the crowd."""
    crowd = load.crowd
    diary.happenings.append(Happening("calls that are too many", crowd.from_s, crowd.to_s))
    async with asyncio.TaskGroup() as tasks:
        for number in range(load.calls):
            script = talk(3 * number, load.ends_s - number)
            tasks.create_task(call(url, script, diary, float(number)), name="drill-call")
        at_s, number = crowd.from_s, load.calls
        while at_s < crowd.to_s:
            tasks.create_task(call(url, talk(5 * number, crowd.last_s), diary, at_s), name="drill-crowd")
            at_s, number = at_s + crowd.every_s, number + 1


async def stop_in_bursts(diary: Diary, pid: int, span_s: tuple[float, float]) -> None:
    """Stop a process half of the time, in bursts."""
    begin_s, end_s = span_s
    diary.happenings.append(Happening("a device stopped in bursts", begin_s, end_s))
    await diary.until(begin_s)
    with contextlib.suppress(ProcessLookupError):  # it may be ended meanwhile, for being silent
        try:
            while diary.now < end_s:
                for number in (signal.SIGSTOP, signal.SIGCONT):
                    kill(pid, number)
                    await asyncio.sleep(BURST_S)
        finally:
            kill(pid, signal.SIGCONT)


async def _kill(diary: Diary, pid: int, at_s: float) -> None:
    diary.happenings.append(Happening("a device killed", at_s, at_s))
    await diary.until(at_s)
    kill(pid, signal.SIGKILL)
