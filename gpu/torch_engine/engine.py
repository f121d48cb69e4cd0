"""Whisper in PyTorch, for windows that are decoded again and again as they grow.

What it has and CTranslate2 has not: windows of any lengths, prompts and languages share a batch, and join and leave it
between steps; a decode stops where its audio ends; a window brings the last hypothesis of its utterance as a draft and
only what is new is written step by step; words are timed by the attention of that same decode. It is greedy: it keeps
one hypothesis, and refuses windows that ask for more.

Each calling thread encodes on a CUDA stream of its own; one thread decodes, on another.
"""

from __future__ import annotations

import json
import math
import threading
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from gpu.engine import Bucket
from gpu.errors import EngineError, ModelDamaged, OutOfMemory
from gpu.short_windows import Decoded, Job, ShortWindowEngine, Tuning, padded
from gpu.torch_engine.alignment import align
from gpu.torch_engine.decoder import Decoder, Steps
from gpu.torch_engine.graphs import GraphedSteps, Rounding
from gpu.torch_engine.network import Cache, Network, Shape
from gpu.torch_engine.rows import Row
from gpu.torch_engine.rules import Rules
from gpu.torch_engine.runner import Runner
from gpu.torch_engine.untyped import Tensor, torch
from gpu.torch_engine.weights import read_weights
from streaming.decoding import Kind, Window, Word

__all__ = ["TorchEngine", "Tuning", "Work"]

CONFIG: Final = "config.json"

ENGLISH_TOKENS: Final = 51_864
"""Tokens of the models that know English alone; all others have more."""

TASK_TOKENS: Final = 3
"""Most tokens from the start of the transcript to its first timestamp."""


@dataclass(frozen=True, slots=True)
class Work:
    """What an engine has done so far."""

    windows: int = 0
    """Second looks counted."""
    tokens: int = 0
    """Written, ends of transcripts counted."""
    steps: int = 0
    """Times a window was given to the decoder: once to read its prompt and draft, then once a token or guess."""
    drafted: int = 0
    """Tokens of drafts, and guessed later, that were checked."""
    checked: int = 0
    """Those of them that were right."""

    def __add__(self, row: Row) -> Work:
        return Work(
            self.windows + 1,
            self.tokens + len(row.logprobs),
            self.steps + row.steps + 1,
            self.drafted + row.proposed,
            self.checked + row.checked,
        )


class TorchEngine(ShortWindowEngine):
    """Whisper in PyTorch.

    Args:
        folder: A model in CTranslate2's format.
        model: Name for hypotheses.
        device: ``cpu``, or ``cuda:`` and the number of the GPU.
        compute_type: As CTranslate2 names it; only its type of floating-point numbers counts. On a processor everything
            is float32. On a GPU it is float16, unless it names bfloat16 or is float32.
        slots: Windows decoded at a time.
        drafts: Whether windows' drafts, and guesses, are checked; else every token is written by itself.
        graphs: Whether steps are CUDA graphs, on a GPU.
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
        compute_type: str = "float16",
        slots: int = 32,
        drafts: bool = True,
        graphs: bool = True,
        tuning: Tuning | None = None,
    ) -> None:
        super().__init__(folder, model, tuning or Tuning())
        self._device = device
        self._drafts = drafts
        self._slots = slots
        self._streams = threading.local()
        self._counting = threading.Lock()
        self.work = Work()
        """What it has done so far, for measuring."""
        on_gpu = device.startswith("cuda")
        if not on_gpu:
            torch.set_num_threads(1)  # threads are the device's streams, as in CTranslate2
        weights, config = read_weights(folder), _config(folder)
        with _translated(model), torch.inference_mode():
            self._network = Network(weights, device, _dtype(compute_type, on_gpu=on_gpu))
            shape = self._network.shape
            rules = Rules(
                shape.vocabulary,
                self.vocabulary.eot,
                self.vocabulary.timestamp_begin,
                config["suppress_ids"],
                device,
            )
            cache = Cache(shape, slots, _alignment_heads(config, shape), self._network.sample)
            self._decoder = Decoder(
                self._network,
                cache,
                rules,
                task=self._task_of,
                languages=config.get("lang_ids") or [],
                sot=self.vocabulary.sot,
                no_speech=self.vocabulary.timestamp_begin - 2,
                steps=self._graphed if on_gpu and graphs else lambda steps: steps,
            )
        self._runner = Runner(self._decoder, self.stream())

    @property
    def n_mels(self) -> int:
        """Mel bands."""
        return self._network.shape.n_mels

    @property
    def multilingual(self) -> bool:
        """Whether it knows languages other than English."""
        return self._network.shape.vocabulary > ENGLISH_TOKENS

    @property
    def greedy(self) -> bool:
        """It keeps one hypothesis: a row has one slot of the cache, and beams would need one for each."""
        return True

    def bucket(self, window: Window) -> Bucket:
        """Shape of a window; prompts of any length go together."""
        return Bucket(super().bucket(window).frames)

    def close(self) -> None:
        """End the decoder's thread and give the memory back."""
        self._runner.close()
        del self._runner, self._decoder, self._network
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()

    def transcribe(self, jobs: Sequence[Job]) -> list[Decoded]:
        """Encode windows bucket by bucket, and decode all of them together."""
        rows: dict[int, Row] = {}
        with _translated(self.model), torch.inference_mode(), self.stream():
            buckets: defaultdict[int, list[int]] = defaultdict(list)
            for at, job in enumerate(jobs):
                buckets[job.bucket.frames].append(at)
            for places in buckets.values():
                features = torch.as_tensor(padded([jobs[at] for at in places])).to(self._network.sample)
                heard = self._network.encode(features)
                rows |= {at: self._row(jobs[at], heard[:, :, number]) for number, at in enumerate(places)}
            if self._device.startswith("cuda"):
                torch.cuda.current_stream().synchronize()  # the decoder's stream reads it
            self._runner.run([rows[at] for at in range(len(jobs))])
        with self._counting:
            for row in rows.values():
                self.work += row
        return [self._decoded(job, rows[at]) for at, job in enumerate(jobs)]

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _row(self, job: Job, heard: Tensor) -> Row:
        most = self.most(job)
        known = not self.multilingual or job.window.language is not None
        task = tuple(self.task(job.window.language or "en")) if known else None
        room = min(most, self._network.shape.longest_text - len(job.prompt) - TASK_TOKENS - 1)
        legal = all(0 <= token < self._network.shape.vocabulary for token in job.window.draft)
        return Row(
            heard=heard,
            before=job.prompt,
            task=task,
            draft=job.window.draft[:room] if self._drafts and legal else (),
            most=most,
            audio_s=job.window.seconds,
            align=job.window.kind is Kind.FINAL,
            guesses=self._drafts,
        )

    def _task_of(self, language: int) -> tuple[int, ...]:
        return self.vocabulary.sot, language, self.vocabulary.transcribe

    def _decoded(self, job: Job, row: Row) -> Decoded:
        reading = self.read(job, row.written, finished=row.ended)
        if not self.multilingual:
            language, sure = "en", 1.0
        elif row.language is None:
            language, sure = job.window.language or "", 1.0
        else:
            language, sure = self.vocabulary.code(row.language), row.language_confidence
        words: tuple[Word, ...] = ()
        if row.attention is not None and reading.tokens:
            places = row.places(tuple(segment.tokens for segment in reading.segments))
            behind = places[-1:] + 1
            followed = np.concatenate([places, behind[behind < row.attention.shape[1]]])
            path = align(row.attention, followed)
            probabilities = [math.exp(row.logprobs[int(place)]) for place in places]
            words = self.timed(reading, language, path, probabilities, job.window.seconds)
        elif reading.tokens:
            words = self.spread(reading, language, math.exp(row.mean_logprob))
        drafted = row.written
        while drafted and drafted[-1] >= self.vocabulary.eot:
            drafted = drafted[:-1]
        return Decoded(reading, language, sure, row.no_speech, row.mean_logprob, words, tuple(drafted))

    # --- CUDA ---------------------------------------------------------------------------------------------------------

    def stream(self) -> AbstractContextManager[Any]:
        """What a thread works within: on a GPU, its own stream, so that threads do not wait for one another."""
        if not self._device.startswith("cuda"):
            return nullcontext()
        if not hasattr(self._streams, "own"):
            self._streams.own = torch.cuda.Stream(self._device)
        return cast(AbstractContextManager[Any], torch.cuda.stream(self._streams.own))

    def _graphed(self, steps: Steps) -> GraphedSteps:
        shape = self._network.shape
        return GraphedSteps(steps, Rounding(self._slots, shape.longest_text, shape.longest_audio))


def _dtype(compute_type: str, *, on_gpu: bool) -> Tensor:
    if not on_gpu or compute_type == "float32":
        return torch.float32
    return torch.bfloat16 if "bfloat16" in compute_type else torch.float16


def _config(folder: Path) -> dict[str, Any]:
    """What the model says of its tokens and heads."""
    file = folder / CONFIG
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ModelDamaged(f"{file} is missing or not JSON; fetch the model again") from problem
    if "suppress_ids" not in config:
        raise ModelDamaged(f"{file} does not say suppress_ids; convert the model again")
    return config


def _alignment_heads(config: dict[str, Any], shape: Shape) -> list[tuple[int, int]]:
    """Pairs of layer and head whose attention follows the speech; the upper half where nobody found out which."""
    upper = range(shape.decoder_layers // 2, shape.decoder_layers)
    known: list[list[int]] = config.get("alignment_heads") or [
        [at, head] for at in upper for head in range(shape.heads)
    ]
    return sorted((layer, head) for layer, head in known)


@contextmanager
def _translated(model: str) -> Generator[None]:
    """Turn what PyTorch raises into this folder's errors."""
    try:
        yield
    except torch.OutOfMemoryError as problem:
        raise OutOfMemory(f"a batch of model {model} did not fit into the device's memory") from problem
    except RuntimeError as problem:
        raise EngineError(f"model {model} failed on its device: {problem}", retryable=True) from problem
