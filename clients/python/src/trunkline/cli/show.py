"""Events of one call on standard output."""

from __future__ import annotations

from rich.console import Console

from trunkline.messages import dump
from trunkline.screen import CallScreen
from trunkline.stream import EventStream


async def show(events: EventStream, labels: tuple[str, ...], console: Console, *, as_json: bool) -> None:
    """Show events until the call ends.

    Args:
        events: A call, or one that is watched.
        labels: Names of the sides.
        console: Where to show them.
        as_json: Whether to write each as a line of JSON.

    Raises:
        TrunklineError: If the call does not end well.
    """
    if as_json:
        async for event in events:
            console.file.write(dump(event) + "\n")
            console.file.flush()
        return
    with CallScreen(console, labels) as screen:
        async for event in events:
            screen.show(event)
