"""Decoder steps as CUDA graphs: a step of a small model is a hundred kernels, and launching them takes longer.

A graph is captured for a number of rows, tokens and steps of audio when that is first met, and replayed from then on.
Rows are rounded up to a power of two, the rest to a few sizes, so that there are few graphs. Used on GPUs alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gpu.torch_engine.decoder import Steps
from gpu.torch_engine.untyped import Tensor, torch

__all__ = ["GraphedSteps", "Rounding"]

SAID: Final = (64, 128, 256, 448)
HEARD: Final = (250, 500, 750, 1000, 1500)
WARM_UPS: Final = 2
"""Times a step is run before it is captured, so that libraries have chosen their kernels and taken their memory."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """Shapes that steps are rounded up to."""

    slots: int
    """Rows of the cache."""
    longest_said: int
    """Tokens the cache has room for."""
    longest_heard: int
    """Steps of audio the cache has room for."""

    def __call__(self, rows: int, said: int, longest: int) -> tuple[int, int, int]:
        """Round a step's rows, tokens and steps of audio up."""
        return (
            min(1 << (rows - 1).bit_length(), self.slots),
            next((size for size in SAID if said <= size < self.longest_said), self.longest_said),
            next((size for size in HEARD if longest <= size < self.longest_heard), self.longest_heard),
        )


class GraphedSteps:
    """Runs steps by replaying graphs of them.

    Args:
        steps: The steps, whose cache is on a CUDA device.
        rounding: Their shapes.
    """

    def __init__(self, steps: Steps, rounding: Rounding) -> None:
        self._steps = steps
        self._rounding = rounding
        self._graphs: dict[tuple[int, int, int], Tensor] = {}

    def __call__(self, rows: int, said: int, longest: int) -> None:
        """Write one token more in each of the first slots; see `Steps`.

        Slots behind them may be stepped too. Nothing is in them, and what is written there is overwritten by the row
        that takes the slot.
        """
        shape = self._rounding(rows, said, longest)
        if shape not in self._graphs:
            self._graphs[shape] = self._capture(shape)
        self._graphs[shape].replay()

    def _capture(self, shape: tuple[int, int, int]) -> Tensor:
        before = self._steps.state.clone()
        stream = torch.cuda.current_stream()
        side = torch.cuda.Stream()
        side.wait_stream(stream)
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self._steps(*shape)
                self._steps.state.copy_(before)
        stream.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads encode meanwhile
            self._steps(*shape)
        self._steps.state.copy_(before)
        return graph
