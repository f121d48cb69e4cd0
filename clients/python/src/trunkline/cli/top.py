"""``trunkline top``: all calls and the load, as they change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live

from trunkline.board import board
from trunkline.cli.options import DEFAULT_URL, Key, Url
from trunkline.overview import CALLS, LOAD, Overview, feed
from trunkline.wire import Fields

REFRESH_S = 0.25
"""Seconds between two drawings."""


def top(*, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Watch calls and load: without a terminal once, on one until Ctrl-C."""
    asyncio.run(_top(url, key, Console(highlight=False)))


async def _top(url: str, key: str | None, console: Console) -> None:
    seen, told = Overview(), {CALLS: asyncio.Event(), LOAD: asyncio.Event()}

    async def follow(path: str, take: Callable[[Fields], None]) -> None:
        async with feed(url, path, key=key) as messages:
            async for message in messages:
                take(message)
                told[path].set()

    readers = {
        asyncio.create_task(follow(CALLS, seen.take_call), name="top-calls"),
        asyncio.create_task(follow(LOAD, seen.take_load), name="top-load"),
    }
    showing = asyncio.create_task(_show(seen, console, tuple(told.values())), name="top-show")
    try:
        done, _ = await asyncio.wait({showing, *readers}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in {showing, *readers}:
            task.cancel()
        await asyncio.gather(showing, *readers, return_exceptions=True)


async def _show(seen: Overview, console: Console, told: tuple[asyncio.Event, ...]) -> None:
    for feed_told in told:
        await feed_told.wait()
    if not console.is_terminal:
        await asyncio.sleep(REFRESH_S)  # the last minutes come first, all at once; what counts is the newest
        console.print(board(seen, now=time.time(), width=console.width, height=len(seen.calls) * 2 + 100))
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(board(seen, now=time.time(), width=console.width, height=console.height), refresh=True)
            await asyncio.sleep(REFRESH_S)
