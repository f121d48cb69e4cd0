"""The real drill: two devices on two cores, one slowed, one killed, the load doubled past what they can do.

`python -m tests.bench.drill` runs a standalone server with base and tiny.en, plays calls to it in real time, disturbs
it, and watches: latency of finals as the server times them, the rung, who is refused and how fast, which model wrote
each final, whether a number is missing. Everything lands in a PNG and a JSON report; it takes about five minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import httpx
import typer
import uvloop
from rich.console import Console

from tests.bench.playing import Heard, play
from tests.bench.report import FOLDER, publish, report
from tests.bench.running import NotReady, Server, running_server
from tests.bench.scoring import ROOT, Value, percentiles
from tests.bench.script import Utterance, pool, script
from tests.support.servers import children_of, command_of
from trunkline import Final as FinalEvent
from trunkline.messages import Event
from trunkline.timing import CallTiming

RUNGS: Final = (
    '{final = "base", partial = "tiny.en", beam = 1, lead_s = 0}',
    '{final = "tiny.en", beam = 1, lead_s = 0}',
    '{final = "tiny.en", beam = 1, lead_s = 0, cadence_s = 2.0}',
    '{final = "tiny.en", beam = 1, lead_s = 0, cadence_s = 4.0, speculate = false}',
)
PROFILE: Final = ROOT / "scaler" / "sim" / "profiles" / "cpu-2-cores.json"
"""What such a machine was measured to do, one batch on each of its cores, as here: the first calls are judged by it."""
SETTINGS: Final = (
    'devices.names=["cpu", "cpu"]',
    "devices.streams=1",
    "limits.by_load=true",
    f"devices.profile={PROFILE}",
    f"ladder.rungs=[{', '.join(RUNGS)}]",
)
SLOWED_S: Final = (30.0, 60.0)
"""When the first device is stopped in bursts."""
BURST_S: Final = 0.7
"""Length of a stop, and of the pause behind it."""
KILLED_S: Final = 75.0
CROWD_S: Final = (105.0, 125.0)
"""When calls come that are too many."""
CROWD_EVERY_S: Final = 0.5
CROWD_LASTS_S: Final = 50.0
ENDS_S: Final = 270.0
"""Long enough behind the crowd for the rung to come back."""
LATE_S: Final = 3.0
ANSWERED_S: Final = 2.0
"""Within which a call that cannot come in must be told."""
WATCHED: Final = {
    "calls": "trunkline_calls ",
    "rung": "trunkline_rung ",
    "room": "trunkline_room_calls ",
    "used": "trunkline_utilization_ratio ",
    "p95": "trunkline_recent_final_p95_seconds ",
    "wait": "trunkline_expected_wait_seconds ",
    "devices": "trunkline_device_ready{",
}


class Witness(CallTiming):
    """Notes every final and when it came."""

    def __init__(self, began_at: float, said: list[tuple[float, FinalEvent]]) -> None:
        super().__init__(())
        self._began_at = began_at
        self._said = said

    def heard(self, event: Event, now: float) -> None:
        """Note a final."""
        if isinstance(event, FinalEvent):
            self._said.append((now - self._began_at, event))


@dataclass(slots=True)
class Diary:
    """What a drill came to."""

    began_at: float
    finals: list[tuple[float, FinalEvent]] = field(default_factory=list[tuple[float, FinalEvent]])
    calls: list[Heard] = field(default_factory=list[Heard])
    refused: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """When a call was refused, and after how long."""
    failed: Counter[str] = field(default_factory=Counter[str])
    seconds: list[tuple[float, dict[str, float]]] = field(default_factory=list[tuple[float, dict[str, float]]])

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began_at


async def call(
    server: Server, said: Sequence[Utterance], diary: Diary, *, first: int, at_s: float, seconds: float
) -> None:
    """Play a call; one that is refused is noted."""
    await asyncio.sleep(max(0.0, at_s - diary.now))
    asked_at = time.monotonic()
    recording = script(said, first=first, seconds=seconds, sides=1).recording
    heard = await play(server.url, recording, [Witness(diary.began_at, diary.finals)])
    if heard.failure == "overloaded":
        diary.refused.append((diary.now, time.monotonic() - asked_at))
    elif heard.failure:
        diary.failed[heard.failure] += 1
    else:
        diary.calls.append(heard)


async def watch(server: Server, diary: Diary) -> None:
    """Read the server's metrics once a second."""
    page = server.url.replace("ws:", "http:") + "/metrics"
    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            lines = (await client.get(page)).text.splitlines()
            diary.seconds.append((diary.now, {name: _sum(lines, begins) for name, begins in WATCHED.items()}))
            await asyncio.sleep(1.0)


def _sum(lines: Sequence[str], begins: str) -> float:
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(begins))


async def disturb(server: Server, diary: Diary) -> None:
    """Slow one device, then kill the other."""
    devices = [pid for pid in children_of(server.pid) if "gpu.device" in command_of(pid)]
    await asyncio.sleep(max(0.0, SLOWED_S[0] - diary.now))
    while diary.now < SLOWED_S[1]:
        for sign in (signal.SIGSTOP, signal.SIGCONT):
            with contextlib.suppress(ProcessLookupError):
                os.kill(devices[0], sign)
            await asyncio.sleep(BURST_S)
    await asyncio.sleep(max(0.0, KILLED_S - diary.now))
    os.kill(devices[1], signal.SIGKILL)


async def drill(server: Server, said: Sequence[Utterance], calls: int) -> Diary:
    """Run it all."""
    diary = Diary(time.monotonic())
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch(server, diary), name="watch")
        disturbing = tasks.create_task(disturb(server, diary), name="disturb")
        playing = [
            tasks.create_task(
                call(server, said, diary, first=3 * number, at_s=number, seconds=ENDS_S - number), name="call"
            )
            for number in range(calls)
        ]
        at_s, number = CROWD_S[0], calls
        while at_s < CROWD_S[1]:
            crowd = call(server, said, diary, first=5 * number, at_s=at_s, seconds=CROWD_LASTS_S)
            playing.append(tasks.create_task(crowd, name="crowd"))
            at_s, number = at_s + CROWD_EVERY_S, number + 1
        await asyncio.wait([*playing, disturbing])
        await asyncio.sleep(5.0)
        watching.cancel()
    return diary


def gaps(diary: Diary) -> int:
    """Count finals whose number is not the next one of their call."""
    return sum([final.number for final in heard.finals] != list(range(len(heard.finals))) for heard in diary.calls)


def summary_of(diary: Diary, calls: int) -> dict[str, Value]:
    """Return what was to be shown."""
    latencies = [final.latency_s for _, final in diary.finals]
    rungs = [values["rung"] for _, values in diary.seconds]
    summary: dict[str, Value] = {"calls at first": calls, "calls taken": len(diary.calls)}
    summary["refused with 503"] = len(diary.refused)
    summary["slowest refusal s"] = round(max((took_s for _, took_s in diary.refused), default=0.0), 3)
    summary["calls that failed"] = str(dict(diary.failed)) if diary.failed else 0
    summary["finals"] = len(latencies)
    p95 = percentiles(latencies)
    summary["final p50 / p95 / worst s"] = f"{p95.p50:.2f} / {p95.p95:.2f} / {max(latencies):.2f}"
    summary["finals over 3 s"] = sum(latency_s > LATE_S for latency_s in latencies)
    summary["calls with a missing final number"] = gaps(diary)
    summary["finals without a model"] = sum(not final.model for _, final in diary.finals)
    summary["models"] = str(dict(Counter(final.model for _, final in diary.finals)))
    summary["lowest rung, last rung"] = f"{max(rungs):.0f}, {rungs[-1]:.0f}"
    return summary


def rows_of(diary: Diary) -> list[dict[str, Value]]:
    """Return what happened in stretches of 15 s."""
    rows: list[dict[str, Value]] = []
    for begin in range(0, int(diary.seconds[-1][0]), 15):
        here = [values for at, values in diary.seconds if begin <= at < begin + 15]
        late = [final.latency_s for at, final in diary.finals if begin <= at < begin + 15]
        if not here:
            continue
        rows.append(
            {
                "from_s": begin,
                "calls": round(max(each["calls"] for each in here)),
                "devices": round(min(each["devices"] for each in here)),
                "lowest_rung": round(max(each["rung"] for each in here)),
                "finals": len(late),
                "p95_s": round(percentiles(late).p95, 2) if late else 0.0,
                "worst_s": round(max(late, default=0.0), 2),
                "refused": sum(begin <= at < begin + 15 for at, _ in diary.refused),
            }
        )
    return rows


def draw(diary: Diary, file: Path) -> None:
    """Draw calls, rung, latency and refusals over time."""
    import matplotlib as mpl  # noqa: PLC0415  only who draws needs it

    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  as above

    figure, (calls, rung, latency, wait) = plt.subplots(4, 1, figsize=(11, 11), sharex=True)
    at = [when for when, _ in diary.seconds]

    def of(name: str) -> list[float]:
        return [values[name] for _, values in diary.seconds]

    calls.plot(at, of("calls"), label="calls in progress")
    calls.plot(at, of("room"), label="room for more", linestyle=":")
    calls.plot([when for when, _ in diary.refused], [0.0] * len(diary.refused), "rx", label="refused")
    rung.step(at, of("rung"), label="rung in force (0 is the best)")
    rung.step(at, of("devices"), label="devices ready")
    for model in sorted({final.model for _, final in diary.finals}):
        mine = [(when, final.latency_s) for when, final in diary.finals if final.model == model]
        latency.plot([when for when, _ in mine], [late for _, late in mine], ".", label=f"finals of {model}")
    latency.plot(at, of("p95"), label="p95 as the server sees it")
    latency.axhline(LATE_S, color="black", linewidth=0.8, linestyle="--")
    wait.plot(at, [min(10.0, each) for each in of("wait")], label="expected wait, s")
    wait.plot(at, of("used"), label="utilisation at the best rung")
    wait.set_xlabel("seconds")
    for panel in (calls, rung, latency, wait):
        panel.legend(fontsize=8)
        panel.axvspan(*SLOWED_S, color="orange", alpha=0.15)
        panel.axvline(KILLED_S, color="red")
        panel.axvspan(*CROWD_S, color="blue", alpha=0.1)
    calls.set_title("orange: a device stopped in bursts; red: a device killed; blue: calls that are too many")
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=80)  # pyright: ignore[reportUnknownMemberType]  partly typed
    plt.close(figure)


def passed(diary: Diary) -> dict[str, Callable[[], bool]]:
    """Return what must hold, each with its test."""
    return {
        "no call failed": lambda: not diary.failed,
        "no final is missing": lambda: gaps(diary) == 0,
        "every final names its model": lambda: all(final.model for _, final in diary.finals),
        "p95 of finals is under 3 s": lambda: percentiles([final.latency_s for _, final in diary.finals]).p95 < LATE_S,
        "some were refused, all of them within 2 s": lambda: (
            bool(diary.refused) and max(took_s for _, took_s in diary.refused) < ANSWERED_S
        ),
        "the rung went down and came back": lambda: (
            max(values["rung"] for _, values in diary.seconds) > 0 and diary.seconds[-1][1]["rung"] == 0
        ),
    }


def main(
    *,
    calls: Annotated[int, typer.Option(help="Calls from the beginning to the end.")] = 5,
    markdown: Annotated[Path | None, typer.Option(help="Document whose section is renewed.")] = None,
) -> None:
    """Run the drill and say what held."""
    console = Console()
    said, source = pool()
    try:
        with running_server(console, FOLDER / "drill.log", SETTINGS) as server:
            diary = uvloop.run(drill(server, said, calls))
    except NotReady as problem:
        console.print(str(problem), style="red", markup=False)
        raise typer.Exit(2) from problem
    picture = FOLDER / "drill.png"
    draw(diary, picture)
    verdicts = {name: test() for name, test in passed(diary).items()}
    for name, held in verdicts.items():
        console.print(f"{'yes' if held else 'NO '}  {name}", style="" if held else "red")
    summary = {"speech": source, **summary_of(diary, calls)}
    found = report("drill", {"calls": calls}, summary, rows_of(diary))
    console.print(f"written to {publish(found, 'drill', console, markdown)} and {picture}")
    raise typer.Exit(0 if all(verdicts.values()) else 1)


if __name__ == "__main__":
    typer.run(main)
