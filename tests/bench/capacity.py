"""How many channels a real server on this machine carries, and what each costs.

`python -m tests.bench.capacity` adds channels step by step, every step with calls of its own that begin spread over
its first seconds, until the p95 of end of speech to final passes a limit, words are lost, or a call fails. What is
said is the same at every step: utterances of the pool, one after another, each channel from another place. The first
step plays all of it to a single channel, so that every later one has word errors to be compared with; they count as
risen only if chance does not explain it. The load generator shares the machine; its part is measured and reported, and
so is that of whatever else was running. `--more` goes on with an earlier run's report and its first step, so that a
machine need not be quiet for all of it at once.

`--mode calls` counts two-sided calls, each side silent while the other speaks.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import astuple, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer
import uvloop
from rich.console import Console

from tests.bench.playing import Heard, play
from tests.bench.report import FOLDER, ms, publish, report
from tests.bench.running import NotReady, Server, Usage, running_server, usage, usage_row
from tests.bench.scoring import Value, WordErrors, machine, percentiles, total
from tests.bench.script import Script, Utterance, pool, script
from tests.bench.turns import turn_errors
from trunkline.timing import CallTiming, Latencies, Turn

CHANNELS: Final = (1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32)
CALLS: Final = (1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20)
STAGGER_S: Final = 6.0
"""Seconds over which a step's calls begin."""
LATE_S: Final = 0.1
"""How late the generator may send before it is the bottleneck itself, in seconds."""
SURE: Final = 1.645
"""Standard errors that a rise must lie above the limit, before it counts: 5 % of steps that are good fail by chance."""
OTHERS: Final = 0.15
"""Cores that others may use before a result is doubtful."""


class Mode(StrEnum):
    """What is added."""

    SPEECH = "speech"
    """Channels on which somebody speaks all the time."""
    CALLS = "calls"
    """Calls of two sides that speak in turn."""

    @property
    def sides(self) -> int:
        """Channels of one call."""
        return 1 if self is Mode.SPEECH else 2


@dataclass(frozen=True, slots=True)
class Plan:
    """How each step is measured."""

    mode: Mode
    hold_s: float
    """Length of a step."""
    warm_up_s: float
    """Its beginning, which does not count."""
    limit_s: float
    """Most that p95 of end of speech to final may be."""
    limit_points: float
    """Most points by which word errors may rise over those of one channel."""


@dataclass(frozen=True, slots=True)
class Part:
    """One call of a step."""

    script: Script
    begin_s: float
    """After the step's beginning."""
    counted: tuple[Turn, ...]
    """Turns that lie in the measured part."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of a step."""

    calls: int
    parts: tuple[Part, ...]
    heard: tuple[Heard, ...]
    latencies: Latencies
    before: Usage
    after: Usage

    def errors(self) -> list[tuple[int, WordErrors]]:
        """Word errors of every turn, each with its place in the pool."""
        found: list[tuple[int, WordErrors]] = []
        for part, heard in zip(self.parts, self.heard, strict=True):
            found += zip(part.script.spoken, turn_errors(part.script.turns, heard), strict=True)
        return found


def parts_of(said: Sequence[Utterance], calls: int, plan: Plan, hold_s: float) -> list[Part]:
    """Return the calls of a step, spread in time and over the pool."""
    parts: list[Part] = []
    for number in range(calls):
        begin_s = STAGGER_S * number / calls
        first = number * len(said) // calls
        mine = script(said, first=first, seconds=hold_s - begin_s, sides=plan.mode.sides)
        counted = tuple(
            turn for turn in mine.turns if turn.start_s + begin_s >= plan.warm_up_s and turn.end_s + begin_s <= hold_s
        )
        parts.append(Part(mine, begin_s, counted))
    return parts


async def measure(server: Server, said: Sequence[Utterance], calls: int, plan: Plan, hold_s: float) -> Measured:
    """Hold so many calls for a step."""
    parts = parts_of(said, calls, plan, hold_s)
    timings = [CallTiming(part.counted) for part in parts]

    async def one(part: Part, timing: CallTiming) -> Heard:
        await asyncio.sleep(part.begin_s)
        return await play(server.url, part.script.recording, [timing])

    async with asyncio.TaskGroup() as tasks:
        playing = [tasks.create_task(one(*pair), name="call") for pair in zip(parts, timings, strict=True)]
        await asyncio.sleep(plan.warm_up_s)
        before = await asyncio.to_thread(usage, server.pid)
        await asyncio.sleep(hold_s - plan.warm_up_s)
        after = await asyncio.to_thread(usage, server.pid)
    latencies = sum((timing.latencies() for timing in timings), Latencies())
    return Measured(calls, tuple(parts), tuple(task.result() for task in playing), latencies, before, after)


def quiet_errors(measured: Measured) -> dict[int, WordErrors]:
    """Return the word errors of each utterance of the pool in a step; of one heard several times, the mean counts."""
    found: defaultdict[int, list[WordErrors]] = defaultdict(list)
    for spoken, errors in measured.errors():
        found[spoken].append(errors)
    return {spoken: total(errors) for spoken, errors in found.items()}


@dataclass(frozen=True, slots=True)
class Rise:
    """By how many points word errors exceed those of the same utterances in the first step."""

    points: float = 0.0
    least: float = 0.0
    """What it is at least, but for chance: a few turns cannot tell."""


def rise(errors: Sequence[tuple[int, WordErrors]], alone: Mapping[int, WordErrors]) -> Rise:
    """Compare the turns of a step with the same utterances in the first one.

    Args:
        errors: Of every turn, each with its place in the pool.
        alone: Word errors in the first step, by place in the pool.
    """
    common = [(found, alone[spoken]) for spoken, found in errors if spoken in alone]
    words = max(sum(found.words for found, _ in common), 1)
    more = [(found.errors - quiet.rate * found.words, found.words) for found, quiet in common]
    mean = sum(errors for errors, _ in more) / words
    off = math.sqrt(sum((errors - mean * said) ** 2 for errors, said in more)) / words
    return Rise(100 * mean, 100 * (mean - SURE * off))


def row(measured: Measured, alone: Mapping[int, WordErrors], plan: Plan) -> dict[str, Value]:
    """Return a step as a row of the report."""
    sides = plan.mode.sides
    audio_s = measured.calls * sides * (measured.after.at - measured.before.at)
    errors = measured.errors()
    cells: dict[str, Value] = {"channels" if sides == 1 else "calls": measured.calls}
    cells |= ms(percentiles(measured.latencies.final_s), "final")
    cells["first_p95_ms"] = ms(percentiles(measured.latencies.first_partial_s), "first")["first_p95_ms"]
    gaps = percentiles(gap for heard in measured.heard for gap in heard.partial_gaps())
    cells["partials_every_s"] = round(gaps.p50, 2)
    cells["turns"] = measured.latencies.turns
    cells["unfinished"] = measured.latencies.unfinished
    cells["wer"] = round(100 * total(found for _, found in errors).rate, 2)
    risen = rise(errors, alone)
    cells |= {"wer_rise": round(risen.points, 2), "wer_rise_least": round(risen.least, 2)}
    cells |= usage_row(measured.before, measured.after, audio_s)
    cells["late_ms"] = round(1000 * max(heard.late_s for heard in measured.heard))
    cells["failed"] = sum(bool(heard.failure) for heard in measured.heard)
    cells["verdict"] = verdict(cells, percentiles(measured.latencies.final_s).p95, plan)
    return cells


def verdict(cells: Mapping[str, Value], p95_s: float, plan: Plan) -> str:
    """Say what is wrong with a step, or ``good``."""
    late_ms, rise_points = cells["late_ms"], cells["wer_rise_least"]
    assert isinstance(late_ms, int)
    assert isinstance(rise_points, float)
    if cells["failed"]:
        return "calls failed"
    if not p95_s <= plan.limit_s:  # no measurement at all is no good step
        return f"p95 over {plan.limit_s:g} s"
    if rise_points >= plan.limit_points:
        return f"WER up {plan.limit_points:g} points"
    if late_ms > 1000 * LATE_S:
        return "generator late"
    return "good"


@dataclass(slots=True)
class Climb:
    """What was measured so far."""

    rows: list[dict[str, Value]]
    alone: dict[int, WordErrors]
    """Word errors of each utterance in the first step; empty before it."""

    def write(self, file: Path) -> None:
        """Keep it for ``--more``."""
        alone = {spoken: astuple(errors) for spoken, errors in self.alone.items()}
        file.write_text(json.dumps({"commit": machine()["commit"], "rows": self.rows, "alone": alone}, indent=1))

    @classmethod
    def read(cls, file: Path) -> Climb:
        """Read what an earlier run kept.

        Raises:
            ValueError: If there was none, or it measured other code.
        """
        if not file.is_file():
            raise ValueError(f"{file} is not there: run the first steps without --more")
        kept = cast(dict[str, Any], json.loads(file.read_text()))
        if kept["commit"] != (now := machine()["commit"]):
            raise ValueError(f"{file} was measured at commit {kept['commit']}, this is {now}: begin anew")
        return cls(kept["rows"], {int(spoken): WordErrors(*errors) for spoken, errors in kept["alone"].items()})


async def climb(
    server: Server, said: Sequence[Utterance], steps: Sequence[int], plan: Plan, so_far: Climb
) -> AsyncGenerator[str]:
    """Add calls until two tries of a step in a row are no good, and tell of each."""
    for calls in steps:
        for _ in range(2):
            whole_pool_s = sum(each.seconds for each in said) + len(said)
            hold_s = plan.hold_s if so_far.alone else max(plan.hold_s, plan.warm_up_s + whole_pool_s)
            measured = await measure(server, said, calls, plan, hold_s)
            if not (so_far.alone or any(heard.failure for heard in measured.heard)):
                so_far.alone = quiet_errors(measured)
            so_far.rows.append(row(measured, so_far.alone, plan))
            yield told(so_far.rows[-1])
            if so_far.rows[-1]["verdict"] == "good":
                break
        else:
            return


async def tell(console: Console, steps: AsyncGenerator[str]) -> None:
    """Print each step as it is done."""
    async with aclosing(steps):
        async for line in steps:
            console.print(line, highlight=False)


def told(cells: Mapping[str, Value]) -> str:
    """Say a step in one line."""
    count, calls = next(iter(cells.items()))
    return (
        f"{calls:>3} {count}: final p50 {cells['final_p50_ms']} p95 {cells['final_p95_ms']} ms, WER {cells['wer']} "
        f"({cells['wer_rise']:+}, at least {cells['wer_rise_least']:+}), CPU {cells['server_cores']} + "
        f"{cells['devices_cores']} cores, generator {cells['generator_cores']}, others {cells['others_cores']}: "
        f"{cells['verdict']}"
    )


def summary_of(rows: Sequence[Mapping[str, Value]], source: str, plan: Plan) -> dict[str, Value]:
    """Return what the targets are about."""
    count = next(iter(rows[0]))
    good = [each for each in rows if each["verdict"] == "good"]
    summary: dict[str, Value] = {"speech": source, f"last good number of {count}": good[-1][count] if good else 0}
    summary["what ended the climb"] = rows[-1]["verdict"] if rows[-1]["verdict"] != "good" else "no more steps"
    if any(float(str(each["others_cores"])) > OTHERS for each in rows):
        summary["doubtful"] = f"other programs used more than {OTHERS:g} cores during some steps"
    return summary


def main(
    *,
    mode: Annotated[Mode, typer.Option(help="What is added: channels of continuous speech, or two-sided calls.")] = (
        Mode.SPEECH
    ),
    steps: Annotated[str, typer.Option(help="Numbers to try, with commas.")] = "",
    hold_s: Annotated[float, typer.Option(help="Seconds that each step is held.")] = 60.0,
    warm_up_s: Annotated[float, typer.Option(help="Seconds of each step that do not count.")] = 10.0,
    limit_s: Annotated[float, typer.Option(help="Most that p95 of end of speech to final may be, in seconds.")] = 1.5,
    limit_points: Annotated[float, typer.Option(help="Most points that word errors may rise.")] = 1.0,
    more: Annotated[bool, typer.Option(help="Go on with the last run: its rows and its first step are kept.")] = False,
    setting: Annotated[list[str] | None, typer.Option(help="Setting of the server, as NAME=VALUE.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Document whose section is renewed.")] = None,
) -> None:
    """Find out how many channels this machine carries."""
    console = Console()
    plan = Plan(mode, hold_s, warm_up_s, limit_s, limit_points)
    numbers = [int(number) for number in steps.split(",")] if steps else CHANNELS if mode is Mode.SPEECH else CALLS
    said, source = pool()
    console.print(f"{len(said)} utterances of {source}, {sum(each.seconds for each in said):.0f} s")
    name = f"capacity-{mode}"
    kept = FOLDER / f"{name}-climb.json"
    try:
        so_far = Climb.read(kept) if more else Climb([], {})
        # It is to be overloaded: what it can do is to be found out, not what it thinks that it can.
        overloaded = ["limits.by_load=false", *(setting or ())]
        with running_server(console, FOLDER / f"{name}.log", overloaded) as server:
            uvloop.run(tell(console, climb(server, said, numbers, plan, so_far)))
    except (NotReady, ValueError) as problem:
        console.print(str(problem), style="red", markup=False)
        raise typer.Exit(2) from problem
    so_far.write(kept)
    settings: dict[str, Value] = {"hold_s": hold_s, "warm_up_s": warm_up_s, "limit_s": limit_s}
    settings |= {"limit_points": limit_points, "setting": " ".join(setting or ())}
    found = report(name, settings, summary_of(so_far.rows, source, plan), so_far.rows)
    console.print(f"written to {publish(found, f'capacity, {mode}', console, markdown)}")


if __name__ == "__main__":
    typer.run(main)
