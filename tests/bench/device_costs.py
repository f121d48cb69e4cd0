"""What batches of windows cost on a device: seconds, windows a second, processor time, for each size and length."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from gpu.cost import Cost
from gpu.engine import Engine
from streaming.decoding import Float32Array, Kind, Window
from tests.bench.corpus import SpeechNotFound, speech_folder
from tests.bench.forced import Forced
from tests.bench.scoring import Value, percentiles
from tests.bench.windows import utterances

SOUNDS: Final = ("librispeech_test_other",)
"""Sources of the windows."""

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
    rounds: int
    """Least batches of each stream."""
    warm_ups: int
    """Batches of each stream that do not count, before."""
    warm_windows: int
    """Most windows of these: a processor has nothing to learn of a size, a GPU has."""
    by_processor: bool
    """Whether the time that other programs took is taken out, by what the kernel says that this process used. Right
    where a stream is a thread that never waits, as on a processor; on a GPU the clock counts."""


def sound(n_mels: int, seconds: float = 240.0) -> Float32Array:
    """Speech without pauses between clips as features, shape ``(n_mels, n_frames)``; noise where there is none."""
    try:
        said = [one for one in utterances(speech_folder(), 4, n_mels, SOUNDS) if one.source in SOUNDS]
        return np.concatenate([one.features for one in said], axis=1)[:, : round(100 * seconds)]
    except SpeechNotFound:
        return np.random.default_rng(1).normal(-4.0, 1.0, (n_mels, round(100 * seconds))).astype(np.float32)


def windows_of(features: Float32Array, point: Point, count: int) -> list[Window]:
    """Windows of the point's length, each from another place; with a beam all are finals, else one in six is."""
    frames = round(100 * point.seconds)
    last = features.shape[1] - frames
    starts = [(number * 977) % last for number in range(count)]
    cut = [np.ascontiguousarray(features[:, start : start + frames]) for start in starts]
    if point.beam > 1:
        return [Window(one, Kind.FINAL, "en", beam=point.beam) for one in cut]
    kinds = [Kind.FINAL if number % FINALS_IN == 0 else Kind.PARTIAL for number in range(count)]
    return [Window(one, kind, "en") for one, kind in zip(cut, kinds, strict=True)]


def measure(engine: Engine, point: Point, features: Float32Array, timing: Timing) -> dict[str, Value]:
    """Time batches while all streams are busy.

    Args:
        engine: Takes as many batches at a time as the point has streams.
        point: What to measure.
        features: Where windows are cut from.
        timing: How to time.
    """
    count = max(timing.windows // point.batch, timing.rounds * point.streams)
    windows = windows_of(features, point, count * point.batch)
    batches = [windows[at : at + point.batch] for at in range(0, len(windows), point.batch)]
    with ThreadPoolExecutor(point.streams) as streams:
        warming = batches[: timing.warm_ups * point.streams]
        list(streams.map(engine.decode, [batch[: timing.warm_windows] for batch in warming]))
        written = _written(engine)
        cpu_s, began = time.process_time(), time.perf_counter()
        took = list(streams.map(partial(_seconds, engine), batches))
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
    if timing.by_processor:
        seconds, took = cpu_s / point.streams, [each * cpu_s / sum(took) for each in took]
    found = percentiles(took)
    return {
        "engine": point.engine,
        "model": point.model,
        "seconds": point.seconds,
        "bucket": str(engine.bucket(windows[0])),
        "beam": point.beam,
        "batch": point.batch,
        "streams": point.streams,
        "windows_per_s": round(len(windows) / seconds, 1),
        "mean_ms": round(1000 * sum(took) / len(took), 1),
        "p50_ms": round(1000 * found.p50, 1),
        "p95_ms": round(1000 * found.p95, 1),
        "cpu_ms_per_window": round(1000 * cpu_s / len(windows), 1),
        "tokens": round((_written(engine) - written) / len(windows), 1) if isinstance(engine, Forced) else None,
    }


def _seconds(engine: Engine, batch: Sequence[Window]) -> float:
    began = time.perf_counter()
    engine.decode(batch)
    return time.perf_counter() - began


def _written(engine: Engine) -> int:
    """Tokens that an engine has written, if it counts them."""
    return engine.tokens if isinstance(engine, Forced) else 0


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
