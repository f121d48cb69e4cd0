"""``trunkline watch``: a call that somebody else makes."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from trunkline import watch as watching
from trunkline.cli.options import DEFAULT_URL, AsJson, Key, Url
from trunkline.cli.show import show


def watch(
    call: Annotated[str, typer.Argument(help="Id of the call.")],
    *,
    url: Url = DEFAULT_URL,
    key: Key = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the call to begin.", min=0.0)] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Watch a call: what was said so far, then everything as it is said."""
    asyncio.run(_watch(url, call, key, wait, as_json=as_json))


async def _watch(url: str, call: str, key: str | None, wait_s: float, *, as_json: bool) -> None:
    async with watching(url, call, key=key, wait_s=wait_s) as watched:
        await show(watched, (), Console(highlight=False), as_json=as_json)
