"""What one device can do: `make bench-device`, or `python -m tests.bench.device`.

Four parts, each a table. *costs*: what batches cost by engine, model, length, size and number of streams, beside the
roofline; they are written as a profile too, which `devices.profile` names and the simulator reads. *words*: word errors
on real speech, so that speed never hides damage. *channels*: how many channels of continuous speech these costs mean
through the real batcher, and how soon one alone has its finals. *held*, which takes minutes more and is asked for with
`--hold`: channels held for real about that number, by which the model is judged.

On a processor it takes tiny.en and base and less than five minutes. Where there is an NVIDIA GPU (`--device cuda:0`,
chosen by itself) also the shapes of larger models with random weights, which write as many tokens as people would have
said, and PyTorch where it is installed. What was measured is kept in `build/bench`, and a run that was broken off goes
on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Final, cast

import ctranslate2 as _ctranslate2
import typer
from rich.console import Console

from gpu.cost import Cost
from gpu.engine import Engine
from gpu.profile import Profile, write_profile
from streaming.decoding import Kind, Window
from tests.bench.beside import Used
from tests.bench.corpus import SpeechNotFound, speech_folder
from tests.bench.device_bay import Bay
from tests.bench.device_carried import LIMIT_S, Carried
from tests.bench.device_costs import Point, costs_of, measure
from tests.bench.device_plan import BEAM, LENGTHS_S, RANDOM, Plan, plan_of
from tests.bench.device_store import Measuring, Row, Store
from tests.bench.forced import said
from tests.bench.report import FOLDER, publish, report
from tests.bench.roofline import SHAPES, Peak, peak_of, windows_per_s
from tests.bench.scoring import Value, machine, total, word_errors
from tests.bench.windows import SPEECH, utterances

ctranslate2: Any = _ctranslate2  # it comes without types

WORDS_EVERY: Final = 20
"""Only each n-th clip is decoded for word errors."""
HELPS: Final = 1.05
"""Factor that another stream must bring at least."""
GREEDY: Final = ("torch",)
"""Engines that have no beam to measure."""
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


class Part(StrEnum):
    """What to measure."""

    COSTS = "costs"
    WORDS = "words"
    CHANNELS = "channels"
    HELD = "held"


class Bench:
    """Costs and words.

    Args:
        plan: What to measure.
        measuring: Keeps what was measured.
        bay: Loads engines.
    """

    def __init__(self, plan: Plan, measuring: Measuring, bay: Bay) -> None:
        self._plan = plan
        self._measured = measuring.measured
        self._tell = measuring.tell
        self._bay = bay

    # --- costs -----------------------------------------------------------------------------------------------------

    def streams(self, engine: str) -> int:
        """Return the number of streams with most windows a second; more only where they clearly help."""
        best, most_per_s = 1, 0.0
        choices = self._plan.streams_of(engine)
        for streams in choices if len(choices) > 1 else ():
            point = Point(engine, self._plan.models[0], LENGTHS_S[1], self._plan.usual_batch, streams)
            row = self._measured(f"streams: {point.key}", partial(self._timed, point))
            per_s = float(str(row["windows_per_s"])) if row else 0.0
            self._tell(f"{engine}, {streams} streams: {per_s} windows/s")
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
                    self._tell(f"{point.key}: {row['windows_per_s']} windows/s")
        return rows

    def _points(self, engine: str, model: str, streams: int) -> Iterator[Point]:
        for seconds, batch in product(LENGTHS_S, self._plan.batches):
            yield Point(engine, model, seconds, batch, streams)
        if engine not in GREEDY and not model.endswith(RANDOM):
            for batch in (1, self._plan.usual_batch):
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
        try:
            folder = speech_folder()
        except SpeechNotFound as problem:
            self._tell(f"no word errors: {problem}")
            return []
        rows = [
            self._measured(f"words {engine} {model}", partial(self._errors, engine, model, streams, folder))
            for model in self._plan.models
        ]
        return [row for row in rows if row is not None]

    def _errors(self, engine: str, model: str, streams: int, folder: Path) -> Row:
        loaded = self._bay.engine(engine, model, streams)
        clips = list(utterances(folder, WORDS_EVERY, loaded.n_mels, SPEECH))
        row: Row = {"engine": engine, "model": model, "clips": len(clips)}
        for kind in Kind:
            windows = [Window(one.features, kind, "en") for one in clips]
            heard = _heard(loaded, windows, self._plan.usual_batch, streams)
            errors = total(word_errors(one.text, text) for one, text in zip(clips, heard, strict=True))
            row |= {"words": errors.words, f"wer_{kind}_pct": round(100 * errors.rate, 2)}
        return row


def _heard(engine: Engine, windows: Sequence[Window], batch: int, streams: int) -> list[str]:
    """Texts of windows, which are decoded with others of about their length."""
    order = sorted(range(len(windows)), key=lambda at: windows[at].seconds)
    together = [order[start : start + batch] for start in range(0, len(order), batch)]
    with ThreadPoolExecutor(streams) as threads:
        answers = threads.map(engine.decode, [[windows[at] for at in places] for places in together])
        texts = {
            at: one.text
            for places, some in zip(together, answers, strict=True)
            for at, one in zip(places, some, strict=True)
        }
    return [texts[at] for at in range(len(windows))]


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
    part: Annotated[Part | None, typer.Option(help="What to measure beside costs; without it, all but held.")] = None,
    hold: Annotated[bool, typer.Option("--hold", help="Hold channels for real, too: minutes more.")] = False,
    hold_s: Annotated[float, typer.Option(help="Seconds that each number is held; 0 for the usual.")] = 0.0,
    fresh: Annotated[bool, typer.Option(help="Forget what an earlier run measured.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="Document whose sections are renewed.")] = None,
) -> None:
    """Measure a device."""
    console = Console(width=220)
    gpus: int = ctranslate2.get_cuda_device_count()
    device = device or ("cuda:0" if gpus else "cpu")
    if device.startswith("cuda") and not gpus:
        raise typer.BadParameter("no NVIDIA GPU, or no driver for it, was found on this machine; see nvidia-smi")
    plan = plan_of(device, models, engines, shapes, hold_s)
    box = machine()
    kept = FOLDER / f"device-{device.replace(':', '-')}{plan.alone}-measured.json"
    store = Store(kept, f"{box['gpu'] or box['cpu']}, {box['commit']}")
    if not fresh and store.load():
        console.print(f"goes on with {len(store.rows)} rows of {store.file}; --fresh begins anew")
    wanted = {part} if part else set(Part) - (set() if hold else {Part.HELD})
    measuring = Measuring(store, console)
    with store.spending(Part.COSTS):
        peak = peak_of(device, cast("str | None", box["gpu"]), len(os.sched_getaffinity(0)))
    bay = Bay(device, plan.compute_type, plan.batches[-1], FOLDER / "random")
    bench = Bench(plan, measuring, bay)
    summary: dict[str, Value] = {}
    tables: dict[Part, list[Row]] = {each: [] for each in Part}
    for engine in plan.engines:
        with store.spending(Part.COSTS):
            streams = bench.streams(engine)
            rows = bench.costs(engine, streams, peak)
        summary[f"streams of {engine}"] = streams
        tables[Part.COSTS] += rows
        costs = tuple(costs_of(rows, engine, streams))
        file = FOLDER / f"profile-{device.replace(':', '-')}-{engine}.json"
        if costs:
            write_profile(file, profile_of(plan, box, engine, streams, costs))
            console.print(f"profile written to {file}")
        carried = Carried(plan, measuring, bay, engine=engine, costs=costs, streams=streams)
        works: dict[Part, Callable[[], list[Row]]] = {
            Part.WORDS: partial(bench.words, engine, streams),
            Part.CHANNELS: carried.channels,
            Part.HELD: carried.held,
        }
        for each, work in works.items():
            if each in wanted:
                with store.spending(each):
                    tables[each] += work()
    bay.clear()
    summary |= {
        "clock": "processor time, all streams busy" if plan.timing.by_processor else "wall, all streams busy",
        "roofline": peak.source if peak else "unknown",
        "best shares of it": best_shares(tables[Part.COSTS]),
        "not measured": "; ".join(measuring.problems) or "nothing left out",
    }
    summaries: dict[Part, dict[str, Value]] = {
        Part.COSTS: summary,
        Part.WORDS: {},
        Part.CHANNELS: {"p95 of finals at most": f"{LIMIT_S:g} s", "partials answered at least": "90 %"},
        Part.HELD: {"each number of channels for": f"{plan.hold_s:g} s"},
    }
    settings: dict[str, Value] = {"device": device, "compute_type": plan.compute_type}
    for each, rows in tables.items():
        if rows:
            where = "-gpu" if device.startswith("cuda") else ""
            found = summaries[each] | {"took": took(store, plan, each)}
            publish(report(f"device-{each}{where}{plan.alone}", settings, found, rows), each, console, markdown)
    measuring.tell(f"all together: {sum(store.spent.values(), Used())}")


def took(store: Store, plan: Plan, part: str) -> str:
    """What a part took, and what it is made for."""
    made_for = f"; made for {plan.budgets_s[part]:g} s of a quiet machine" if part in plan.budgets_s else ""
    return f"{store.spent[part]}{made_for}"


if __name__ == "__main__":
    typer.run(main)
