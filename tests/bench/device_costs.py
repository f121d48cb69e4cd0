"""What batches of windows cost on a device: seconds, windows a second, processor time, for each size and length."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np

from gpu.cost import Cost
from gpu.engine import Engine
from gpu.short_windows import Job, ShortWindowEngine
from streaming.decoding import Float32Array, Kind, Window
from tests.bench.corpus import SpeechNotFound, speech_folder
from tests.bench.scoring import Value, percentiles
from tests.bench.windows import utterances

FINALS_IN: Final = 6
"""One window of so many is a final: with a partial a second, that is what calls bring."""


@dataclass(frozen=True, slots=True)
class Point:
    """What is measured: batches of one size and length, on so many streams at a time."""

    engine: str
    model: str
    seconds: float
    """Length of the windows' audio."""
    batch: int
    streams: int
    beam: int = 1

    @property
    def key(self) -> str:
        """A name that no other point has."""
        return f"{self.engine} {self.model} {self.seconds:g}s x{self.batch} on {self.streams}, beam {self.beam}"


@dataclass(frozen=True, slots=True)
class Timing:
    """How batches are timed."""

    windows: int
    """Windows of each point, whatever the size of its batches."""
    by_processor: bool
    """Whether what counts is the time of the processor, one batch after the other, and not that of the clock with all
    streams busy: a thread a stream, they are the same on an idle machine, and only the first can be measured on one
    that others use too."""


def sound(n_mels: int, seconds: float = 240.0) -> Float32Array:
    """Speech without pauses between clips as features, shape ``(n_mels, n_frames)``; noise where there is none."""
    try:
        said = [one for one in utterances(speech_folder(), 4, n_mels) if one.source == "librispeech_test_other"]
        return np.concatenate([one.features for one in said], axis=1)[:, : round(100 * seconds)]
    except SpeechNotFound:
        return np.random.default_rng(1).normal(-4.0, 1.0, (n_mels, round(100 * seconds))).astype(np.float32)


def windows_of(features: Float32Array, point: Point, count: int) -> list[Window]:
    """Windows of the point's length, each from another place."""
    frames = round(100 * point.seconds)
    last = features.shape[1] - frames
    starts = [(number * 977) % last for number in range(count)]
    cut = [np.ascontiguousarray(features[:, start : start + frames]) for start in starts]
    kinds = [Kind.FINAL if number % FINALS_IN == 0 else Kind.PARTIAL for number in range(count)]
    return [
        Window(one, kind, "en", beam=point.beam if kind is Kind.FINAL else 1)
        for one, kind in zip(cut, kinds, strict=True)
    ]


def measure(engine: Engine, point: Point, features: Float32Array, *, plan: Timing, random: bool) -> dict[str, Value]:
    """Time batches.

    Args:
        engine: Warm; takes as many batches at a time as the point has streams.
        point: What to measure.
        features: Where windows are cut from.
        plan: How to time.
        random: Whether the weights mean nothing: then each window is decoded once, to the most tokens it may have.
    """
    count = max(plan.windows // point.batch, 2 * point.streams)
    windows = windows_of(features, point, count * point.batch)
    if point.beam > 1:
        windows = [replace(window, kind=Kind.FINAL, beam=point.beam) for window in windows]
    batches = [windows[at : at + point.batch] for at in range(0, len(windows), point.batch)]
    _run(engine, batches[0], random=random)
    cpu_s, began = time.process_time(), time.perf_counter()
    if plan.by_processor:
        took = [_cpu_s(partial(_run, engine, batch, random=random)) for batch in batches]
        seconds = sum(took) / point.streams
    else:
        with ThreadPoolExecutor(point.streams) as streams:
            took = list(streams.map(partial(_run, engine, random=random), batches))
        seconds = time.perf_counter() - began
    cpu_s = time.process_time() - cpu_s
    found = percentiles(took)
    return {
        "engine": point.engine,
        "model": point.model,
        "seconds": point.seconds,
        "bucket": str(engine.bucket(windows[0])),
        "beam": point.beam,
        "batch": point.batch,
        "streams": point.streams,
        "clock": "processor" if plan.by_processor else "wall",
        "windows_per_s": round(len(windows) / seconds, 1),
        "mean_ms": round(1000 * sum(took) / len(took), 1),
        "p50_ms": round(1000 * found.p50, 1),
        "p95_ms": round(1000 * found.p95, 1),
        "cpu_ms_per_window": round(1000 * cpu_s / len(windows), 1),
    }


def _cpu_s(work: Callable[[], object]) -> float:
    """Seconds of the processor that something takes, all threads together."""
    began = time.process_time()
    work()
    return time.process_time() - began


def _run(engine: Engine, batch: Sequence[Window], *, random: bool) -> float:
    began = time.perf_counter()
    if random and isinstance(engine, ShortWindowEngine):
        engine.transcribe([Job(at, window, engine.bucket(window), ()) for at, window in enumerate(batch)])
    else:
        engine.decode(batch)
    return time.perf_counter() - began


def costs_of(rows: Sequence[dict[str, Value]], engine: str, streams: int) -> Iterator[Cost]:
    """Fit a line to each model and bucket over the sizes measured; the margin is what p95 lies above it at most."""
    mine = [row for row in rows if row["engine"] == engine and row["streams"] == streams and row["bucket"]]
    for model, bucket in dict.fromkeys((str(row["model"]), str(row["bucket"])) for row in mine):
        points = [row for row in mine if (row["model"], row["bucket"]) == (model, bucket)]
        sizes = np.array([float(str(row["batch"])) for row in points])
        mean = np.array([float(str(row["mean_ms"])) / 1000 for row in points])
        slow = np.array([float(str(row["p95_ms"])) / 1000 for row in points])
        each_s, fixed_s = np.polyfit(sizes, mean, 1) if len(points) > 1 else (0.0, mean[0])
        if fixed_s < 0:
            fixed_s, each_s = 0.0, float((mean / sizes).mean())
        margin_s = max(0.0, float((slow - fixed_s - each_s * sizes).max()))
        yield Cost(model, bucket, round(float(fixed_s), 4), round(max(0.0, float(each_s)), 4), round(margin_s, 4))
