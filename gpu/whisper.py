"""Whisper on CTranslate2, with windows only as long as what was said.

Whisper is trained on 30 s of audio, and libraries around it pad every window to that. CTranslate2 takes shorter ones,
and its encoder then costs a fifth; what a model does wrong with them is mended by `guards`. A window is padded to a
bucket's length, so that windows of many calls share a batch; a window that a guard rejects is decoded once more, padded
to 15 or 30 s.

CTranslate2's own rules, which shape this module: the prompts of a batch have the start of the transcript at one index;
encoder output of exactly ``n_mels`` frames is taken for features and encoded again; a decode writes at most half of
``max_length`` tokens; every worker thread has one CUDA stream.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import ctranslate2 as _ctranslate2
import numpy as np

from gpu import guards
from gpu.engine import Bucket
from gpu.errors import EngineError, ModelDamaged, OutOfMemory
from gpu.guards import Reading
from gpu.vocabulary import Vocabulary
from streaming.decoding import Float32Array, Hypothesis, Kind, Window, Word
from streaming.features import normalise

__all__ = ["Tuning", "WhisperEngine"]

ctranslate2: Any = _ctranslate2  # it comes without types

FULL: Final = 3000
"""Frames Whisper was trained on: 30 s."""

ROOMY: Final = 1500
"""Frames that a window of up to half of them is padded to when it is decoded again: good as 30 s, in half the time."""

BUCKETS: Final = (*range(100, 801, 100), 1000, 1200, 1500, 2000, FULL)
"""Lengths in frames that windows are padded to; finer where most windows are."""

CONTEXT_TOKENS: Final = (0, 16, 32, 64, 128)
"""Lengths that context, and hotwords with context, are cut to."""

LONGEST_PROMPT: Final = 223
"""Tokens of the longest prompt Whisper was trained on."""

SILENT: Final = -6.0
"""log10 mel power that no band of a silent window reaches."""

LEAST_READ_S: Final = 1.0
"""Seconds a decode must have read before what it left is decoded by itself."""

LONGEST_WORD: Final = 2.0
"""Times the median a first or last word may take: what is longer holds a pause."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was settled by measurement; see `tests/bench/windows.py`."""

    tail_s: float = 1.0
    """Least seconds of padding behind the audio."""
    retry: bool = True
    """Whether a final that a guard rejects is decoded again, with more padding."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One window, or what is left of it, on its way through a batch."""

    at: int
    """Its place among the windows of the call."""
    window: Window
    bucket: Bucket
    prompt: tuple[int, ...]
    offset_s: float = 0.0
    """Where it begins in the window it is left of."""
    again: bool = False
    """Whether it was decoded before, in another way."""


@dataclass(frozen=True, slots=True)
class _Decoded:
    """What the model wrote for a job."""

    reading: Reading
    language: str
    language_confidence: float
    no_speech: float
    mean_logprob: float
    words: tuple[Word, ...]


class WhisperEngine:
    """Whisper on CTranslate2.

    Args:
        folder: A model in CTranslate2's format.
        model: Name for hypotheses.
        device: ``cpu``, or ``cuda:`` and the number of the GPU.
        compute_type: As CTranslate2 names it.
        workers: Batches at a time: CUDA streams, or threads on a processor.
        tuning: Measured settings.

    Raises:
        ModelDamaged: If a file of the model is missing or cannot be read.
        OutOfMemory: If the model does not fit.
    """

    def __init__(
        self,
        folder: Path,
        model: str,
        *,
        device: str = "cpu",
        compute_type: str = "int8",
        workers: int = 1,
        tuning: Tuning | None = None,
    ) -> None:
        self._model = model
        self._tuning = tuning or Tuning()
        self._vocabulary = Vocabulary(folder)
        self._symbols = guards.Symbols(self._vocabulary.eot, self._vocabulary.timestamp_begin, self._vocabulary.text)
        kind, _, number = device.partition(":")
        try:
            self._whisper: Any = ctranslate2.models.Whisper(
                str(folder),
                device=kind,
                device_index=int(number or 0),
                compute_type=compute_type,
                inter_threads=workers,
                intra_threads=1,
            )
        except RuntimeError as problem:
            if _is_out_of_memory(problem):
                raise OutOfMemory(f"model {model} does not fit into the memory of {device}") from problem
            raise ModelDamaged(f"{folder} cannot be loaded on {device} as {compute_type}: {problem}") from problem

    @property
    def model(self) -> str:
        """Name of the model."""
        return self._model

    @property
    def n_mels(self) -> int:
        """Mel bands."""
        return int(self._whisper.n_mels)

    @property
    def multilingual(self) -> bool:
        """Whether it knows languages other than English."""
        return bool(self._whisper.is_multilingual)

    def bucket(self, window: Window) -> Bucket:
        """Shape of a window in a batch.

        Raises:
            ValueError: If the window is longer than 30 s or has another number of mel bands.
        """
        bands, frames = window.features.shape
        if bands != self.n_mels or frames > FULL:
            raise ValueError(
                f"model {self._model} takes windows of {self.n_mels} mel bands and at most {FULL} frames, "
                f"got {bands} bands and {frames} frames"
            )
        wanted = min(frames + round(100 * self._tuning.tail_s), FULL)
        frames_padded = next(length for length in BUCKETS if length >= wanted)
        return Bucket(frames_padded, len(self._prompt(window)), window.beam)

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Transcribe windows; see `Engine.decode`."""
        parts: list[list[tuple[_Job, _Decoded]]] = [[] for _ in windows]
        waiting = [
            _Job(at, window, self.bucket(window), self._prompt(window))
            for at, window in enumerate(windows)
            if window.features.size and float(window.features.max()) >= SILENT
        ]
        while waiting:
            batches: defaultdict[Bucket, list[_Job]] = defaultdict(list)
            for job in waiting:
                batches[job.bucket].append(job)
            waiting = list[_Job]()
            for batch in batches.values():
                for job, decoded in zip(batch, self._decode_batch(batch), strict=True):
                    other = self._other_way(job, decoded)
                    if other is None:
                        parts[job.at].append((job, decoded))
                    next_job = other or self._rest(job, decoded)
                    waiting += [next_job] if next_job else []
        return [self._answer(window, part) for window, part in zip(windows, parts, strict=True)]

    def warm_up(self) -> None:
        """Decode a window of each length."""
        rng = np.random.default_rng(0)
        for length in BUCKETS:
            frames = max(length - round(100 * self._tuning.tail_s), 1)
            noise = rng.normal(-4.0, 1.0, (self.n_mels, frames)).astype(np.float32)
            self._decode_batch([_Job(0, Window(noise, Kind.FINAL, "en"), Bucket(length), ())])

    def close(self) -> None:
        """Unload the weights."""
        self._whisper.unload_model()

    # --- one batch of one shape ---------------------------------------------------------------------------------------

    def _decode_batch(self, jobs: Sequence[_Job]) -> list[_Decoded]:
        features: Any = ctranslate2.StorageView.from_array(_padded(jobs))
        with _translated(self._model):
            if any(job.window.kind is Kind.FINAL or job.window.language is None for job in jobs):
                features = self._whisper.encode(features)
            languages = self._languages(jobs, features)
            longest_s = (jobs[0].bucket.frames - round(100 * self._tuning.tail_s)) / 100
            most = guards.cap(longest_s)
            prompts = [self._start(job, language) for job, (language, _) in zip(jobs, languages, strict=True)]
            results: Any = self._whisper.generate(
                features,
                prompts,
                beam_size=jobs[0].bucket.beam,
                max_length=max(2 * most, most + len(prompts[0])),
                return_scores=True,
                return_no_speech_prob=True,
            )
            readings = [self._read(job, result, most) for job, result in zip(jobs, results, strict=True)]
            timed = self._aligned(jobs, readings, [code for code, _ in languages], features)
        decoded: list[_Decoded] = []
        for at, (reading, (language, sure), result) in enumerate(zip(readings, languages, results, strict=True)):
            mean_logprob = float(result.scores[0])
            words = timed[at] if at in timed else self._spread(reading, language, math.exp(mean_logprob))
            decoded.append(_Decoded(reading, language, sure, float(result.no_speech_prob), mean_logprob, words))
        return decoded

    def _languages(self, jobs: Sequence[_Job], features: Any) -> list[tuple[str, float]]:
        if not self.multilingual:
            return [("en", 1.0)] * len(jobs)
        if all(job.window.language for job in jobs):
            return [(job.window.language or "", 1.0) for job in jobs]
        detected: Any = self._whisper.detect_language(features)
        return [
            (job.window.language, 1.0) if job.window.language else (best[0][0].strip("<|>"), float(best[0][1]))
            for job, best in zip(jobs, detected, strict=True)
        ]

    def _start(self, job: _Job, language: str) -> list[int]:
        return [*job.prompt, *self._task(language)]

    def _task(self, language: str) -> list[int]:
        """The tokens that say what is to be done, from the start of the transcript on."""
        if not self.multilingual:
            return [self._vocabulary.sot]
        code = self._vocabulary.language(language) or self._vocabulary.language("en")
        return [self._vocabulary.sot, cast(int, code), self._vocabulary.transcribe]

    def _read(self, job: _Job, result: Any, most: int) -> Reading:
        tokens: list[int] = result.sequences_ids[0]
        return guards.read(tokens, self._symbols, audio_s=job.window.seconds, finished=len(tokens) < most)

    # --- words --------------------------------------------------------------------------------------------------------

    def _spread(self, reading: Reading, language: str, confidence: float) -> tuple[Word, ...]:
        words: list[Word] = []
        for segment in reading.segments:
            texts = [word.text for word in self._vocabulary.words(segment.tokens, language)]
            times = guards.spread(texts, segment.start, segment.end) if texts else []
            words += [Word(text, start, end, confidence) for text, (start, end) in zip(texts, times, strict=True)]
        return tuple(words)

    def _aligned(
        self, jobs: Sequence[_Job], readings: Sequence[Reading], languages: Sequence[str], features: Any
    ) -> dict[int, tuple[Word, ...]]:
        """Words of the finals among the jobs, by place."""
        groups: defaultdict[str, list[int]] = defaultdict(list)
        for at, job in enumerate(jobs):
            if job.window.kind is Kind.FINAL and readings[at].tokens:
                groups[languages[at]].append(at)
        words: dict[int, tuple[Word, ...]] = {}
        for language, rows in groups.items():
            results: Any = self._whisper.align(
                features if len(rows) == len(jobs) else _rows(features, rows),
                self._task(language),
                [list(readings[at].tokens) for at in rows],
                [jobs[at].window.features.shape[1] for at in rows],
            )
            for at, result in zip(rows, results, strict=True):
                words[at] = self._timed(readings[at], language, result, jobs[at].window.seconds)
        return words

    def _timed(self, reading: Reading, language: str, result: Any, audio_s: float) -> tuple[Word, ...]:
        """Turn an alignment into words: a word begins where the path first reaches its first token."""
        tokens = reading.tokens
        probabilities: list[float] = result.text_token_probs
        pairs: list[tuple[int, int]] = result.alignments
        path = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        reached = np.full(len(tokens) + 1, audio_s)
        first = np.unique(path[:, 0], return_index=True)
        inside = first[0] <= len(tokens)
        reached[first[0][inside]] = path[first[1][inside], 1] * guards.STEP_S
        words: list[Word] = []
        at = 0
        for word in self._vocabulary.words(tokens, language):
            stop = at + len(word.tokens)
            confidence = min(sum(probabilities[at:stop]) / len(word.tokens), 1.0)
            start = min(float(reached[at]), audio_s)
            words.append(Word(word.text, start, min(max(float(reached[stop]), start), audio_s), confidence))
            at = stop
        return _without_pauses(words)

    # --- verdicts -----------------------------------------------------------------------------------------------------

    def _other_way(self, job: _Job, decoded: _Decoded) -> _Job | None:
        """A job whose text is not to be trusted, as it should be decoded again; once is enough."""
        if job.again or not decoded.reading.tokens:
            return None
        if job.prompt and guards.is_leak(self._vocabulary.text(decoded.reading.tokens), job.window.hotwords):
            return replace(job, bucket=replace(job.bucket, prompt_tokens=0), prompt=(), again=True)
        finals_only = self._tuning.retry and job.window.kind is Kind.FINAL
        doubted = decoded.reading.doubtful or not decoded.reading.sound
        if finals_only and doubted and job.bucket.frames < FULL:
            longer = FULL if job.bucket.frames > ROOMY // 2 else ROOMY
            return replace(job, bucket=Bucket(longer, beam=job.bucket.beam), prompt=(), again=True)
        return None

    def _rest(self, job: _Job, decoded: _Decoded) -> _Job | None:
        """What the model left unread of a job."""
        unread_from = decoded.reading.unread_from
        if unread_from is None or unread_from < LEAST_READ_S:
            return None
        rest = replace(
            job.window,
            features=job.window.features[:, round(100 * unread_from) :],
            language=decoded.language,
            context="",
        )
        return _Job(job.at, rest, self.bucket(rest), self._prompt(rest), job.offset_s + unread_from)

    def _answer(self, window: Window, parts: Sequence[tuple[_Job, _Decoded]]) -> Hypothesis:
        """Join what was decoded of a window."""
        words: list[Word] = []
        for job, decoded in parts:
            if decoded.reading.sound and guards.is_speech(decoded.no_speech, decoded.mean_logprob):
                words += [
                    replace(word, start=word.start + job.offset_s, end=word.end + job.offset_s)
                    for word in decoded.words
                ]
        first = parts[0][1] if parts else None
        return Hypothesis(
            words=tuple(words),
            language=first.language if first else (window.language or "en") if self.multilingual else "en",
            language_confidence=first.language_confidence if first else 1.0 if window.language else 0.0,
            no_speech=first.no_speech if first else 1.0,
            model=self._model,
            aligned=window.kind is Kind.FINAL,
            retried=any(job.again for job, _ in parts),
        )

    # --- prompts ------------------------------------------------------------------------------------------------------

    def _prompt(self, window: Window) -> tuple[int, ...]:
        """Hotwords and context as a prompt.

        All prompts of a batch must be equally long, so context is cut at its front to one of few lengths. Hotwords are
        neither cut nor filled up: whatever else was put beside them cost words where they were not said.
        """
        hotwords = self._vocabulary.encode(" " + ", ".join(window.hotwords) + ".") if window.hotwords else []
        context = self._vocabulary.encode(" " + window.context) if window.context else []
        hotwords = hotwords[: LONGEST_PROMPT - 1]
        longest = max((length for length in CONTEXT_TOKENS if length <= len(hotwords) + len(context)), default=0)
        kept = max(longest - len(hotwords), 0)
        text = (*hotwords, *context[len(context) - kept :])
        return (self._vocabulary.sot_prev, *text) if text else ()


def _padded(jobs: Sequence[_Job]) -> Float32Array:
    """The batch's features, shape ``(jobs, n_mels, frames)``, each window followed by digital silence and normalised.

    Whisper was trained on audio with zeros behind it, not on features with zeros behind them.
    """
    bands, frames = jobs[0].window.features.shape[0], jobs[0].bucket.frames
    batch = np.full((len(jobs), bands, frames), guards.NOTHING, np.float32)
    for row, job in zip(batch, jobs, strict=True):
        row[:, : job.window.features.shape[1]] = job.window.features
        row[:] = normalise(row)
    return batch


def _without_pauses(words: list[Word]) -> tuple[Word, ...]:
    """Shorten the first and the last word where they hold the silence before or behind them."""
    if not words:
        return ()
    longest = LONGEST_WORD * float(np.median([word.end - word.start for word in words]))
    first, last = words[0], words[-1]
    if len(words) > 1 and longest > 0:
        words[0] = replace(first, start=max(first.start, first.end - longest))
        words[-1] = replace(last, end=min(last.end, last.start + longest))
    return tuple(words)


def _rows(encoded: Any, rows: Sequence[int]) -> Any:
    """Some rows of an encoder's output."""
    on_host: Any = encoded.to_device(ctranslate2.Device.cpu)
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(cast(Float32Array, np.asarray(on_host))[list(rows)]))


def _is_out_of_memory(problem: RuntimeError) -> bool:
    return "out of memory" in str(problem).lower() or "CUBLAS_STATUS_ALLOC_FAILED" in str(problem)


@contextmanager
def _translated(model: str) -> Generator[None]:
    """Turn what CTranslate2 raises into this folder's errors."""
    try:
        yield
    except RuntimeError as problem:
        if _is_out_of_memory(problem):
            raise OutOfMemory(f"a batch of model {model} did not fit into the device's memory") from problem
        raise EngineError(f"model {model} failed on its device: {problem}", retryable=True) from problem
