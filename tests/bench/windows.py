"""What short windows cost in words, and what they save in time.

`python -m tests.bench.windows` decodes every utterance of the speech folder as one window, and pieces of its noise,
music and tones: with faster-whisper, which pads to 30 s, and with our engine at several tails. It prints word errors
and invented words for each source, and how long windows of 3, 6 and 10 s take in batches. Defaults in
`gpu/short_windows.py` and `gpu/guards.py` come from such tables.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from gpu.engine import Bucket
from gpu.models import ModelStore
from gpu.whisper import Tuning, WhisperEngine
from streaming.audio import decode, deinterleave
from streaming.decoding import Float32Array, Hypothesis, Kind, Window
from streaming.features import FeatureStore
from tests.bench.corpus import Clip, read_clips, speech_folder
from tests.bench.offline import whisper
from tests.bench.scoring import Value, WordErrors, show_table, total, word_errors, write_report
from tests.bench.stopwatch import took
from tests.support.audio_files import WIDEBAND_RATE, resample

SPEECH: Final = (
    "librispeech_test_other",
    "ljspeech",
    "asterisk_en",
    "picovoice",
    "azure_customspeech",
    "an4_train",
)
NOT_SPEECH: Final = (
    "esc10",
    "moh_opsound",
    "synthetic_tones",
    "dtmf",
    "speech_commands_noise",
    "asterisk_tones",
)
LONGEST_S: Final = 28.0
PIECES_S: Final = (1.0, 2.5, 4.0, 6.0, 9.0)
"""Lengths of windows cut from what is not speech."""
PIECES_FROM_S: Final = 24.0
"""Seconds of each such file that are used."""
TELEPHONE: Final = "@8k"
"""Marks sources that were sent through a telephone codec."""
BATCH: Final = 4
WORKERS: Final = 2


class Part(StrEnum):
    """What to measure."""

    WORDS = "words"
    COST = "cost"


@dataclass(frozen=True, slots=True)
class Utterance:
    """One window's worth of sound."""

    source: str
    text: str
    """Empty where nobody speaks."""
    audio: Float32Array
    """16 kHz, float32, shape ``(n_samples,)``."""
    features: Float32Array
    context: str
    """What was said before it in the same source."""


def utterances(
    folder: Path, every: int, n_mels: int, sources: Collection[str] = (*SPEECH, *NOT_SPEECH)
) -> Iterator[Utterance]:
    """All clips short enough to be windows, and pieces of what is not speech.

    Args:
        folder: The speech folder.
        every: Only each n-th clip of a source.
        n_mels: Mel bands of the model.
        sources: Those wanted.
    """
    clips: defaultdict[str, list[Clip]] = defaultdict(list)
    for clip in read_clips(folder):
        clips[clip.source].append(clip)
    for source in filter(sources.__contains__, SPEECH):
        before = ""
        for clip in clips[source][::every]:
            if clip.text and clip.language == "en" and clip.duration_s <= LONGEST_S:
                for telephone in (False, True) if clip.rate > 8000 else (False,):
                    name = source + TELEPHONE * telephone
                    audio = mono(clip, telephone=telephone)
                    yield Utterance(name, clip.text, audio, features(audio, n_mels), before)
                before = clip.text
    for source in filter(sources.__contains__, NOT_SPEECH):
        for number, clip in enumerate(clips[source][::every]):
            audio = mono(clip, telephone=True)[: int(PIECES_FROM_S * WIDEBAND_RATE)]
            size = int(PIECES_S[number % len(PIECES_S)] * WIDEBAND_RATE)
            for start in range(0, max(audio.size - size // 2, 1), 2 * size):
                piece = audio[start : start + size]
                yield Utterance(source, "", piece, features(piece, n_mels), "")


def mono(clip: Clip, *, telephone: bool) -> Float32Array:
    """First side of a clip, as its call would carry it, at 16 kHz."""
    call = clip.audio(telephone=telephone)
    sides = deinterleave(decode(call.payload, call.format.encoding), call.format.channels)
    return np.ascontiguousarray(resample(sides[0], call.format.rate, WIDEBAND_RATE))


def features(audio: Float32Array, n_mels: int) -> Float32Array:
    """Log-mel frames of all of it."""
    store = FeatureStore(n_mels)
    store.append(audio)
    store.finish()
    return store.frames(0, store.available_frames)


def batched(engine: WhisperEngine, windows: Sequence[Window]) -> list[Hypothesis]:
    """Decode windows as a device does: by bucket, in batches, on all workers."""
    buckets: defaultdict[Bucket, list[int]] = defaultdict(list)
    for at, window in enumerate(windows):
        buckets[engine.bucket(window)].append(at)
    batches = [rows[at : at + BATCH] for rows in buckets.values() for at in range(0, len(rows), BATCH)]
    answers: dict[int, Hypothesis] = {}
    with ThreadPoolExecutor(WORKERS) as threads:
        decoded = threads.map(engine.decode, [[windows[row] for row in rows] for rows in batches])
        for rows, hypotheses in zip(batches, decoded, strict=True):
            answers.update(zip(rows, hypotheses, strict=True))
    return [answers[at] for at in range(len(windows))]


def word_rows(variant: str, said: Sequence[Utterance], heard: Sequence[str], seconds: float) -> list[dict[str, Value]]:
    """One row a source: word errors where somebody speaks, else invented words."""
    errors: defaultdict[str, list[WordErrors]] = defaultdict(list)
    for utterance, text in zip(said, heard, strict=True):
        errors[utterance.source].append(word_errors(utterance.text, text))
    rows: list[dict[str, Value]] = []
    for source, found in errors.items():
        row: dict[str, Value] = {"variant": variant, "source": source, "windows": len(found)}
        row |= total(found).row()
        row["windows_with_inventions"] = sum(one.inserted > 0 for one in found) if source in NOT_SPEECH else None
        row["windows_per_s"] = round(len(said) / seconds, 2)
        rows.append(row)
    return rows


def measure_words(
    model: str, folder: Path, every: int, tails_s: Sequence[float], *, offline: bool
) -> list[dict[str, Value]]:
    """Compare word errors of all variants."""
    engine = WhisperEngine(folder, model, workers=WORKERS)
    said = list(utterances(speech_folder(), every, engine.n_mels))
    rows: list[dict[str, Value]] = []
    for tail_s in tails_s:
        engine = WhisperEngine(folder, model, workers=WORKERS, tuning=Tuning(tail_s=tail_s))
        finals = [Window(one.features, Kind.FINAL, "en") for one in said]
        variants: dict[str, list[Window]] = {f"final, tail {tail_s} s": finals}
        if tail_s == Tuning().tail_s:
            variants["partial"] = [replace(window, kind=Kind.PARTIAL) for window in finals]
            variants["final, with context"] = [
                replace(window, context=one.context) for window, one in zip(finals, said, strict=True)
            ]
        for variant, windows in variants.items():
            started = time.perf_counter()
            heard = batched(engine, windows)
            rows += word_rows(variant, said, [hypothesis.text for hypothesis in heard], time.perf_counter() - started)
    if offline:
        transcribe = whisper(folder)
        started = time.perf_counter()
        texts = [transcribe(one.audio, vad_filter=False) for one in said]
        rows += word_rows("faster-whisper, 30 s", said, texts, time.perf_counter() - started)
    return rows


def measure_cost(model: str, folder: Path, repeats: int) -> list[dict[str, Value]]:
    """Time windows of real speech, both workers busy."""
    engine = WhisperEngine(folder, model, workers=WORKERS)
    engine.warm_up()
    speech = [one for one in utterances(speech_folder(), 2, engine.n_mels) if one.source == "librispeech_test_other"]
    stream = np.concatenate([one.features for one in speech], axis=1)
    rows: list[dict[str, Value]] = []
    for seconds in (3, 6, 10):
        for kind in Kind:
            for size in (1, 4, 8):
                cut = [
                    stream[:, at * 100 * seconds :][:, : 100 * seconds]
                    for at in range(stream.shape[1] // 100 // seconds)
                ]
                windows = [Window(one, kind, "en") for one in cut[: size * WORKERS]]
                times = [took(partial(_decode, engine, windows, size)) for _ in range(repeats)]
                row: dict[str, Value] = {"seconds": seconds, "kind": str(kind), "batch": size}
                row["best_ms"] = round(1000 * min(wall_s for wall_s, _ in times))
                row["windows_per_s"] = round(len(windows) / min(wall_s for wall_s, _ in times), 1)
                row["cpu_ms_per_window"] = round(1000 * statistics.median(cpu_s for _, cpu_s in times) / len(windows))
                rows.append(row)
    return rows


def _decode(engine: WhisperEngine, windows: Sequence[Window], size: int) -> None:
    """Decode batches of this size, one on each worker."""
    with ThreadPoolExecutor(WORKERS) as threads:
        list(threads.map(engine.decode, [windows[at : at + size] for at in range(0, len(windows), size)]))


def main(
    *,
    model: Annotated[str, typer.Option(help="Name or folder of a model.")] = "tiny.en",
    part: Annotated[Part | None, typer.Option(help="What to measure; without it, all.")] = None,
    tails: Annotated[str, typer.Option(help="Tails to compare, in seconds, with commas.")] = str(Tuning().tail_s),
    every: Annotated[int, typer.Option(min=1, help="Only each n-th clip.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Times each cost is measured.")] = 3,
    offline: Annotated[bool, typer.Option(help="Decode with faster-whisper too; slow.")] = True,
    out: Annotated[Path, typer.Option(help="Folder of the reports.")] = Path("build/bench"),
) -> None:
    """Measure short windows against padded ones."""
    folder = ModelStore().find(model)
    settings: dict[str, Value] = {"model": model, "every": every, "workers": WORKERS, "compute_type": "int8"}
    if part in (None, Part.WORDS):
        tails_s = [float(tail) for tail in tails.split(",")]
        rows = measure_words(model, folder, every, tails_s, offline=offline)
        show_table("word errors and inventions", rows)
        write_report(out / f"windows-words-{Path(model).name}.json", "windows, words", rows, settings)
    if part in (None, Part.COST):
        rows = measure_cost(model, folder, repeats)
        show_table("cost of windows", rows)
        write_report(out / f"windows-cost-{Path(model).name}.json", "windows, cost", rows, settings)


if __name__ == "__main__":
    typer.run(main)
