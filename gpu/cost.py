"""What a batch will cost: seconds as a straight line over its size, fitted while the device works.

Every (model, bucket) has a line of its own, ``seconds = fixed + each * size``, by least squares over its last batches.
Before it has any, a line measured earlier (the profile), one measured as the device started, the slowest line of the
same model, or a guess stands in.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Final

__all__ = ["Cost", "CostModel", "Feeler", "Lane", "Line", "Timing"]

Lane = tuple[str, Hashable]
"""A model's name, and what that model's engine wants kept apart."""

HISTORY: Final = 50
"""Batches a line is fitted to: few enough to follow a device that slows down, enough for a 95th percentile."""

DRIFT_SHARE: Final = 0.3
"""Relative error above which a prediction is called wrong."""

DRIFT_S: Final = 30.0
"""Seconds that predictions must have been wrong before it is called drift."""

RIGHT_AGAIN: Final = 10
"""Predictions in a row that must be right before they are followed again."""

SHRINK: Final = 0.7
"""What is left of the size of batches after one that took longer than it could."""

OVERHEAD_SHARE: Final = 0.25
"""A batch is full enough once its fixed part is no more than this share of it: growing it further only adds delay."""


@dataclass(frozen=True, slots=True)
class Line:
    """Seconds of a batch over its size."""

    fixed_s: float
    """Seconds that any batch takes."""
    each_s: float
    """Seconds more per window."""

    def at(self, size: int) -> float:
        """Seconds a batch of ``size`` windows takes."""
        return self.fixed_s + self.each_s * size

    def scaled(self, factor: float) -> Line:
        """The same shape, slower or faster."""
        return Line(self.fixed_s * factor, self.each_s * factor)


@dataclass(frozen=True, slots=True)
class Cost:
    """What batches of one model and bucket were measured to take."""

    model: str
    bucket: str
    """``str`` of the engine's bucket: frames, prompt tokens, beam."""
    fixed_s: float
    """Seconds of any batch."""
    each_s: float
    """Seconds more per window."""
    margin_s: float = 0.0
    """Seconds by which 95 % of the batches did not exceed the line."""

    @property
    def line(self) -> Line:
        """Without the margin."""
        return Line(self.fixed_s, self.each_s)

    @property
    def frames(self) -> int:
        """Length of the bucket's windows with their padding; ``gpu.engine.Bucket`` puts it first."""
        return int(self.bucket.partition("x")[0].partition("+")[0])

    @property
    def beam(self) -> int:
        """Of the bucket; ``gpu.engine.Bucket`` puts it last, and leaves out 1."""
        return int(self.bucket.partition("x")[2] or 1)


@dataclass(frozen=True, slots=True)
class Timing:
    """One batch that a device decoded before it was ready, to see how long it takes."""

    model: str
    beam: int
    size: int
    """Windows in it."""
    audio_s: float
    """Seconds of audio in each."""
    took_s: float
    """Seconds it took."""


GUESS: Final = Line(0.06, 0.02)
"""Of a device nothing is known about: between a small model on a processor core and a large one on a GPU."""


class _Fit:
    """One line and how far off it is."""

    def __init__(self, start: Line) -> None:
        self.line = start
        self.margin_s = 0.0
        self._start = start
        self._seen: deque[tuple[int, float]] = deque(maxlen=HISTORY)

    def observe(self, size: int, seconds: float) -> None:
        self._seen.append((size, seconds))
        self.line = self._least_squares()
        fixed_s, each_s = self.line.fixed_s, self.line.each_s
        residuals = sorted([seen - fixed_s - each_s * n for n, seen in self._seen])
        self.margin_s = max(0.0, residuals[math.ceil(0.95 * len(residuals)) - 1])

    def _least_squares(self) -> Line:
        count = len(self._seen)
        mean_n = sum([n for n, _ in self._seen]) / count
        mean_s = sum([seconds for _, seconds in self._seen]) / count
        spread = covered = 0.0
        for n, seconds in self._seen:  # once for every batch of every device: a loop takes half of what two sums do
            off = n - mean_n
            spread += off * off
            covered += off * (seconds - mean_s)
        if spread == 0:  # one size says how fast the device is, not how its time grows: keep the shape known so far
            return self._start.scaled(mean_s / self._start.at(round(mean_n)))
        each_s = covered / spread
        fixed_s = mean_s - each_s * mean_n
        if each_s < 0:
            return Line(mean_s, 0.0)
        if fixed_s < 0:
            return Line(0.0, mean_s / mean_n)
        return Line(fixed_s, each_s)


class CostModel:
    """Predicts how long batches take.

    Args:
        profile: Measured earlier; drift is judged against it.
        warm_up: Measured when the device started. A moment's look, so that drift is not judged against it.
    """

    def __init__(self, profile: Iterable[Cost] = (), warm_up: Iterable[Cost] = ()) -> None:
        self._profile = {(cost.model, cost.bucket): cost for cost in profile}
        self._warm_up = {(cost.model, cost.bucket): cost.line for cost in warm_up}
        self._fits: dict[Lane, _Fit] = {}
        self._off: tuple[float, float] | None = None  # when the predictions that are wrong began, and the last one
        self._wrong_since: float | None = None
        self._right = 0  # in a row
        self._trusted = True

    def line(self, bucket: Lane) -> Line:
        """The line in force for a bucket."""
        fit = self._fits.get(bucket)
        return fit.line if fit else self._start(bucket)

    def predict(self, bucket: Lane, size: int) -> float:
        """Seconds a batch is expected to take."""
        return self.line(bucket).at(size)

    def margin(self, bucket: Lane) -> float:
        """Seconds by which 95 % of the last batches, or of those measured earlier, did not exceed the prediction."""
        fit = self._fits.get(bucket)
        if fit:
            return fit.margin_s
        known = self._known(bucket)
        return known.margin_s if known else 0.0

    def largest_within(self, bucket: Lane, seconds: float) -> int | None:
        """The largest batch expected to be done in time.

        Args:
            bucket: Where the batch would come from.
            seconds: That are left.

        Returns:
            The size, 0 if not even one window can be done, or None if no size is too large.
        """
        line = self.line(bucket)
        left_s = seconds - self.margin(bucket)
        if line.at(1) > left_s:
            return 0
        return math.floor((left_s - line.fixed_s) / line.each_s + 1e-9) if line.each_s > 0 else None

    def full_enough(self, bucket: Lane) -> int | None:
        """The size from which a larger batch gains little for each window, or None if every larger one gains."""
        line = self.line(bucket)
        if line.each_s == 0:
            return None
        return max(1, math.ceil(line.fixed_s * (1 - OVERHEAD_SHARE) / (OVERHEAD_SHARE * line.each_s) - 1e-9))

    def observe(self, bucket: Lane, size: int, seconds: float, now: float) -> None:
        """Learn from a finished batch.

        Args:
            bucket: Where it came from.
            size: Windows in it; at least 1.
            seconds: It took.
            now: Monotonic seconds.
        """
        known = self._known(bucket)
        expected_s = (known.line if known else self.line(bucket)).at(size)
        if abs(seconds - expected_s) <= DRIFT_SHARE * expected_s:
            self._off = None
        else:
            self._off = (self._off[0] if self._off else now, now)
        if known or bucket in self._fits:  # what was only guessed says nothing about the device
            self._judge(abs(seconds - self.predict(bucket, size)) <= DRIFT_SHARE * seconds, now)
        self._fits.setdefault(bucket, _Fit(self._start(bucket))).observe(size, seconds)

    def forget(self, bucket: Lane) -> None:
        """Learn a bucket anew."""
        self._fits.pop(bucket, None)

    @property
    def trusted(self) -> bool:
        """Whether predictions are to be followed.

        They are learned anew all the time, so a device that became slower is predicted well after a few batches; one
        whose batches take now this long and now that, whatever is in them, is not.
        """
        return self._trusted

    @property
    def drifting(self) -> bool:
        """Whether the device has been another than its profile says for ``DRIFT_S`` seconds."""
        return self._off is not None and self._off[1] - self._off[0] >= DRIFT_S

    def _judge(self, right: bool, now: float) -> None:
        if right:
            self._right += 1
            self._wrong_since = None
            self._trusted = self._trusted or self._right >= RIGHT_AGAIN
            return
        self._right = 0
        self._wrong_since = now if self._wrong_since is None else self._wrong_since
        self._trusted = self._trusted and now - self._wrong_since < DRIFT_S

    def _known(self, bucket: Lane) -> Cost | None:
        return self._profile.get((bucket[0], str(bucket[1])))

    def _start(self, bucket: Lane) -> Line:
        known = self._known(bucket)
        if known:
            return known.line
        seen = self._warm_up.get((bucket[0], str(bucket[1])))
        if seen:
            return seen
        fits = [fit.line for (model, _), fit in self._fits.items() if model == bucket[0]]
        same_model = fits or [line for (model, _), line in self._warm_up.items() if model == bucket[0]]
        return max(same_model, key=lambda line: line.at(1), default=GUESS)


class Feeler:
    """The size of batches where costs cannot be predicted: one window more after each that was quick enough.

    Args:
        most: Windows of the largest batch; at least 1.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = float(most)

    @property
    def size(self) -> int:
        """Windows the next batch may have."""
        return int(self._size)

    def finished(self, size: int, *, quick: bool) -> None:
        """Learn from a batch of that size: whether it was done while its windows were still worth it."""
        if quick:
            self._size = min(max(self._size, size + 1.0), self._most)
        else:
            self._size = max(1.0, SHRINK * min(self._size, size))
