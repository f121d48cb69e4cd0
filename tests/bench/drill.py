"""The real drill on two cores: devices slowed and killed, shards saturated and drained, calls that are too many.

`python -m tests.bench.drill` plays calls in real time to a standalone server with two devices, then to two shards on a
real Kafka with one device each, all with base and tiny.en, disturbs them, and watches: latency of finals as the callers
see it, the rungs, who is refused and how fast, which model wrote each final, whether anything is missing. Each half
takes three and a half minutes and ends in a PNG and a JSON report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer
import uvloop
from rich.console import Console

from tests.bench.diary import Diary, promises, rows_of, summary_of
from tests.bench.drill_devices import Crowd, DevicesPlan, Load, Talk, hurt_devices
from tests.bench.drill_picture import draw
from tests.bench.drill_shards import DRAINED_WITHIN_S, ShardsPlan, hurt_shards, moved
from tests.bench.report import FOLDER, publish, report
from tests.bench.scoring import ROOT, Value
from tests.bench.script import Script, pool, script
from tests.support.cluster import cluster_on
from tests.support.kafka_broker import KafkaCluster
from tests.support.servers import serving

RUNGS: Final = (
    '{final = "base", partial = "tiny.en", beam = 1, lead_s = 0}',
    '{final = "tiny.en", beam = 1, lead_s = 0}',
    '{final = "tiny.en", beam = 1, lead_s = 0, cadence_s = 2.0}',
    '{final = "tiny.en", beam = 1, lead_s = 0, cadence_s = 4.0, speculate = false}',
)
PROFILE: Final = ROOT / "scaler" / "sim" / "profiles" / "cpu-2-cores.json"
"""What such a machine was measured to do, one batch on each of its cores, as here: the first calls are judged by it."""
SCRIPTED_COSTS: Final = '{fixed_s = 0.1, each_s = 0.3, "tiny.en.fixed_s" = 0.05, "tiny.en.each_s" = 0.1}'
"""Seconds of the scripted engine's batches: about what base and tiny.en take for windows of 5 s."""
DEVICES: Final = DevicesPlan(
    Load(calls=9, crowd=Crowd(from_s=65, to_s=80, every_s=0.5, last_s=25), ends_s=180), slowed_s=(15, 40), killed_s=50
)
"""More than two cores carry at the best rung once a device is gone; two of them are refused at once."""
SHARDS: Final = ShardsPlan(
    Load(calls=4, crowd=Crowd(from_s=85, to_s=100, every_s=0.5, last_s=25), ends_s=190),
    slowed_s=(15, 45),
    started_s=50,
    drained_s=65,
)
"""What two cores carry at the best rung, and time for it to come back."""
SLOTS: Final = 16
"""Slots of the log: a few for each call."""


class Half(StrEnum):
    """What is disturbed."""

    DEVICES = "devices"
    SHARDS = "shards"
    BOTH = "both"


class Engine(StrEnum):
    """What decodes."""

    WHISPER = "whisper"
    SCRIPTED = "scripted"
    """Hears senseless words in speech, at the price of the models: for machines that cannot carry them."""


def settings(engine: Engine) -> dict[str, str]:
    """Return the settings of all processes, by their names."""
    chosen = {
        "devices.streams": "1",
        "devices.profile": str(PROFILE),
        "ladder.rungs": f"[{', '.join(RUNGS)}]",
        "devices.engine": engine.value,
    }
    return chosen | ({"devices.options": SCRIPTED_COSTS} if engine is Engine.SCRIPTED else {})


def devices_half(
    talk: Talk, plan: DevicesPlan, chosen: Mapping[str, str]
) -> tuple[Diary, dict[str, Value], dict[str, bool]]:
    """Disturb the devices of a standalone server.

    Returns:
        What was seen, what it came to, and which promises were kept.
    """
    flags = ['--set=devices.names=["cpu", "cpu"]', *(f"--set={name}={value}" for name, value in chosen.items())]
    log = FOLDER / "drill.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with serving(*flags, log=log) as server:
        diary = uvloop.run(hurt_devices(server, talk, plan))
    return diary, summary_of(diary, plan.load.calls), promises(diary)


def shards_half(
    talk: Talk, plan: ShardsPlan, chosen: Mapping[str, str]
) -> tuple[Diary, dict[str, Value], dict[str, bool]]:
    """Disturb the shards of a cluster; its value is that of ``devices_half``."""
    folder = FOLDER / "drill-shards"
    folder.mkdir(parents=True, exist_ok=True)
    brokers = KafkaCluster(1)
    try:
        with cluster_on(brokers.bootstrap, folder, prefix="drill", slots=SLOTS) as cluster:
            for name, value in chosen.items():
                cluster.set(name, value)
            cluster.start(gateways=1, shards=2)
            diary, drained = uvloop.run(hurt_shards(cluster, talk, plan))
    finally:
        brokers.stop()
    came = moved(diary)
    summary: dict[str, Value] = summary_of(diary, plan.load.calls) | {
        "slots that left a shard with too much to do": came,
        "calls of the shard that was drained": round(drained.calls),
        "it ended after s": round(drained.took_s, 1),
    }
    kept = promises(diary) | {
        "slots left the slowed shard": came > 0,
        f"the drained shard had calls, and ended well within {DRAINED_WITHIN_S:g} s": drained.code == 0
        and drained.calls > 0
        and drained.took_s < DRAINED_WITHIN_S,
    }
    return diary, summary, kept


COLUMNS: Final = {"calls": "calls", "devices": "devices", "lowest_rung": "rung"}


def main(
    *,
    half: Annotated[Half, typer.Option(help="What is disturbed.")] = Half.BOTH,
    calls: Annotated[int, typer.Option(help="Calls from the beginning to the end; 0 for what two cores carry.")] = 0,
    engine: Annotated[Engine, typer.Option(help="What decodes.")] = Engine.WHISPER,
    markdown: Annotated[
        Path | None, typer.Option(help="Document whose sections are renewed; the pictures are put beside it.")
    ] = None,
) -> None:
    """Run the drill and say what held."""
    console = Console()
    said, source = pool()

    def talk(number: int, seconds: float) -> Script:
        return script(said, first=number, seconds=seconds)

    def many(load: Load) -> Load:
        return replace(load, calls=calls or load.calls)

    kind = "" if engine is Engine.WHISPER else f"-{engine.value}"
    halves = {
        Half.DEVICES: (f"drill{kind}", partial(devices_half, talk, replace(DEVICES, load=many(DEVICES.load)))),
        Half.SHARDS: (f"drill-shards{kind}", partial(shards_half, talk, replace(SHARDS, load=many(SHARDS.load)))),
    }
    good = True
    for each, (name, run) in halves.items():
        if half not in (each, Half.BOTH):
            continue
        diary, summary, kept = run(settings(engine))
        picture = (markdown.parent if markdown else FOLDER) / f"{name}.png"
        draw(diary, picture)
        for promise, held in kept.items():
            console.print(f"{'yes' if held else 'NO '}  {promise}", style="" if held else "red")
        found = report(name, {"engine": engine.value}, {"speech": source, **summary}, rows_of(diary, COLUMNS))
        console.print(f"written to {publish(found, name, console, markdown)} and {picture}")
        good = good and all(kept.values())
    raise typer.Exit(0 if good else 1)


if __name__ == "__main__":
    typer.run(main)
