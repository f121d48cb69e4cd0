"""Whisper with random weights, which writes as many tokens as people would have said: for the speed of shapes.

What random weights write means nothing and does not end by itself. So every window is decoded once, is stopped where
speech of its length would have ended, and no guard looks at its text. A device process makes one by
``engine="tests.bench.forced:build"`` and the option ``of``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from gpu.cuda import load_cublas
from gpu.engine import Engine
from gpu.guards import Reading, Segment
from gpu.short_windows import Job, ShortWindowEngine
from gpu.spec import DeviceSpec
from gpu.whisper import WhisperEngine
from streaming.decoding import Hypothesis, Window

TOKENS_PER_S: Final = 4.0
"""Tokens that people say in a second."""
TIMESTAMPS: Final = 4
"""Tokens of a window that are no text."""


def said(seconds: float) -> int:
    """Tokens that a window of so much speech is written with."""
    return round(TOKENS_PER_S * seconds) + TIMESTAMPS


class Forced(ShortWindowEngine):
    """What is mixed into an engine to make it write so many tokens and no more."""

    windows = 0
    """Decoded so far."""
    tokens = 0
    """Written so far."""

    def most(self, job: Job) -> int:
        """As many tokens as were said."""
        return said(job.bucket.frames / 100 - self.tuning.tail_s)

    def read(self, job: Job, tokens: Sequence[int], *, finished: bool) -> Reading:
        """Believe all of it: text between timestamps is a segment."""
        del finished
        self.windows += 1
        self.tokens += len(tokens)
        runs = (tuple(run) for is_text, run in groupby(tokens, lambda token: token < self.vocabulary.eot) if is_text)
        return Reading(tuple(Segment(0.0, job.window.seconds, run) for run in runs))

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Decode each window once; the answers are empty."""
        jobs = [Job(at, window, self.bucket(window), ()) for at, window in enumerate(windows)]
        return [
            Hypothesis((), decoded.language, 1.0, decoded.no_speech, self.model, aligned=True)
            for decoded in self.transcribe(jobs)
        ]


class ForcedWhisper(Forced, WhisperEngine):
    """On CTranslate2."""


def build(spec: DeviceSpec, model: str) -> Engine:
    """Make one of a device's engines; the model is a folder, and the option ``of`` says what runs it."""
    folder = Path(model)
    if spec.options["of"] == "torch":
        from gpu.torch_engine.engine import TorchEngine  # noqa: PLC0415  it is not everywhere

        class ForcedTorch(Forced, TorchEngine):
            """On PyTorch."""

        slots = spec.streams * spec.max_batch
        return ForcedTorch(
            folder, folder.name, device=spec.device, compute_type=spec.compute_type, slots=slots, drafts=False
        )
    if spec.device.startswith("cuda"):
        load_cublas()
    return ForcedWhisper(folder, folder.name, device=spec.device, compute_type=spec.compute_type, workers=spec.streams)
