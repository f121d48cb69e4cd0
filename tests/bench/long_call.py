"""Whether a long call stays as fast as a short one, and memory flat.

`python -m tests.bench.long_call --minutes 20` holds one two-sided call, its sides speaking in turn, and reports every
minute of it: latencies, word errors, processor time and memory of the server and its devices. Minutes hold different
utterances, few of each, so the call's beginning and end are compared by those that both hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Annotated, Final

import typer
import uvloop
from rich.console import Console

from tests.bench.playing import Heard, play
from tests.bench.report import FOLDER, ms, publish, report
from tests.bench.running import NotReady, Server, Usage, running_server, usage, usage_row
from tests.bench.scoring import Value, WordErrors, percentiles, total
from tests.bench.script import Script, pool, script
from tests.bench.turns import turn_errors
from trunkline.timing import CallTiming

MINUTE_S: Final = 60.0
SIDES: Final = 2
EARLY: Final = 1
"""The minute with which the last is compared; the first one warms up."""
COMPARED: Final = 5
"""Most minutes at either end whose common utterances are compared: what is said comes again after three."""


def minutes_of(said: Script, minutes: int) -> list[list[int]]:
    """Return which turns end in which minute."""
    found: list[list[int]] = [[] for _ in range(minutes)]
    for number, turn in enumerate(said.turns):
        if turn.end_s < minutes * MINUTE_S:
            found[int(turn.end_s // MINUTE_S)].append(number)
    return found


async def hold(
    server: Server, said: Script, timings: Sequence[CallTiming], console: Console
) -> tuple[Heard, list[Usage]]:
    """Hold the call, and look at the server every minute."""
    async with asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(play(server.url, said.recording, timings), name="call")
        looks = [await asyncio.to_thread(usage, server.pid)]
        for timing in timings:
            await asyncio.wait((playing,), timeout=MINUTE_S)
            looks.append(await asyncio.to_thread(usage, server.pid))
            final = percentiles(timing.latencies().final_s)
            console.print(
                f"minute {len(looks) - 1} of {len(timings)}: final p50 {final.p50:.2f} s, "
                f"server {looks[-1].server_rss_mib:.1f} MiB, devices {looks[-1].devices_rss_mib:.1f} MiB",
                highlight=False,
            )
    return playing.result(), looks


def row(minute: int, timing: CallTiming, errors: Sequence[WordErrors], looks: tuple[Usage, Usage]) -> dict[str, Value]:
    """Return one minute as a row of the report."""
    latencies = timing.latencies()
    cells: dict[str, Value] = {"minute": minute, "turns": latencies.turns, "unfinished": latencies.unfinished}
    cells |= ms(percentiles(latencies.final_s), "final")
    cells["first_p95_ms"] = ms(percentiles(latencies.first_partial_s), "first")["first_p95_ms"]
    cells["wer"] = round(100 * total(errors).rate, 2)
    before, after = looks
    cells |= usage_row(before, after, SIDES * (after.at - before.at))
    return cells | {"server_mib": round(after.server_rss_mib, 1), "devices_mib": round(after.devices_rss_mib, 1)}


def slower_by(said: Script, places: Sequence[Sequence[int]], timings: Sequence[CallTiming]) -> dict[str, Value]:
    """Compare the latencies of the same utterances in the minutes after the first and in the last ones."""
    width = max(1, min(COMPARED, (len(places) - EARLY) // 2))
    early, late = range(EARLY, EARLY + width), range(len(places) - width, len(places))
    found: dict[int, tuple[list[float], list[float]]] = {}
    for minutes, side in ((early, 0), (late, 1)):
        for minute in minutes:
            for number, latencies in zip(places[minute], timings[minute].of_turns(), strict=True):
                found.setdefault(said.spoken[number], ([], []))[side].extend(latencies.final_s)
    both = [(mean(before), mean(after)) for before, after in found.values() if before and after]
    name = f"end of speech to final of {len(both)} utterances, ms, minutes {early[0] + 1} to {early[-1] + 1} and "
    name += f"{late[0] + 1} to {late[-1] + 1}"
    if not both:
        return {name: "none is in both"}
    before_s, after_s = (mean(pair[side] for pair in both) for side in (0, 1))
    return {name: f"{1000 * before_s:.0f} and {1000 * after_s:.0f} ({100 * (after_s / before_s - 1):+.1f} %)"}


def summary_of(rows: Sequence[Mapping[str, Value]], failure: str) -> dict[str, Value]:
    """Return what the targets are about: the second minute against the last."""
    early, last = rows[min(EARLY, len(rows) - 1)], rows[-1]
    latency, processor, memory = ("final_p50_ms", "final_p95_ms"), "cpu_s_per_audio_s", ("server_mib", "devices_mib")
    names = (*latency, f"server_{processor}", f"devices_{processor}", *memory)
    found: dict[str, Value] = {
        f"{name}, minute {early['minute']} and {last['minute']}": f"{early[name]} and {last[name]}" for name in names
    }
    return found | {"call": failure or "ended well"}


def main(
    *,
    minutes: Annotated[int, typer.Option(min=1, help="Length of the call.")] = 20,
    setting: Annotated[list[str] | None, typer.Option(help="Setting of the server, as NAME=VALUE.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Document whose section is renewed.")] = None,
) -> None:
    """Hold one long call."""
    console = Console()
    utterances, source = pool()
    said = script(utterances, first=0, seconds=minutes * MINUTE_S, sides=SIDES)
    places = minutes_of(said, minutes)
    timings = [CallTiming([said.turns[number] for number in numbers]) for numbers in places]
    try:
        with running_server(console, FOLDER / "long_call.log", setting or ()) as server:
            heard, looks = uvloop.run(hold(server, said, timings, console))
    except NotReady as problem:
        console.print(str(problem), style="red", markup=False)
        raise typer.Exit(2) from problem
    errors = turn_errors(said.turns, heard)
    rows = [
        row(minute + 1, timings[minute], [errors[number] for number in numbers], (looks[minute], looks[minute + 1]))
        for minute, numbers in enumerate(places)
    ]
    found = report(
        "long-call",
        {"minutes": minutes, "setting": " ".join(setting or ())},
        slower_by(said, places, timings) | summary_of(rows, heard.failure),
        rows,
    )
    console.print(f"speech: {source}")
    console.print(f"written to {publish(found, f'one call of {minutes} minutes', console, markdown)}")
    if heard.failure:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
