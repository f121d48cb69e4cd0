"""What one device can do: `make bench-device`, or `python -m tests.bench.device`.

Four parts, each a table: what batches cost by engine, model, length, size and number of streams, beside the roofline;
how many channels of continuous speech that means through the real batcher, and how many a device process really
carries; word errors on real speech, so that speed never hides damage. The costs are written as a profile too, which
`devices.profile` names and the simulator reads.

On a processor it takes tiny.en and base. Where there is an NVIDIA GPU (`--device cuda:0`, chosen by itself) also the
shapes of larger models with random weights, which write as many tokens as they may, and PyTorch where it is installed.
What was measured is kept in `build/bench`, and a run that was broken off goes on where it was.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, cast

import ctranslate2 as _ctranslate2
import typer
import uvloop
from rich.console import Console

from gpu.cost import Cost
from gpu.engine import Engine
from gpu.engines import build
from gpu.guards import cap
from gpu.memory import meter_of
from gpu.models import ModelStore
from gpu.profile import Profile, write_profile
from gpu.spec import DeviceSpec
from streaming.decoding import Kind, Window
from streaming.ladder import Rung
from tests.bench.corpus import SpeechNotFound, speech_folder
from tests.bench.device_channels import Tally, modelled, most, real
from tests.bench.device_costs import Point, Timing, costs_of, measure, sound
from tests.bench.report import FOLDER, publish, report
from tests.bench.roofline import SHAPES, Peak, peak_of, shape_of, windows_per_s
from tests.bench.scoring import Value, machine, total, word_errors
from tests.bench.windows import SPEECH, utterances
from tests.support.random_whisper import Size, write_random_whisper

ctranslate2: Any = _ctranslate2  # it comes without types

LENGTHS_S: Final = (2.0, 5.0, 9.0)
BEAM: Final = 5
LIMIT_S: Final = 1.0
"""Most that p95 of end of speech to final may be for a number of channels to count."""
CADENCES_S: Final = (1.0, 0.5)
WORDS_EVERY: Final = 20
"""Only each n-th clip is decoded for word errors."""
HELPS: Final = 1.05
"""Factor that another stream must bring at least."""
COLUMNS: Final = (
    "engine",
    "model",
    "seconds",
    "bucket",
    "beam",
    "batch",
    "streams",
    "clock",
    "windows_per_s",
    "mean_ms",
    "p50_ms",
    "p95_ms",
    "cpu_ms_per_window",
    "device_mib",
)
TOKENS_PER_S: Final = 4.0
"""Tokens that people say in a second, for the roofline."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured on a kind of device."""

    device: str
    compute_type: str
    engines: tuple[str, ...]
    models: tuple[str, ...]
    shapes: tuple[str, ...]
    batches: tuple[int, ...]
    streams: tuple[int, ...]
    """To choose from; the best is used for all else."""
    timing: Timing
    hold_s: float
    """Seconds that channels are held for real."""

    @property
    def usual_batch(self) -> int:
        """The size at which numbers of streams are compared."""
        return self.batches[len(self.batches) // 2]


def plan_of(device: str, models: str, engines: str, shapes: str, hold_s: float) -> Plan:
    """Plan for a device; empty lists mean all there is."""
    on_gpu = device.startswith("cuda")
    found = ["whisper"] + (["torch"] if on_gpu and importlib.util.find_spec("torch") else [])
    return Plan(
        device=device,
        compute_type="float16" if on_gpu else "int8",
        engines=tuple(engines.split(",")) if engines else tuple(found),
        models=tuple(models.split(",")) if models else ("tiny.en", "base"),
        shapes=tuple(shapes.split(",")) if shapes else ("small", "medium", "large-v3", "large-v3-turbo") * on_gpu,
        batches=(1, 4, 16, 64, 128) if on_gpu else (1, 2, 4, 8),
        streams=(1, 2, 3, 4) if on_gpu else tuple(range(1, len(os.sched_getaffinity(0)) + 1)),
        timing=Timing(windows=512, by_processor=False) if on_gpu else Timing(windows=24, by_processor=True),
        hold_s=hold_s,
    )


@dataclass(slots=True)
class Store:
    """Rows that were measured, in a file, so that a run can go on."""

    file: Path
    rows: dict[str, dict[str, Value]] = field(default_factory=dict[str, dict[str, Value]])

    def load(self) -> None:
        """Read what an earlier run left."""
        if self.file.is_file():
            self.rows = cast("dict[str, dict[str, Value]]", json.loads(self.file.read_text()))

    def get(self, key: str, work: Callable[[], dict[str, Value]]) -> dict[str, Value]:
        """Return a row, measured now if it was not before."""
        if key not in self.rows:
            self.rows[key] = work()
            self.file.parent.mkdir(parents=True, exist_ok=True)
            part = self.file.with_suffix(".part")
            part.write_text(json.dumps(self.rows, indent=1))
            part.replace(self.file)
        return self.rows[key]


class Bench:
    """All of it.

    Args:
        plan: What to measure.
        store: What was measured before.
        console: Where progress goes.
    """

    def __init__(self, plan: Plan, store: Store, console: Console) -> None:
        self._plan = plan
        self._store = store
        self._console = console
        self._models = ModelStore.from_environment(os.environ)
        self._meter = meter_of(plan.device)
        self._engine: tuple[tuple[str, str, int], Engine] | None = None
        self._sounds: dict[int, Any] = {}

    # --- costs -----------------------------------------------------------------------------------------------------

    def costs(self, peak: Peak | None) -> tuple[list[dict[str, Value]], int]:
        """Measure batches; returns rows and the number of streams that was best for the first model."""
        plan, rows = self._plan, list[dict[str, Value]]()
        best = 0
        for engine in plan.engines:
            for model in (*plan.models, *(f"{shape} (random)" for shape in plan.shapes)):
                best = best or self._best_streams(engine, model)
                rows += [self._point(point, peak) for point in self._points(engine, model, best)]
        return rows, best

    def _best_streams(self, engine: str, model: str) -> int:
        """The number of streams with most windows a second by the clock; more only where they clearly help."""
        best, most_per_s = 1, 0.0
        timing = replace(self._plan.timing, by_processor=False)
        for streams in self._plan.streams:
            point = Point(engine, model, LENGTHS_S[1], self._plan.usual_batch, streams)
            row = self._store.get(f"streams: {point.key}", partial(self._measured, point, timing))
            per_s = float(str(row["windows_per_s"] or 0.0))
            self._console.print(f"{streams} streams: {per_s} windows/s", highlight=False)
            if per_s > HELPS * most_per_s:
                best, most_per_s = streams, per_s
        return best

    def _points(self, engine: str, model: str, streams: int) -> Iterator[Point]:
        for seconds in LENGTHS_S:
            for batch in self._plan.batches:
                yield Point(engine, model, seconds, batch, streams)
        if model in self._plan.models:
            for batch in self._plan.batches[:3]:
                yield Point(engine, model, LENGTHS_S[1], batch, streams, BEAM)

    def _point(self, point: Point, peak: Peak | None) -> dict[str, Value]:
        row = self._store.get(point.key, partial(self._measured, point, self._plan.timing))
        self._console.print(f"{point.key}: {row.get('windows_per_s')} windows/s", highlight=False)
        return {name: row.get(name) for name in COLUMNS} | {"roofline_pct": self._share(row, peak)}

    def _measured(self, point: Point, timing: Timing) -> dict[str, Value]:
        try:
            engine = self._loaded(point.engine, point.model, point.streams)
        except Exception as problem:  # noqa: BLE001  an engine that cannot be had here is a row of the table
            self._console.print(f"{point.key}: {problem}", style="red", markup=False)
            return dict.fromkeys(COLUMNS) | {"engine": point.engine, "model": point.model}
        random = point.model.endswith("(random)")
        if engine.n_mels not in self._sounds:
            self._sounds[engine.n_mels] = sound(engine.n_mels)
        row = measure(engine, point, self._sounds[engine.n_mels], plan=timing, random=random)
        memory = self._meter.read() if self._meter else None
        return row | {"device_mib": memory.used_mib if memory else None}

    def _share(self, row: dict[str, Value], peak: Peak | None) -> float | None:
        model = str(row["model"])
        shape = SHAPES.get(model.removesuffix(" (random)")) or shape_of(self._models.find(model), model)
        if peak is None or shape is None or not row.get("bucket") or row["beam"] != 1:
            return None
        frames, seconds = int(str(row["bucket"]).split("+", 1)[0]), float(str(row["seconds"]))
        tokens = cap(seconds) if model.endswith("(random)") else round(TOKENS_PER_S * seconds) + 4
        bound = windows_per_s(shape, peak, frames=frames, batch=int(str(row["batch"])), tokens=tokens)
        return round(100 * float(str(row["windows_per_s"])) / bound, 1)

    def _loaded(self, engine: str, model: str, streams: int) -> Engine:
        if self._engine is not None and self._engine[0] == (engine, model, streams):
            return self._engine[1]
        if self._engine is not None:
            self._engine[1].close()
            self._engine = None
            gc.collect()
        loaded = build(self._spec(engine, (self._folder(model),), streams), self._folder(model))
        loaded.warm_up()
        self._engine = ((engine, model, streams), loaded)
        return loaded

    def _spec(self, engine: str, models: tuple[str, ...], streams: int, profile: Sequence[Cost] = ()) -> DeviceSpec:
        return DeviceSpec(
            name="bench",
            models=models,
            engine=engine,
            device=self._plan.device,
            compute_type=self._plan.compute_type,
            streams=streams,
            max_batch=self._plan.batches[-1],
            stuck_after_s=60.0,
            profile=tuple(profile),
        )

    def _folder(self, model: str) -> str:
        """A model's name, or the folder of random weights of its shape, written on first use."""
        if not model.endswith("(random)"):
            return model
        name = model.removesuffix(" (random)")
        folder, shape = FOLDER / "random" / name, SHAPES[name]
        if not (folder / "model.bin").is_file():
            size = Size(shape.width, shape.heads, shape.encoder_layers, shape.decoder_layers, shape.n_mels)
            write_random_whisper(folder, size, self._models.find("base"), quantization="float16")
        return str(folder)

    # --- channels --------------------------------------------------------------------------------------------------

    def channels(self, costs: Sequence[Cost], streams: int) -> list[dict[str, Value]]:
        """How many channels, by cadence, with one model and with two."""
        small, large = self._plan.models[0], self._plan.models[-1]
        pairs = dict.fromkeys(((small, small), (small, large)))
        rows: list[dict[str, Value]] = []
        for cadence_s in CADENCES_S:
            for partials, finals in pairs:
                rung = Rung(partials, finals, cadence_s=cadence_s)
                rows.append(self._store.get(f"channels {rung}", partial(self._held, costs, rung, streams)))
                self._console.print(str(rows[-1]), highlight=False)
        return rows

    def _held(self, costs: Sequence[Cost], rung: Rung, streams: int) -> dict[str, Value]:
        largest = self._plan.batches[-1]

        def tally(channels: int) -> Tally:
            return modelled(costs, rung, channels, streams=streams, max_batch=largest)

        count = most(lambda channels: tally(channels).keeps(LIMIT_S))
        row: dict[str, Value] = {
            "partials": rung.partial_model,
            "finals": rung.final_model,
            "cadence_s": rung.cadence_s,
        }
        row["channels_modelled"] = count
        row["modelled_p95_ms"] = round(1000 * tally(max(1, count)).final.p95)
        return row | self._really(costs, rung, streams, max(1, count))

    def _really(self, costs: Sequence[Cost], rung: Rung, streams: int, count: int) -> dict[str, Value]:
        """Try the modelled number on a device process, and a fifth less until it is kept."""
        features = sound(80)
        while True:
            spec = self._spec(self._plan.engines[0], rung.models, streams, costs)
            began, busy_s, own_s = time.monotonic(), _busy_s(), _own_s()
            found = uvloop.run(real(spec, rung, count, features, self._plan.hold_s))
            others_s = _busy_s() - busy_s - (_own_s() - own_s)
            others = others_s / (time.monotonic() - began)
            if found.keeps(LIMIT_S) or count == 1:
                break
            count = max(1, min(count - 1, round(0.8 * count)))
        return {
            "channels_held": count if found.keeps(LIMIT_S) else 0,
            "held_p50_ms": round(1000 * found.final.p50),
            "held_p95_ms": round(1000 * found.final.p95),
            "partials_pct": round(100 * found.answered / max(1, found.partials)),
            "finals_counted": found.final.count,
            "others_cores": round(max(0.0, others), 2),
        }

    # --- words -----------------------------------------------------------------------------------------------------

    def words(self, streams: int) -> list[dict[str, Value]]:
        """Word errors of every engine and real model, finals and partials, greedy."""
        rows: list[dict[str, Value]] = []
        for engine in self._plan.engines:
            for model in self._plan.models:
                key = f"words {engine} {model}"
                rows.append(self._store.get(key, partial(self._errors, engine, model, streams)))
        return rows

    def _errors(self, engine: str, model: str, streams: int) -> dict[str, Value]:
        loaded = self._loaded(engine, model, streams)
        said = [
            one for one in utterances(speech_folder(), WORDS_EVERY, loaded.n_mels) if one.source.split("@")[0] in SPEECH
        ]
        row: dict[str, Value] = {"engine": engine, "model": model, "clips": len(said)}
        for kind in Kind:
            heard = [
                hypothesis.text
                for at in range(0, len(said), self._plan.usual_batch)
                for hypothesis in loaded.decode(
                    [Window(one.features, kind, "en") for one in said[at : at + self._plan.usual_batch]]
                )
            ]
            errors = total(word_errors(one.text, text) for one, text in zip(said, heard, strict=True))
            row |= {"words": errors.words, f"wer_{kind}_pct": round(100 * errors.rate, 2)}
        return row


def _busy_s() -> float:
    """Seconds that all cores together have worked since the machine started."""
    user, nice, system = (int(value) for value in Path("/proc/stat").read_text().split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    """Seconds that this process and its children that have ended have used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main(
    *,
    device: Annotated[str, typer.Option(help="cpu or cuda:0; without it, the GPU where there is one.")] = "",
    models: Annotated[str, typer.Option(help="Models with real weights, the smallest first, with commas.")] = "",
    engines: Annotated[str, typer.Option(help="whisper, torch, or both, with commas.")] = "",
    shapes: Annotated[str, typer.Option(help=f"Random weights of these shapes: {', '.join(SHAPES)}.")] = "",
    hold_s: Annotated[float, typer.Option(help="Seconds that channels are held for real.")] = 18.0,
    fresh: Annotated[bool, typer.Option(help="Forget what an earlier run measured.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="Document whose sections are renewed.")] = None,
) -> None:
    """Measure a device."""
    console = Console(width=220)
    device = device or ("cuda:0" if ctranslate2.get_cuda_device_count() else "cpu")
    plan = plan_of(device, models, engines, shapes, hold_s)
    store = Store(FOLDER / f"device-{device.replace(':', '-')}-measured.json")
    if fresh:
        store.file.unlink(missing_ok=True)
    store.load()
    box, began = machine(), time.monotonic()
    peak = peak_of(device, cast("str | None", box["gpu"]), len(os.sched_getaffinity(0)))
    bench = Bench(plan, store, console)
    rows, streams = bench.costs(peak)
    settings: dict[str, Value] = {"device": device, "compute_type": plan.compute_type, "streams": streams}
    summary: dict[str, Value] = {"streams chosen": streams, "roofline": peak.source if peak else "unknown"}
    publish(report("device-costs", settings, summary, rows), "what batches cost", console, markdown)
    costs = tuple(costs_of(rows, plan.engines[0], streams))
    file = FOLDER / f"profile-{device.replace(':', '-')}.json"
    write_profile(file, profile_of(plan, box, streams, costs))
    console.print(f"profile written to {file}")
    real_costs = [cost for cost in costs if cost.model in plan.models]
    held = bench.channels(real_costs, streams)
    summary = {"p95 of finals at most": f"{LIMIT_S:g} s", "partials answered at least": "90 %"}
    publish(report("device-channels", settings, summary, held), "channels", console, markdown)
    try:
        words = bench.words(streams)
    except SpeechNotFound as problem:
        console.print(f"no word errors: {problem}")
    else:
        publish(report("device-words", settings, {}, words), "word errors", console, markdown)
    console.print(f"took {time.monotonic() - began:.0f} s")


def profile_of(plan: Plan, box: dict[str, Value], streams: int, costs: tuple[Cost, ...]) -> Profile:
    """The costs with what must be known about them."""
    return Profile(
        measured=str(box["date"]),
        device=str(box["gpu"] or plan.device),
        machine=f"{box['cores']} cores of {box['cpu']}",
        engine=plan.engines[0],
        compute_type=plan.compute_type,
        streams=streams,
        max_batch=plan.batches[-1],
        costs=costs,
    )


if __name__ == "__main__":
    typer.run(main)
