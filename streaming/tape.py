"""Memory of a stream's recent past."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tape"]

Sample = TypeVar("Sample", bound=np.generic)


class Tape(Generic[Sample]):
    """A growing array along its last axis, addressed by absolute index, whose old part can be dropped.

    Appending and dropping cost amortised constant time per element; what is kept is always contiguous.

    Args:
        rows: Shape without the last axis.
        start: Index of the first element.
        kind: Type of the elements.
    """

    def __init__(self, rows: tuple[int, ...], start: int, kind: type[Sample]) -> None:
        self._cells: NDArray[Sample] = np.empty((*rows, 0), kind)
        self._origin = start  # absolute index of cell 0
        self.start = start
        self.stop = start

    @property
    def nbytes(self) -> int:
        """Bytes held, spare room included."""
        return self._cells.nbytes

    def extend(self, count: int) -> NDArray[Sample]:
        """Grow by ``count`` elements and return them as a view to be filled."""
        live = self.stop - self.start
        capacity = self._cells.shape[-1]
        if self.stop + count - self._origin > capacity:
            # moving only when at least half is free keeps the cost per element constant
            roomy = self._cells if (live + count) * 2 <= capacity else self._larger(2 * (live + count))
            roomy[..., :live] = self.read(self.start, self.stop)
            self._cells = roomy
            self._origin = self.start
        self.stop += count
        return self.read(self.stop - count, self.stop)

    def read(self, start: int, stop: int) -> NDArray[Sample]:
        """Return a view of what lies between two indices; valid until the next ``extend``."""
        return self._cells[..., start - self._origin : stop - self._origin]

    def drop(self, before: int) -> None:
        """Forget everything before an index; one past the end leaves a tape that is empty and goes on from there."""
        self.start = max(self.start, before)
        if self.start > self.stop:
            self.stop = self._origin = self.start

    def _larger(self, capacity: int) -> NDArray[Sample]:
        return np.empty((*self._cells.shape[:-1], capacity), self._cells.dtype)
