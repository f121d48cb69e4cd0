"""What it costs to decode windows by who makes their features: the host, or a front end on the engine's device.

`.venv-torch/bin/python -m tests.bench.front_end_decodes --device cuda:0` decodes batches of mu-law speech on one stream
with each engine and each front end that is installed. With `host` the features are there already and cross to the
device; else the call's bytes do, and features are made anew, which is part of the time. Words are compared, too.
"""

from __future__ import annotations

import statistics
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from gpu.engines import build
from gpu.spec import DeviceSpec
from streaming.audio import decode, encode
from streaming.call import Encoding
from streaming.decoding import Kind, Window
from tests.bench.beside import Stretch
from tests.bench.one_thread import on_one_thread
from tests.bench.report import publish, report
from tests.bench.scoring import Value
from tests.bench.stopwatch import took
from tests.support.audio_files import resample
from tests.support.samples import bundled_clips
from tests.support.windows import both_ways

RATE: Final = 8_000
SECONDS: Final = 3.0
BATCHES: Final = (1, 16)
REPEATS: Final = 5


def windows(count: int) -> dict[bool, list[Window]]:
    """Windows of the bundled speech, over and over: with features, and (True) with audio."""
    clips = [clip.audio for clip in bundled_clips().values() if clip.text]
    found: dict[bool, list[Window]] = {False: [], True: []}
    for clip in clips:
        sound = decode(clip.payload, clip.format.encoding)
        telephone = decode(encode(resample(sound, clip.format.rate, RATE), Encoding.MULAW), Encoding.MULAW)
        stop_s = min(SECONDS, len(telephone) // (RATE // 100) / 100)
        audio, features = both_ways(telephone, Encoding.MULAW, RATE, stop_s=stop_s)
        found[False].append(Window(features, Kind.PARTIAL, "en"))
        found[True].append(Window(audio, Kind.PARTIAL, "en"))
    return {carried: (some * -(-count // len(some)))[:count] for carried, some in found.items()}


def rows(device: str) -> list[dict[str, Value]]:
    """Time every engine with every front end that is installed."""
    on_gpu = device.startswith("cuda")
    with_torch = bool(find_spec("torch"))
    engines = ["whisper"] + ["torch"] * with_torch
    front_ends = ["host"] + ["numpy"] * (not on_gpu) + ["torch"] * with_torch + ["dali"] * bool(find_spec("nvidia"))
    found: list[dict[str, Value]] = []
    for engine in engines:
        texts: dict[int, list[str]] = {}
        for front_end in front_ends:
            found += _measured(engine, front_end, device, texts)
    return found


def _measured(engine: str, front_end: str, device: str, texts: dict[int, list[str]]) -> list[dict[str, Value]]:
    """Rows of one engine with one front end; the first told of an engine is what the others are compared with."""
    compute_type = "float16" if device.startswith("cuda") else "float32"
    spec = DeviceSpec(
        name="bench",
        models=("tiny.en",),
        engine=engine,
        device=device,
        front_end=front_end,
        compute_type=compute_type,
        streams=1,
    )
    loaded = build(spec, "tiny.en")
    loaded.warm_up()
    found: list[dict[str, Value]] = []
    for size in BATCHES:
        batch = windows(size)[front_end != "host"]
        heard = [one.text for one in loaded.decode(batch)]
        times = [took(partial(loaded.decode, batch)) for _ in range(REPEATS)]
        found.append(
            {
                "engine": engine,
                "front_end": front_end,
                "device": device,
                "batch": size,
                "wall_ms_per_window": round(1000 * statistics.median(wall_s for wall_s, _ in times) / size, 2),
                "cpu_ms_per_window": round(1000 * statistics.median(cpu_s for _, cpu_s in times) / size, 2),
                "other_texts": sum(a != b for a, b in zip(heard, texts.setdefault(size, heard), strict=True)),
            }
        )
    loaded.close()
    return found


def main(
    *,
    device: Annotated[str, typer.Option(help="cpu, or cuda: and the number of the GPU.")] = "cpu",
    markdown: Annotated[Path | None, typer.Option(help="Document whose section is renewed.")] = None,
) -> None:
    """Measure decodes by front end."""
    on_one_thread()
    settings = {"model": "tiny.en", "windows": f"{SECONDS:g} s, mulaw, 8 kHz, partials"}
    stretch = Stretch()
    measured = rows(device)
    summary: dict[str, Value] = {"took": str(stretch.used())}
    found = report(f"front-end-decodes-{device.partition(':')[0]}", settings, summary, measured)
    publish(found, "decodes by front end", Console(), markdown)


if __name__ == "__main__":
    typer.run(main)
