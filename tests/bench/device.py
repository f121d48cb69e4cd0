"""What one device can do: `make bench-device`, or `python -m tests.bench.device`.

Three parts, each a table. *costs*: what batches cost by engine, model, length, size and number of streams, beside the
roofline; they are written as a profile too, which `devices.profile` names and the simulator reads. *words*: word errors
on real speech, so that speed never hides damage. *channels*: how many channels of continuous speech these costs mean
through the real batcher, and how many a device process really carries.

On a processor it takes tiny.en and base and less than five minutes. Where there is an NVIDIA GPU (`--device cuda:0`,
chosen by itself) also the shapes of larger models with random weights, which write as many tokens as people would have
said, and PyTorch where it is installed. What was measured is kept in `build/bench`, and a run that was broken off goes
on where it was.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Final, cast

import ctranslate2 as _ctranslate2
import typer
import uvloop
from rich.console import Console

from gpu.cost import Cost
from gpu.engine import Engine
from gpu.errors import EngineError
from gpu.pool import DevicePool
from gpu.profile import Profile, write_profile
from gpu.wire import FaultKind
from streaming.decoding import Kind, Window
from streaming.ladder import Rung
from tests.bench.corpus import SpeechNotFound, speech_folder
from tests.bench.device_bay import Bay
from tests.bench.device_channels import bound, modelled, most
from tests.bench.device_costs import Point, costs_of, measure
from tests.bench.device_held import Carrier
from tests.bench.device_plan import BEAM, LENGTHS_S, RANDOM, Plan, plan_of
from tests.bench.device_store import LeftOut, Row, Store
from tests.bench.forced import said
from tests.bench.report import FOLDER, publish, report
from tests.bench.roofline import SHAPES, Peak, peak_of, windows_per_s
from tests.bench.scoring import Value, machine, total, word_errors
from tests.bench.windows import SPEECH, utterances

ctranslate2: Any = _ctranslate2  # it comes without types

LIMIT_S: Final = 1.0
"""Most that p95 of end of speech to final may be for a number of channels to count."""
CADENCES_S: Final = (1.0, 0.5)
WORDS_EVERY: Final = 20
"""Only each n-th clip is decoded for word errors."""
HELPS: Final = 1.05
"""Factor that another stream must bring at least."""
GREEDY: Final = ("torch",)
"""Engines that have no beam to measure."""
START_S: Final = 300.0
"""Seconds a device process may take to load its models."""
COST_COLUMNS: Final = (
    "engine",
    "model",
    "seconds",
    "bucket",
    "beam",
    "batch",
    "streams",
    "windows_per_s",
    "mean_ms",
    "p50_ms",
    "p95_ms",
    "cpu_ms_per_window",
    "tokens",
    "device_mib",
)
CHANNEL_COLUMNS: Final = (
    "engine",
    "partials",
    "finals_by",
    "cadence_s",
    "channels_modelled",
    "modelled_p95_ms",
    "channels_held",
    "held_p50_ms",
    "held_p95_ms",
    "partials_pct",
    "finals",
    "host_cpu_ms_per_channel_s",
    "device_cpu_ms_per_channel_s",
    "device_mib",
    "others_cores",
    "alone_p50_ms",
    "alone_p95_ms",
)


class Part(StrEnum):
    """What to measure."""

    COSTS = "costs"
    WORDS = "words"
    CHANNELS = "channels"


class NotStarted(Exception):
    """The device process did not become ready."""


class Bench:
    """All of it.

    Args:
        plan: What to measure.
        store: What was measured before.
        bay: Loads engines.
        console: Where progress goes.
    """

    def __init__(self, plan: Plan, store: Store, bay: Bay, console: Console) -> None:
        self._plan = plan
        self._store = store
        self._bay = bay
        self._console = console
        self.problems: list[str] = []
        """What could not be measured, and why."""

    def _measured(self, key: str, work: partial[Row]) -> Row | None:
        """Return a row, or None where it cannot be had on this machine, which is said and noted."""
        try:
            return self._store.get(key, work)
        except (EngineError, LeftOut) as problem:
            self._problem(f"{key}: {problem}")
            return None

    def _problem(self, problem: str) -> None:
        self.problems.append(problem)
        self._console.print(problem, style="red", markup=False)

    # --- costs -----------------------------------------------------------------------------------------------------

    def streams(self, engine: str) -> int:
        """Return the number of streams with most windows a second; more only where they clearly help."""
        best, most_per_s = 1, 0.0
        choices = self._plan.streams_of(engine)
        for streams in choices if len(choices) > 1 else ():
            point = Point(engine, self._plan.models[0], LENGTHS_S[1], self._plan.usual_batch, streams)
            row = self._measured(f"streams: {point.key}", partial(self._timed, point))
            per_s = float(str(row["windows_per_s"])) if row else 0.0
            self._console.print(f"{engine}, {streams} streams: {per_s} windows/s", highlight=False)
            if per_s > HELPS * most_per_s:
                best, most_per_s = streams, per_s
        return best

    def costs(self, engine: str, streams: int, peak: Peak | None) -> list[Row]:
        """Measure batches of every model."""
        rows: list[Row] = []
        for model in self._plan.all_models:
            for point in self._points(engine, model, streams):
                row = self._measured(point.key, partial(self._timed, point))
                if row is None and not self._bay.holds(engine, model):
                    break
                if row is not None:
                    rows.append({name: row[name] for name in COST_COLUMNS} | {"roofline_pct": self._share(row, peak)})
                    self._console.print(f"{point.key}: {row['windows_per_s']} windows/s", highlight=False)
        return rows

    def _points(self, engine: str, model: str, streams: int) -> Iterator[Point]:
        for seconds, batch in product(LENGTHS_S, self._plan.batches):
            yield Point(engine, model, seconds, batch, streams)
        if engine not in GREEDY and not model.endswith(RANDOM):
            for batch in self._plan.batches[:3:2]:
                yield Point(engine, model, LENGTHS_S[1], batch, streams, BEAM)

    def _timed(self, point: Point) -> Row:
        engine = self._bay.engine(point.engine, point.model, point.streams)
        row = measure(engine, point, self._bay.sound(engine.n_mels), self._plan.timing)
        return row | {"device_mib": self._bay.used_mib()}

    def _share(self, row: Row, peak: Peak | None) -> float | None:
        """Per cent of what the device could do at best."""
        shape = self._bay.shape(str(row["model"]))
        if peak is None or shape is None or row["beam"] != 1:
            return None
        frames, seconds = int(str(row["bucket"]).split("+", 1)[0]), float(str(row["seconds"]))
        tokens = round(float(str(row["tokens"] or said(seconds))))
        best = windows_per_s(shape, peak, frames=frames, batch=int(str(row["batch"])), tokens=tokens)
        return round(100 * float(str(row["windows_per_s"])) / best, 1)

    # --- words -----------------------------------------------------------------------------------------------------

    def words(self, engine: str, streams: int) -> list[Row]:
        """Word errors of every real model, finals and partials, greedy."""
        rows = [
            self._measured(f"words {engine} {model}", partial(self._errors, engine, model, streams))
            for model in self._plan.models
        ]
        return [row for row in rows if row is not None]

    def _errors(self, engine: str, model: str, streams: int) -> Row:
        loaded = self._bay.engine(engine, model, streams)
        clips = list(utterances(speech_folder(), WORDS_EVERY, loaded.n_mels, SPEECH))
        row: Row = {"engine": engine, "model": model, "clips": len(clips)}
        for kind in Kind:
            heard = _heard(loaded, [Window(one.features, kind, "en") for one in clips], self._plan.usual_batch)
            errors = total(word_errors(one.text, text) for one, text in zip(clips, heard, strict=True))
            row |= {"words": errors.words, f"wer_{kind}_pct": round(100 * errors.rate, 2)}
        return row

    # --- channels --------------------------------------------------------------------------------------------------

    def channels(self, engine: str, costs: Sequence[Cost], streams: int) -> list[Row]:
        """How many channels, by cadence, with one model and with two."""
        known = {cost.model for cost in costs}
        rungs = [
            Rung(partials, finals, cadence_s=cadence_s)
            for cadence_s, (partials, finals) in product(CADENCES_S, self._plan.pairs)
            if {partials, finals} <= known
        ]
        modelled_rows = {
            rung: self._measured(f"modelled {engine}, {_said(rung)}", partial(self._modelled, costs, rung, streams))
            for rung in rungs
        }
        self._bay.clear()  # the device's memory is for the process now
        for random in (False, True):
            together = [
                rung for rung, row in modelled_rows.items() if row and rung.final_model.endswith(RANDOM) is random
            ]
            try:
                uvloop.run(self._hold(engine, together, costs, streams))
            except (NotStarted, LeftOut) as problem:
                self._problem(f"channels, {engine}: {problem}")
        return [self._channel_row(engine, rung) for rung in rungs]

    def _channel_row(self, engine: str, rung: Rung) -> Row:
        rows = self._store.rows
        found: Row = {"engine": engine, "partials": rung.partial_model, "finals_by": rung.final_model}
        found |= {"cadence_s": rung.cadence_s} | rows.get(f"modelled {engine}, {_said(rung)}", {})
        found |= rows.get(f"held {engine}, {_said(rung)}", {}) | rows.get(f"alone {engine}, {_said(rung)}", {})
        return {name: found.get(name) for name in CHANNEL_COLUMNS}

    def _modelled(self, costs: Sequence[Cost], rung: Rung, streams: int) -> Row:
        largest = self._plan.batches[-1]
        hold = partial(modelled, costs, rung, streams=streams, max_batch=largest)
        guess = bound(costs, rung, streams=streams, max_batch=largest) // 2
        channels = most(lambda count: hold(count).keeps(LIMIT_S), guess)
        p95_s = hold(max(1, channels)).final.p95
        return {"channels_modelled": channels, "modelled_p95_ms": round(1000 * p95_s)}

    async def _hold(self, engine: str, rungs: Sequence[Rung], costs: Sequence[Cost], streams: int) -> None:
        """Carry out what no earlier run has, on one device process that holds the models of all rungs."""
        alone = {f"alone {engine}, {_said(rung)}": rung for rung in rungs if rung.cadence_s == CADENCES_S[0]}
        wanted = alone | {f"held {engine}, {_said(rung)}": rung for rung in rungs}
        if self._store.rows.keys() >= wanted.keys():
            return
        models = list(dict.fromkeys(model for rung in rungs for model in rung.models))
        spec = self._bay.spec(engine, models, streams, [cost for cost in costs if cost.model in models])
        async with DevicePool([spec], self._named(rungs[0])) as pool:
            await _started(pool)
            carrier = Carrier(pool, self._bay.sound(self._mels(models[0])), self._plan.hold_s, LIMIT_S)
            for key, rung in wanted.items():
                if key not in self._store.rows:
                    guess = int(str(self._store.rows[f"modelled {engine}, {_said(rung)}"]["channels_modelled"]))
                    work = carrier.alone(self._named(rung)) if key in alone else carrier.most(self._named(rung), guess)
                    with self._store.attempt(key):
                        self._store.rows[key] = await work
                    self._console.print(f"{key}: {self._store.rows[key]}", highlight=False)

    def _named(self, rung: Rung) -> Rung:
        return Rung(self._bay.name(rung.partial_model), self._bay.name(rung.final_model), cadence_s=rung.cadence_s)

    def _mels(self, model: str) -> int:
        shape = self._bay.shape(model)
        return shape.n_mels if shape else 80


def _said(rung: Rung) -> str:
    """A rung in a few words."""
    return f"{rung.partial_model} and {rung.final_model} every {rung.cadence_s:g} s"


def _heard(engine: Engine, windows: Sequence[Window], batch: int) -> list[str]:
    """Texts of windows, which are decoded with others of about their length."""
    order = sorted(range(len(windows)), key=lambda at: windows[at].seconds)
    texts: dict[int, str] = {}
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        answers = engine.decode([windows[at] for at in places])
        texts |= {at: answer.text for at, answer in zip(places, answers, strict=True)}
    return [texts[at] for at in range(len(windows))]


async def _started(pool: DevicePool) -> None:
    """Wait until the pool's device is ready.

    Raises:
        NotStarted: If it cannot be started.
    """
    deadline = time.monotonic() + START_S
    while not (status := pool.status()).ready:
        (device,) = status.devices
        if device.faults.get(FaultKind.START) or time.monotonic() > deadline:
            raise NotStarted(device.problem or f"the device process was not ready within {START_S:.0f} s")
        await asyncio.sleep(0.1)


def profile_of(plan: Plan, box: dict[str, Value], engine: str, streams: int, costs: tuple[Cost, ...]) -> Profile:
    """The costs with what must be known about them."""
    return Profile(
        measured=str(box["date"]),
        device=str(box["gpu"] or plan.device),
        machine=f"{box['cores']} cores of {box['cpu']}",
        engine=engine,
        compute_type=plan.compute_type,
        streams=streams,
        max_batch=plan.batches[-1],
        costs=costs,
    )


def best_shares(rows: Sequence[Row]) -> str:
    """The best share of the roofline that each engine reached with each model."""
    best: dict[str, float] = {}
    for row in rows:
        name = f"{row['engine']} {row['model']}"
        best[name] = max(best.get(name, 0.0), float(str(row["roofline_pct"] or 0.0)))
    return ", ".join(f"{name} {share:g} %" for name, share in best.items() if share)


def main(
    *,
    device: Annotated[str, typer.Option(help="cpu or cuda:0; without it, the GPU where there is one.")] = "",
    models: Annotated[str, typer.Option(help="Models with real weights, the smallest first, with commas.")] = "",
    engines: Annotated[str, typer.Option(help="whisper, torch, or both, with commas.")] = "",
    shapes: Annotated[str, typer.Option(help=f"Random weights of these shapes: {', '.join(SHAPES)}.")] = "",
    part: Annotated[Part | None, typer.Option(help="What to measure beside costs; without it, all.")] = None,
    hold_s: Annotated[float, typer.Option(help="Seconds that channels are held for real; 0 for the usual.")] = 0.0,
    fresh: Annotated[bool, typer.Option(help="Forget what an earlier run measured.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="Document whose sections are renewed.")] = None,
) -> None:
    """Measure a device."""
    began = time.monotonic()
    console = Console(width=220)
    gpus: int = ctranslate2.get_cuda_device_count()
    device = device or ("cuda:0" if gpus else "cpu")
    if device.startswith("cuda") and not gpus:
        raise typer.BadParameter("no NVIDIA GPU, or no driver for it, was found on this machine; see nvidia-smi")
    plan = plan_of(device, models, engines, shapes, hold_s)
    box = machine()
    store = Store(
        FOLDER / f"device-{device.replace(':', '-')}-measured.json", f"{box['gpu'] or box['cpu']}, {box['commit']}"
    )
    if not fresh and store.load():
        console.print(f"goes on with {len(store.rows)} rows of {store.file}; --fresh begins anew")
    peak = peak_of(device, cast("str | None", box["gpu"]), len(os.sched_getaffinity(0)))
    bay = Bay(device, plan.compute_type, plan.batches[-1], FOLDER / "random")
    bench = Bench(plan, store, bay, console)
    settings: dict[str, Value] = {"device": device, "compute_type": plan.compute_type}
    summary: dict[str, Value] = {}
    tables: dict[Part, list[Row]] = {each: [] for each in Part}
    for engine in plan.engines:
        streams = bench.streams(engine)
        summary[f"streams of {engine}"] = streams
        rows = bench.costs(engine, streams, peak)
        tables[Part.COSTS] += rows
        costs = tuple(costs_of(rows, engine, streams))
        file = FOLDER / f"profile-{device.replace(':', '-')}-{engine}.json"
        if costs:
            write_profile(file, profile_of(plan, box, engine, streams, costs))
            console.print(f"profile written to {file}")
        if part in (None, Part.WORDS):
            try:
                tables[Part.WORDS] += bench.words(engine, streams)
            except SpeechNotFound as problem:
                console.print(f"no word errors: {problem}")
        if part in (None, Part.CHANNELS):
            tables[Part.CHANNELS] += bench.channels(engine, costs, streams)
    bay.clear()
    summary |= {
        "clock": "processor time, all streams busy" if plan.timing.by_processor else "wall, all streams busy",
        "roofline": peak.source if peak else "unknown",
        "best shares of it": best_shares(tables[Part.COSTS]),
        "not measured": "; ".join(bench.problems) or "nothing left out",
    }
    summaries: dict[Part, dict[str, Value]] = {
        Part.COSTS: summary,
        Part.WORDS: {},
        Part.CHANNELS: {"p95 of finals at most": f"{LIMIT_S:g} s", "partials answered at least": "90 %"},
    }
    for each, rows in tables.items():
        if rows:
            where = "-gpu" if device.startswith("cuda") else ""
            publish(report(f"device-{each}{where}", settings, summaries[each], rows), each, console, markdown)
    console.print(f"took {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    typer.run(main)
