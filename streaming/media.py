"""The media clock: timed and untimed chunks of one channel become one gapless run of samples.

A bridge's clock says where a chunk belongs; our count of samples says where the run has got to. The rule, for the
difference between the two:

* less than ``JITTER_S``: rounding (many clocks tick in ms) or arrival jitter. The chunk simply follows. It is always
  our own count that is compared, so rounding never adds up, and a clock that truly drifts is followed in steps.
* ahead, up to ``max_gap_s``: audio was lost, or the bridge does not send silence. Silence takes its place.
* behind, up to ``max_gap_s``: sent again, or late after its place was filled. The overlap is dropped: the first audio
  wins, because what was made of it cannot be taken back.
* further, either way: the bridge's clock jumped (a long hold, a restarted stream, a fault). Nothing is dropped, and the
  clock is read from its new place on (``offset`` changes). A jump ahead leaves ``max_gap_s`` of silence, so that what
  was said before does not run into what is said after; a jump ahead of the first sample leaves none.
* behind for more than ``max_gap_s`` of audio in a row: a stream that is sent again would have caught up by then, so
  this clock stands still. It is ignored from then on and chunks follow one another.
"""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from streaming.records import UNTIMED, ClockState

__all__ = ["NEW_CLOCK", "MediaClock"]

Sample = TypeVar("Sample", bound=np.generic)

JITTER_S: Final = 0.010
"""Seconds between a chunk's stated and counted place from which on they disagree; the shortest chunk bridges send."""


NEW_CLOCK: Final = ClockState(0, 0, 0, 0, 0, 0, stands_still=False)
"""What the clock of a new call remembers."""


class MediaClock:
    """Puts the chunks of one channel in their places.

    At any time ``received + padded - dropped == position``.

    Args:
        rate: Hz.
        max_gap_s: Longest gap, in seconds, that is filled, and longest overlap that is dropped.
        state: What another clock of the channel remembered, where this one goes on from it.
        silence: What one sample of a gap is filled with, where it is not zero.

    Raises:
        ValueError: If ``max_gap_s`` is shorter than ``JITTER_S``.
    """

    def __init__(
        self, rate: int, max_gap_s: float, state: ClockState = NEW_CLOCK, silence: NDArray[np.generic] | None = None
    ) -> None:
        if max_gap_s < JITTER_S:
            raise ValueError(f"max_gap_s is {max_gap_s}; it must be at least {JITTER_S}, which is taken for jitter")
        self._jitter = JITTER_S * rate
        self._max_gap = round(max_gap_s * rate)
        self._silence = 0 if silence is None else silence
        self._late_in_a_row = state.late_in_a_row
        self._stands_still = state.stands_still
        self.received = state.received
        """Samples that came."""
        self.padded = state.padded
        """Samples of silence put in gaps."""
        self.dropped = state.dropped
        """Samples that came for a place already taken."""
        self.jumps = state.jumps
        """Times the bridge's clock moved by more than ``max_gap_s``, or was found to stand still."""
        self.offset = state.offset
        """Samples the bridge's clock is ahead of ``position``; changes only at a jump."""

    @property
    def position(self) -> int:
        """Samples returned so far: the place of the next one."""
        return self.received + self.padded - self.dropped

    def state(self) -> ClockState:
        """Return all it remembers: a clock made with it goes on as this one would."""
        return ClockState(
            self.received,
            self.padded,
            self.dropped,
            self.jumps,
            self.offset,
            self._late_in_a_row,
            self._stands_still,
        )

    def place(self, samples: NDArray[Sample], position: int) -> NDArray[Sample]:
        """Take a chunk.

        Args:
            samples: Shape ``(n, ...)``, whatever a sample is; may be empty, to tell the clock alone.
            position: The bridge's media clock at the first sample, in samples, or ``UNTIMED``: it follows the last one.

        Returns:
            What continues the run, shape ``(k, ...)``: the chunk, with silence before it or its beginning left out.
        """
        ahead = self._ahead(position)
        self.received += len(samples)
        if abs(ahead) < self._jitter:
            self._late_in_a_row = 0
            return samples
        if ahead > 0:
            return self._pad(samples, ahead)
        late = min(-ahead, len(samples))
        self.dropped += late
        self._late_in_a_row = self._late_in_a_row + late if late == len(samples) else 0
        if self._late_in_a_row > self._max_gap:
            self._stands_still = True
            self.jumps += 1
        return samples[late:]

    def _ahead(self, position: int) -> int:
        """How far after the end of the run the chunk belongs, in samples; jumps are taken out."""
        if position == UNTIMED or self._stands_still:
            return 0
        ahead = position - self.offset - self.position
        if abs(ahead) <= self._max_gap:
            return ahead
        silence = self._max_gap if ahead > 0 and self.position else 0
        self.offset += ahead - silence
        self.jumps += 1
        return silence

    def _pad(self, samples: NDArray[Sample], count: int) -> NDArray[Sample]:
        self._late_in_a_row = 0
        self.padded += count
        filled = np.full((count, *samples.shape[1:]), self._silence, samples.dtype)
        return np.concatenate([filled, samples])
