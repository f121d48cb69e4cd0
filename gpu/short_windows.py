"""What every engine of Whisper does with windows only as long as what was said.

Whisper is trained on 30 s of audio, and libraries around it pad every window to that. A shorter one costs the encoder a
fifth; what a model does wrong with it is mended by `guards`. A window is padded to a bucket's length, so that windows
of many calls share a batch; a final that a guard rejects is decoded once more, padded to 15 or 30 s. What is left to
each engine is to run the model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from gpu import guards
from gpu.engine import Bucket
from gpu.guards import Reading
from gpu.vocabulary import Vocabulary
from streaming.decoding import Float32Array, Hypothesis, Kind, Window, Word
from streaming.features import normalise

__all__ = ["BUCKETS", "FULL", "Decoded", "Job", "ShortWindowEngine", "Tuning", "padded"]

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
class Job:
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
class Decoded:
    """What the model wrote for a job."""

    reading: Reading
    language: str
    language_confidence: float
    no_speech: float
    mean_logprob: float
    words: tuple[Word, ...]
    tokens: tuple[int, ...] = ()
    """As written, up to the last word: a draft for a longer window; empty from an engine without use for drafts."""


class ShortWindowEngine(ABC):
    """Whisper on short windows, whatever computes it.

    Args:
        folder: A model in CTranslate2's format.
        model: Name for hypotheses.
        tuning: Measured settings.

    Raises:
        ModelDamaged: If the model's tokenizer is missing or cannot be read.
    """

    def __init__(self, folder: Path, model: str, tuning: Tuning) -> None:
        self._model = model
        self.tuning = tuning
        self.vocabulary = Vocabulary(folder)
        self.symbols = guards.Symbols(self.vocabulary.eot, self.vocabulary.timestamp_begin, self.vocabulary.text)

    @property
    def model(self) -> str:
        """Name of the model."""
        return self._model

    @property
    @abstractmethod
    def n_mels(self) -> int:
        """Mel bands."""

    @property
    @abstractmethod
    def multilingual(self) -> bool:
        """Whether it knows languages other than English."""

    @property
    @abstractmethod
    def greedy(self) -> bool:
        """Whether it keeps one hypothesis alone."""

    @abstractmethod
    def transcribe(self, jobs: Sequence[Job]) -> list[Decoded]:
        """Run the model over windows of any mixture of buckets; one answer a job, in their order.

        Raises:
            OutOfMemory: If they did not fit.
            EngineError: If the device failed.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the device's memory back."""

    def bucket(self, window: Window) -> Bucket:
        """Shape of a window in a batch.

        Raises:
            ValueError: If the window is longer than 30 s, has another number of mel bands, or asks a greedy engine for
                a beam.
        """
        bands, frames = window.features.shape[0], window.frames
        if bands != self.n_mels or frames > FULL:
            raise ValueError(
                f"model {self._model} takes windows of {self.n_mels} mel bands and at most {FULL} frames, "
                f"got {bands} bands and {frames} frames"
            )
        if self.greedy and window.beam > 1:
            raise ValueError(f"model {self._model} is decoded greedily, and the window wants a beam of {window.beam}")
        wanted = min(frames + round(100 * self.tuning.tail_s), FULL)
        frames_padded = next(length for length in BUCKETS if length >= wanted)
        return Bucket(frames_padded, len(self._prompt(window)), window.beam)

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Transcribe windows; see `Engine.decode`."""
        parts: list[list[tuple[Job, Decoded]]] = [[] for _ in windows]
        sounding = _sounding(windows)
        waiting = [
            Job(at, window, self.bucket(window), self._prompt(window))
            for at, window in enumerate(windows)
            if at in sounding
        ]
        while waiting:
            jobs, waiting = waiting, list[Job]()
            for job, decoded in zip(jobs, self.transcribe(jobs), strict=True):
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
            frames = max(length - round(100 * self.tuning.tail_s), 1)
            noise = rng.normal(-4.0, 1.0, (self.n_mels, frames)).astype(np.float32)
            self.transcribe([Job(0, Window(noise, Kind.FINAL, "en"), Bucket(length), ())])

    # --- for the engines ----------------------------------------------------------------------------------------------

    def most(self, job: Job) -> int:
        """Tokens a decode may write: what fits into a full bucket, whatever the window's own length."""
        return guards.cap((job.bucket.frames - round(100 * self.tuning.tail_s)) / 100)

    def start(self, job: Job, language: str) -> list[int]:
        """All tokens before the transcript's."""
        return [*job.prompt, *self.task(language)]

    def task(self, language: str) -> list[int]:
        """The tokens that say what is to be done, from the start of the transcript on."""
        if not self.multilingual:
            return [self.vocabulary.sot]
        code = self.vocabulary.language(language) or self.vocabulary.language("en")
        return [self.vocabulary.sot, cast(int, code), self.vocabulary.transcribe]

    def read(self, job: Job, tokens: Sequence[int], *, finished: bool) -> Reading:
        """Read what the model wrote; see `guards.read`."""
        return guards.read(tokens, self.symbols, audio_s=job.window.seconds, finished=finished)

    def spread(self, reading: Reading, language: str, confidence: float) -> tuple[Word, ...]:
        """Turn segments into words without knowing when each was said."""
        words: list[Word] = []
        for segment in reading.segments:
            texts = [word.text for word in self.vocabulary.words(segment.tokens, language)]
            times = guards.spread(texts, segment.start, segment.end) if texts else []
            words += [Word(text, start, end, confidence) for text, (start, end) in zip(texts, times, strict=True)]
        return tuple(words)

    def timed(
        self, reading: Reading, language: str, path: NDArray[np.int64], probabilities: Sequence[float], audio_s: float
    ) -> tuple[Word, ...]:
        """Turn an alignment into words: a word begins where the path first reaches its first token.

        Args:
            reading: The text; its tokens are counted from 0.
            language: ISO 639-1 code.
            path: Pairs of (token, step of 20 ms), rising in both, shape ``(n, 2)``.
            probabilities: Of each token, 0..1.
            audio_s: Seconds of the window.
        """
        tokens = reading.tokens
        reached = np.full(len(tokens) + 1, audio_s)
        first = np.unique(path[:, 0], return_index=True)
        inside = first[0] <= len(tokens)
        reached[first[0][inside]] = path[first[1][inside], 1] * guards.STEP_S
        words: list[Word] = []
        at = 0
        for word in self.vocabulary.words(tokens, language):
            stop = at + len(word.tokens)
            confidence = min(sum(probabilities[at:stop]) / len(word.tokens), 1.0)
            start = min(float(reached[at]), audio_s)
            words.append(Word(word.text, start, min(max(float(reached[stop]), start), audio_s), confidence))
            at = stop
        said = guards.spoken([word.text for word in words], [(word.start, word.end) for word in words])
        return _without_pauses(words[:said])

    # --- verdicts -----------------------------------------------------------------------------------------------------

    def _other_way(self, job: Job, decoded: Decoded) -> Job | None:
        """A job whose text is not to be trusted, as it should be decoded again; once is enough."""
        if job.again or not decoded.reading.tokens:
            return None
        if job.prompt and guards.is_leak(self.vocabulary.text(decoded.reading.tokens), job.window.hotwords):
            return replace(job, bucket=replace(job.bucket, prompt_tokens=0), prompt=(), again=True)
        finals_only = self.tuning.retry and job.window.kind is Kind.FINAL
        doubted = decoded.reading.doubtful or not decoded.reading.sound
        if finals_only and doubted and job.bucket.frames < FULL:
            longer = FULL if job.bucket.frames > ROOMY // 2 else ROOMY
            return replace(job, bucket=Bucket(longer, beam=job.bucket.beam), prompt=(), again=True)
        return None

    def _rest(self, job: Job, decoded: Decoded) -> Job | None:
        """What the model left unread of a job."""
        unread_from = decoded.reading.unread_from
        if unread_from is None or unread_from < LEAST_READ_S:
            return None
        unread = job.window.without(round(100 * unread_from))
        rest = replace(unread, language=decoded.language, context="", draft=())
        return Job(job.at, rest, self.bucket(rest), self._prompt(rest), job.offset_s + unread_from)

    def _answer(self, window: Window, parts: Sequence[tuple[Job, Decoded]]) -> Hypothesis:
        """Join what was decoded of a window."""
        words: list[Word] = []
        for job, decoded in parts:
            sure = [word.confidence for word in decoded.words]
            spoken = guards.is_speech(decoded.no_speech, decoded.mean_logprob, sure, window.voice)
            if decoded.reading.sound and spoken:
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
            tokens=first.tokens if first else (),
        )

    # --- prompts ------------------------------------------------------------------------------------------------------

    def _prompt(self, window: Window) -> tuple[int, ...]:
        """Hotwords and context as a prompt.

        All prompts of a batch must be equally long, so context is cut at its front to one of few lengths. Hotwords are
        neither cut nor filled up: whatever else was put beside them cost words where they were not said.
        """
        hotwords = self.vocabulary.encode(" " + ", ".join(window.hotwords) + ".") if window.hotwords else []
        context = self.vocabulary.encode(" " + window.context) if window.context else []
        hotwords = hotwords[: LONGEST_PROMPT - 1]
        longest = max((length for length in CONTEXT_TOKENS if length <= len(hotwords) + len(context)), default=0)
        kept = max(longest - len(hotwords), 0)
        text = (*hotwords, *context[len(context) - kept :])
        return (self.vocabulary.sot_prev, *text) if text else ()


def padded(jobs: Sequence[Job]) -> Float32Array:
    """The batch's features, shape ``(jobs, n_mels, frames)``, each window followed by digital silence and normalised.

    Whisper was trained on audio with zeros behind it, not on features with zeros behind them. Of features on a GPU it
    is a ``torch.Tensor`` there.
    """
    features = [job.window.features for job in jobs]
    if _on_gpu(features[0]):
        from gpu.front_end import on_gpu  # noqa: PLC0415  PyTorch is there only where such features are

        batch: Float32Array = on_gpu.padded(features, jobs[0].bucket.frames)
        return batch
    bands, frames = features[0].shape[0], jobs[0].bucket.frames
    batch = np.full((len(jobs), bands, frames), guards.NOTHING, np.float32)
    for row, own in zip(batch, features, strict=True):
        row[:, : own.shape[1]] = own
        row[:] = normalise(row)
    return batch


def _sounding(windows: Sequence[Window]) -> set[int]:
    """Places of the windows that are not silent."""
    places = [at for at, window in enumerate(windows) if window.frames]
    features = [windows[at].features for at in places]
    if features and _on_gpu(features[0]):
        from gpu.front_end import on_gpu  # noqa: PLC0415  as above

        levels = on_gpu.loudest(features)
    else:
        levels = [float(one.max()) for one in features]
    return {at for at, level in zip(places, levels, strict=True) if level >= SILENT}


def _on_gpu(features: object) -> bool:
    return not isinstance(features, np.ndarray)


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
