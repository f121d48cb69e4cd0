"""What batches take on a device, looked at before it says that it is ready: the first call is judged by it.

A few batches of every model and beam it will be asked for, on all its streams at once, as under load. They hold real
speech, for what a decode costs depends on how much is said: 9.7 s of LJ Speech (LJ001-0001, K. Ito and L. Johnson; in
the public domain) over a telephone. What is measured here is a start: every batch of a call corrects it.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import numpy as np

from gpu.cost import Cost, CostModel, Timing
from gpu.engine import Engine
from gpu.errors import OutOfMemory
from gpu.front_end.front_end import NumpyFrontEnd, Source
from gpu.spec import DeviceSpec
from streaming.call import Encoding
from streaming.decoding import Float32Array, Kind, Window

__all__ = ["costs_of", "time_batches"]

SPEECH: Final = Path(__file__).with_name("speech.ulaw")
SPEECH_RATE: Final = 8000

SHORT_S: Final = 2.0
LONG_S: Final = 6.0
"""Seconds of audio in windows: of a partial early in an utterance, and of a final behind its lead."""

SHAPES: Final = ((1, SHORT_S), (4, SHORT_S), (1, LONG_S))
"""Windows in a batch, and seconds of audio in each: enough to see what more windows cost, and what longer ones do."""

APART_S: Final = 0.9
"""Seconds between the beginnings of a batch's windows: no two of them say the same."""

ROUNDS: Final = (2, 3)
"""Times everything is decoded, at least and at most: the first time counts only if it was no slower than the others."""

BUDGET_S: Final = 1.5
"""Seconds that a third round must not go beyond."""

LONGEST_S: Final = 15.0
STEP_S: Final = 0.5
"""Windows up to the longest, in such steps, are told what they cost; longer ones come seldom."""


def time_batches(
    spec: DeviceSpec, engines: Mapping[str, Engine], clock: Callable[[], float] = time.perf_counter
) -> tuple[Timing, ...]:
    """Time batches of what the device will decode and its profile does not tell of.

    Args:
        spec: The device.
        engines: By model; all warm.
        clock: Seconds.

    Raises:
        EngineError: If the device failed.
    """
    profiled = {(cost.model, cost.beam) for cost in spec.profile}
    lanes = [
        (model, beam)
        for model, beam in spec.decodes
        if (model, beam) not in profiled and not (beam > 1 and engines[model].greedy)
    ]
    shapes = dict.fromkeys((min(size, spec.max_batch), audio_s) for size, audio_s in SHAPES)
    points = [(model, beam, size, audio_s) for model, beam in lanes for size, audio_s in shapes]
    if not points:
        return ()
    points.sort(key=lambda point: -point[2] * point[3])  # the short ones last, so that no stream is idle for long
    copies = math.ceil(spec.streams / len(points))
    rounds: list[list[float]] = []
    with ThreadPoolExecutor(spec.streams) as streams:
        began, took_s = clock(), 0.0
        while len(rounds) < ROUNDS[0] or (len(rounds) < ROUNDS[1] and took_s * (1 + 1 / len(rounds)) <= BUDGET_S):
            rounds.append(list(streams.map(partial(_time, engines, clock), points * copies)))
            took_s = clock() - began
    medians = [sorted(each)[(len(each) - 1) // 2] for each in zip(*rounds, strict=True)]
    return tuple(
        Timing(*point, took_s) for point, took_s in zip(points * copies, medians, strict=True) if math.isfinite(took_s)
    )


def costs_of(engines: Mapping[str, Engine], timings: Sequence[Timing]) -> Iterator[Cost]:
    """Draw a line for each bucket that windows of up to ``LONGEST_S`` fall into.

    Args:
        engines: By model.
        timings: Of their batches.
    """
    by_lane: defaultdict[tuple[str, int], list[Timing]] = defaultdict(list)
    for timing in timings:
        by_lane[timing.model, timing.beam].append(timing)
    for (model, beam), mine in by_lane.items():
        fitted = CostModel()
        for timing in mine:
            fitted.observe((model, timing.audio_s), timing.size, timing.took_s, 0.0)
        short, long = (fitted.line((model, audio_s)) for audio_s in (SHORT_S, LONG_S))
        grows_s = max(0.0, long.at(1) - short.at(1)) / (LONG_S - SHORT_S)  # for each second of audio
        for bucket, audio_s in _buckets(engines[model], beam).items():
            share_s = short.each_s * min(1.0, audio_s / SHORT_S)  # the least: a line of nothing cannot be corrected
            each_s = max(share_s, short.each_s + grows_s * (audio_s - SHORT_S))
            yield Cost(model, bucket, short.fixed_s, each_s)


def _time(engines: Mapping[str, Engine], clock: Callable[[], float], point: tuple[str, int, int, float]) -> float:
    """Seconds that a batch takes; infinitely many if it does not fit, which is learned again when it matters."""
    model, beam, size, audio_s = point
    engine = engines[model]
    speech, frames = _speech(engine.n_mels), round(100 * audio_s)
    kind = Kind.FINAL if beam > 1 else Kind.PARTIAL
    starts = [round(100 * APART_S * number) % (speech.shape[1] - frames) for number in range(size)]
    windows = [Window(speech[:, at : at + frames], kind, "en", beam=beam) for at in starts]
    began = clock()
    try:
        engine.decode(windows)
    except OutOfMemory:
        return math.inf
    return clock() - began


def _buckets(engine: Engine, beam: int) -> dict[str, float]:
    """The engine's buckets, each with the longest window that falls into it, in seconds of audio."""
    found: dict[str, float] = {}
    kind = Kind.FINAL if beam > 1 else Kind.PARTIAL
    for step in range(1, round(LONGEST_S / STEP_S) + 1):
        silence = np.broadcast_to(np.float32(0.0), (engine.n_mels, round(100 * step * STEP_S)))
        found[str(engine.bucket(Window(silence, kind, "en", beam=beam)))] = step * STEP_S
    return found


@lru_cache(maxsize=2)
def _speech(n_mels: int) -> Float32Array:
    """The features of the speech, shape ``(n_mels, n_frames)``."""
    front_end = NumpyFrontEnd(Source(Encoding.MULAW, SPEECH_RATE), n_mels)
    features: Float32Array = front_end.batch([SPEECH.read_bytes()], normalised=False)[0]
    return features
