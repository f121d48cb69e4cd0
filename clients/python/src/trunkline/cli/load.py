"""``trunkline load``: many two-sided calls at once, and how fast they are understood."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trunkline.audio import read_file
from trunkline.cli.options import DEFAULT_URL, AsJson, Key, Url
from trunkline.demo import seconds
from trunkline.load import TOO_LATE_S, Load, Tally, report, run_load
from trunkline.reference import read_reference
from trunkline.timing import spread

TERMINAL_S: Final = 0.5
"""Seconds between looks at the progress on a terminal."""
PLAIN_S: Final = 10.0
"""Seconds between lines of progress without one."""


class FramingName(StrEnum):
    """Wire formats."""

    NATIVE = "native"
    DEEPGRAM = "deepgram"
    TWILIO = "twilio"


def load(
    file: Annotated[Path, typer.Argument(help="Recording of both sides, such as a stereo WAV.")],
    *,
    url: Url = DEFAULT_URL,
    key: Key = None,
    calls: Annotated[int, typer.Option("--calls", "-n", help="Calls at once.", min=1)] = 1,
    framing: Annotated[FramingName, typer.Option(help="Wire format.")] = FramingName.NATIVE,
    ramp: Annotated[float, typer.Option(help="Seconds over which the calls begin.", min=0.0)] = 10.0,
    duration: Annotated[
        float | None, typer.Option(help="Seconds of each call; the recording's if absent.", min=0.1, show_default=False)
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="JSON with the recording's turns; else the server says when speech is.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make many two-sided calls at once, in real time, and report how fast their words came."""
    recording = read_file(file)
    known = None if reference is None else read_reference(reference)
    labels = known.labels if known is not None else ()
    if len(labels) != recording.audio.channels:
        labels = tuple(f"channel {number}" for number in range(recording.audio.channels))
    plan = Load(calls, framing.value, recording, known, labels, ramp if calls > 1 else 0.0, duration)
    console = Console(stderr=as_json, highlight=False)
    tally = asyncio.run(_run(plan, url, key, console))
    if as_json:
        typer.echo(json.dumps(report(plan, tally)))
    else:
        console.print(_results(tally))
    if tally.refused is not None and not tally.done:
        raise tally.refused
    raise typer.Exit(1 if tally.failed else 0)


async def _run(plan: Load, url: str, key: str | None, console: Console) -> Tally:
    latest = [Tally(waiting=plan.calls)]

    def note(tally: Tally) -> None:
        latest[0] = tally

    async with _progress(latest, console):
        return await run_load(plan, url, key, note)


@contextlib.asynccontextmanager
async def _progress(latest: list[Tally], console: Console) -> AsyncGenerator[None]:
    """Show the progress while the context lasts."""
    task = asyncio.create_task(_show_progress(latest, console), name="progress")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _show_progress(latest: list[Tally], console: Console) -> None:
    began = time.monotonic()
    if not console.is_terminal:
        while True:
            await asyncio.sleep(PLAIN_S)
            console.print(_line(latest[0], time.monotonic() - began))
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            state = Group(Text(_line(latest[0], time.monotonic() - began)), _results(latest[0]))
            live.update(state, refresh=True)
            await asyncio.sleep(TERMINAL_S)


def _line(tally: Tally, elapsed_s: float) -> str:
    return (
        f"{elapsed_s:5.0f} s: {tally.waiting} waiting, {tally.talking} talking, "
        f"{tally.done} done, {tally.failed} failed"
    )


def _results(tally: Tally) -> Group:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("", "p50", "p95", "p99", "most", "count"):
        table.add_column(column, justify="left" if not column else "right")
    latencies = tally.latencies
    for name, values in (
        ("first partial", latencies.first_partial_s),
        ("end of speech to final", latencies.final_s),
        ("connection set-up", tally.setups_s),
    ):
        table.add_row(name, *_cells(values))
    return Group(table, *map(Text, _remarks(tally)))


def _cells(values: Iterable[float]) -> list[str]:
    found = spread(values)
    return [*map(seconds, (found.p50, found.p95, found.p99, found.most)), str(found.count)]


def _remarks(tally: Tally) -> list[str]:
    latencies = tally.latencies
    remarks = [f"calls: {tally.done} done, {tally.failed} failed"]
    remarks += [f"  {code}: {count}" for code, count in tally.errors.most_common()]
    if latencies.turns:
        remarks.append(
            f"turns: {latencies.turns}, without text {latencies.unheard}, without final {latencies.unfinished}"
        )
    if tally.late_s > TOO_LATE_S:
        remarks.append(f"this machine sent audio up to {tally.late_s:.2f} s late: it is too slow for so many calls")
    return remarks
