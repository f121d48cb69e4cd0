"""What every engine is: windows in, hypotheses out.

The batcher asks `bucket` which windows may share a batch; any mixture is answered correctly all the same, only slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from streaming.decoding import Hypothesis, Window

__all__ = ["Bucket", "Engine", "TakesFeaturesOnGpu"]


@dataclass(frozen=True, slots=True)
class Bucket:
    """The shape a window has inside an engine; windows of one shape are computed together."""

    frames: int
    """Mel frames of 10 ms it is padded to."""
    prompt_tokens: int = 0
    """Tokens of hotwords and context before the start of the transcript."""
    beam: int = 1
    """Hypotheses kept beside each other."""

    def __str__(self) -> str:
        """Short name, for profiles of the cost model and for metrics."""
        return f"{self.frames}+{self.prompt_tokens}" + (f"x{self.beam}" if self.beam > 1 else "")


class Engine(Protocol):
    """One model on one device; its windows carry features.

    `decode` blocks and is called by as many threads at a time as the engine was given workers; the other methods are
    called by one.
    """

    @property
    def model(self) -> str:
        """Name of the model, as hypotheses carry it."""
        ...

    @property
    def n_mels(self) -> int:
        """Mel bands its windows must have."""
        ...

    @property
    def multilingual(self) -> bool:
        """Whether it knows languages other than English."""
        ...

    @property
    def greedy(self) -> bool:
        """Whether it keeps one hypothesis alone, so that it refuses windows that ask for a wider beam."""
        ...

    def bucket(self, window: Window) -> Bucket:
        """Tell which windows this one may share a batch with at no extra cost.

        Raises:
            ValueError: If the window is too long, has another number of mel bands, or asks a greedy engine for a beam.
        """
        ...

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Transcribe windows of any mixture of lengths, languages, prompts and kinds.

        Returns:
            One hypothesis a window, in the order of the windows; ``queue_s`` and ``compute_s`` are left to the caller.

        Raises:
            OutOfMemory: If the batch did not fit.
            EngineError: If the device failed.
            ValueError: As ``bucket``.
        """
        ...

    def warm_up(self) -> None:
        """Compute every shape once, so that the first caller does not wait for allocations.

        Raises:
            EngineError: If the device failed.
        """
        ...

    def close(self) -> None:
        """Give the device's memory back; the engine is not used afterwards."""
        ...


@runtime_checkable
class TakesFeaturesOnGpu(Protocol):
    """An engine whose windows may carry features that are in its GPU's memory, as ``torch.Tensor``."""

    def stream(self) -> AbstractContextManager[object]:
        """What a thread's work on the GPU happens within: its CUDA stream, for features to be ordered with it."""
        ...
