"""How often partials are decoded under load: they give first, because nobody misses a partial that was replaced."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

SLOW_FROM_S: Final = 0.30
"""Expected wait of a final above which partials are slowed."""

HURRY_BELOW_S: Final = 0.10
"""Expected wait below which they may come faster again."""

SLOW_FROM_BACKLOG_S: Final = 0.80
"""Work before the devices above which partials are slowed: finals overtake it, so they may not wait at all, but the
newest words then come about a second late."""

HURRY_BELOW_BACKLOG_S: Final = 0.30
"""Work before the devices below which partials may come faster again."""

CALM_TICKS: Final = 5
"""Seconds below both marks before each step back."""

STEPS: Final = (1.0, 1.5, 2.0, 3.0, 4.0)
"""Factors on the cadence, from no load to the most."""

THOROUGH_UP_TO: Final = 0
"""Last step at which finals are decoded with a beam and behind the speech before them."""

SPECULATE_UP_TO: Final = 2
"""Last step at which finals are still begun at a hesitation."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What sessions are told."""

    cadence_s: float
    """Seconds of new audio between two partials of a channel."""
    speculate: bool
    """Whether finals may be begun before an utterance is known to be over."""
    thorough: bool
    """Whether finals are decoded with all care: a beam, and the speech before them."""


class PaceKeeper:
    """Slows partials at once and hastens them slowly.

    Args:
        cadence_s: Seconds between two partials without load.
    """

    def __init__(self, cadence_s: float) -> None:
        self._cadence_s = cadence_s
        self._step = 0
        self._calm = 0

    @property
    def pace(self) -> Pace:
        """The pace in force."""
        return Pace(self._cadence_s * STEPS[self._step], self._step <= SPECULATE_UP_TO, self._step <= THOROUGH_UP_TO)

    def tick(self, expected_wait_s: float, backlog_s: float) -> Pace | None:
        """Take a second's measurement.

        Args:
            expected_wait_s: Seconds a final handed over now would wait; infinite while no device is ready, which says
                nothing of the load and changes nothing.
            backlog_s: Seconds until the devices have done all they were given.

        Returns:
            The new pace, if it changed.
        """
        if math.isinf(expected_wait_s):
            self._calm = 0
            return None
        calm = expected_wait_s < HURRY_BELOW_S and backlog_s < HURRY_BELOW_BACKLOG_S
        self._calm = self._calm + 1 if calm else 0
        step = self._step
        if expected_wait_s > SLOW_FROM_S or backlog_s > SLOW_FROM_BACKLOG_S:
            step = min(step + 1, len(STEPS) - 1)
        elif self._calm >= CALM_TICKS:
            step = max(step - 1, 0)
            self._calm = 0
        if step == self._step:
            return None
        self._step = step
        return self.pace
