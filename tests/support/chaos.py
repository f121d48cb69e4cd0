"""An engine that does what the windows tell it: answer, crash, hang, run out of memory. Devices are tested with it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from enum import IntEnum

import numpy as np

from gpu.engine import Bucket, Engine
from gpu.errors import EngineError, OutOfMemory
from gpu.front_end.front_end import NumpyFrontEnd, Source
from gpu.spec import DeviceSpec
from streaming.decoding import DecodeJob, Float32Array, Hypothesis, Window, Word


class Deed(IntEnum):
    """What a window makes the engine do; it is written into the window's first feature."""

    ANSWER = 0
    CRASH = 1
    HANG = 2
    REFUSE = 3
    BREAK = 4
    """Raise an error that is none of ours, with words of a caller in it."""
    STALL = 5
    """Hold up the device's loop, not one of its streams."""
    STOP = 6
    """Stop the process, as a debugger or a frozen container does."""


def told(job: DecodeJob, deed: Deed, say: int = 0) -> DecodeJob:
    """A job that makes the engine do this, and say this number if it answers."""
    features = np.full(job.window.features.shape, -10.0, np.float32)
    features[0, 0], features[0, 1] = deed, say
    return replace(job, window=replace(job.window, sound=features))


class ChaosEngine:
    """Answers each window with the number written into it, at a price of ``fixed_s`` and ``each_s``."""

    def __init__(self, model: str, *, fixed_s: float, each_s: float, memory: int, greedy: bool) -> None:
        self._model = model
        self._fixed_s = fixed_s
        self._each_s = each_s
        self._memory = memory
        self._greedy = greedy

    @property
    def model(self) -> str:
        return self._model

    @property
    def n_mels(self) -> int:
        return 80

    @property
    def multilingual(self) -> bool:
        return False

    @property
    def greedy(self) -> bool:
        return self._greedy

    def bucket(self, window: Window) -> Bucket:
        if window.features.shape[0] != self.n_mels:
            raise ValueError(f"{self.n_mels} mel bands wanted")
        if int(window.features[0, 0]) == Deed.STALL:
            time.sleep(3600)
        return Bucket(window.features.shape[1])

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        deeds = {Deed(int(window.features[0, 0])) for window in windows}
        if Deed.CRASH in deeds:
            os.kill(os.getpid(), signal.SIGSEGV)
        if Deed.STOP in deeds:
            os.kill(os.getpid(), signal.SIGSTOP)
        if Deed.HANG in deeds:
            time.sleep(3600)
        if Deed.REFUSE in deeds:
            raise EngineError("the engine refuses this window")
        if Deed.BREAK in deeds:
            raise RuntimeError("my card number is 1234")
        if len(windows) > self._memory:
            raise OutOfMemory(f"room for {self._memory} windows")
        time.sleep(self._fixed_s + self._each_s * len(windows))
        return [self._hear(window, len(windows)) for window in windows]

    def _hear(self, window: Window, size: int) -> Hypothesis:
        """Say the window's number and, for tests of batching, how many shared its batch."""
        words = (Word(f"{int(window.features[0, 1])}", 0.0, 0.1, 1.0), Word(f"{size}", 0.1, 0.2, 1.0))
        return Hypothesis(words, "en", 1.0, 0.0, self._model, aligned=True)

    def warm_up(self) -> None:
        pass

    def close(self) -> None:
        pass


def build(spec: DeviceSpec, model: str) -> Engine:
    """The engine of a device described with ``engine="tests.support.chaos:build"``."""
    if model == "missing":
        raise EngineError("no folder is called missing")
    return ChaosEngine(
        model,
        fixed_s=float(spec.options.get("fixed_s", 0.01)),
        each_s=float(spec.options.get("each_s", 0.001)),
        memory=int(spec.options.get("memory", 1000)),
        greedy=bool(spec.options.get("greedy", False)),
    )


class BrokenFrontEnd(NumpyFrontEnd):
    """A front end whose library is out of order."""

    problem = "CUDA error: unspecified launch failure"

    def batch(self, payloads: Sequence[bytes], *, frames: int | None = None, normalised: bool = True) -> Float32Array:
        raise RuntimeError(self.problem)


class FullFrontEnd(BrokenFrontEnd):
    """A front end without memory for a batch."""

    problem = "CUDA out of memory. Tried to allocate 2.00 GiB"


class DroppingFrontEnd(NumpyFrontEnd):
    """A front end that goes out of order after its warm-up."""

    def __init__(self, source: Source, n_mels: int, device: str = "cpu") -> None:
        super().__init__(source, n_mels, device)
        self._warm = False

    def batch(self, payloads: Sequence[bytes], *, frames: int | None = None, normalised: bool = True) -> Float32Array:
        if self._warm:
            raise RuntimeError(BrokenFrontEnd.problem)
        self._warm = True
        return super().batch(payloads, frames=frames, normalised=normalised)
