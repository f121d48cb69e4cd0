"""Whisper on CTranslate2.

CTranslate2's own rules, which shape this module: the prompts of a batch have the start of the transcript at one index;
encoder output of exactly ``n_mels`` frames is taken for features and encoded again; a decode writes at most half of
``max_length`` tokens; every worker thread has one CUDA stream.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import ctranslate2 as _ctranslate2
import numpy as np

from gpu.engine import Bucket
from gpu.errors import EngineError, ModelDamaged, OutOfMemory
from gpu.guards import Reading
from gpu.short_windows import Decoded, Job, ShortWindowEngine, Tuning, padded
from streaming.decoding import Float32Array, Kind, Word

__all__ = ["Tuning", "WhisperEngine"]

ctranslate2: Any = _ctranslate2  # it comes without types


class WhisperEngine(ShortWindowEngine):
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
        super().__init__(folder, model, tuning or Tuning())
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
    def n_mels(self) -> int:
        """Mel bands."""
        return int(self._whisper.n_mels)

    @property
    def multilingual(self) -> bool:
        """Whether it knows languages other than English."""
        return bool(self._whisper.is_multilingual)

    @property
    def greedy(self) -> bool:
        """It can keep several hypotheses."""
        return False

    def stream(self) -> AbstractContextManager[object]:
        """PyTorch's default stream: features are complete before they are handed to one of CTranslate2's."""
        return nullcontext()

    def close(self) -> None:
        """Unload the weights."""
        self._whisper.unload_model()

    def transcribe(self, jobs: Sequence[Job]) -> list[Decoded]:
        """Run the model, bucket by bucket."""
        batches: defaultdict[Bucket, list[int]] = defaultdict(list)
        for at, job in enumerate(jobs):
            batches[job.bucket].append(at)
        decoded: dict[int, Decoded] = {}
        for rows in batches.values():
            decoded |= zip(rows, self._decode_batch([jobs[at] for at in rows]), strict=True)
        return [decoded[at] for at in range(len(jobs))]

    def _decode_batch(self, jobs: Sequence[Job]) -> list[Decoded]:
        features = _view(padded(jobs))
        with _translated(self.model):
            if any(job.window.kind is Kind.FINAL or job.window.language is None for job in jobs):
                features = self._whisper.encode(features)
            languages = self._languages(jobs, features)
            most = self.most(jobs[0])
            prompts = [self.start(job, language) for job, (language, _) in zip(jobs, languages, strict=True)]
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
        decoded: list[Decoded] = []
        for at, (reading, (language, sure), result) in enumerate(zip(readings, languages, results, strict=True)):
            mean_logprob = float(result.scores[0])
            words = timed[at] if at in timed else self.spread(reading, language, math.exp(mean_logprob))
            decoded.append(Decoded(reading, language, sure, float(result.no_speech_prob), mean_logprob, words))
        return decoded

    def _languages(self, jobs: Sequence[Job], features: Any) -> list[tuple[str, float]]:
        if not self.multilingual:
            return [("en", 1.0)] * len(jobs)
        if all(job.window.language for job in jobs):
            return [(job.window.language or "", 1.0) for job in jobs]
        detected: Any = self._whisper.detect_language(features)
        return [
            (job.window.language, 1.0) if job.window.language else (best[0][0].strip("<|>"), float(best[0][1]))
            for job, best in zip(jobs, detected, strict=True)
        ]

    def _read(self, job: Job, result: Any, most: int) -> Reading:
        tokens: list[int] = result.sequences_ids[0]
        return self.read(job, tokens, finished=len(tokens) < most)

    def _aligned(
        self, jobs: Sequence[Job], readings: Sequence[Reading], languages: Sequence[str], features: Any
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
                self.task(language),
                [list(readings[at].tokens) for at in rows],
                [jobs[at].window.frames for at in rows],
            )
            for at, result in zip(rows, results, strict=True):
                path = np.array(cast(list[tuple[int, int]], result.alignments), dtype=np.int64).reshape(-1, 2)
                sure = cast(list[float], result.text_token_probs)
                words[at] = self.timed(readings[at], language, path, sure, jobs[at].window.seconds)
        return words


def _view(features: Any) -> Any:
    """Hand features over: from the host's memory, or from that of the first GPU, without a copy."""
    if not isinstance(features, np.ndarray):
        # CTranslate2's streams are not to be had from here, so it is the thread that waits. It takes whatever memory of
        # a GPU it is shown for that of the first.
        torch: Any = import_module("torch")
        torch.cuda.current_stream(features.device).synchronize()
        features = features.contiguous() if features.device.index == 0 else features.cpu().numpy()
    return ctranslate2.StorageView.from_array(features)


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
