"""Which rung of the ladder is in force, by the load of the devices."""

from __future__ import annotations

import math
from typing import Final

from streaming.ladder import Ladder, Rung

SLOW_FROM_S: Final = 0.30
"""Expected wait of a final above which the ladder is descended."""

HURRY_BELOW_S: Final = 0.10
"""Expected wait below which it may be climbed again."""

SLOW_FROM_BACKLOG_S: Final = 0.80
"""Work before the devices above which the ladder is descended: finals overtake it, so they may not wait at all, but the
newest words then come about a second late."""

HURRY_BELOW_BACKLOG_S: Final = 0.30
"""Work before the devices below which it may be climbed again."""

CALM_TICKS: Final = 5
"""Seconds below both marks before each step back."""


class PaceKeeper:
    """Descends the ladder at once and climbs it slowly.

    Args:
        ladder: Its first rung is for times without load.
    """

    def __init__(self, ladder: Ladder) -> None:
        self._ladder = ladder
        self._step = 0
        self._calm = 0

    @property
    def rung(self) -> Rung:
        """The rung in force."""
        return self._ladder[self._step]

    def tick(self, expected_wait_s: float, backlog_s: float) -> Rung | None:
        """Take a second's measurement.

        Args:
            expected_wait_s: Seconds a final handed over now would wait; infinite while no device is ready, which says
                nothing of the load and changes nothing.
            backlog_s: Seconds until the devices have done all they were given.

        Returns:
            The new rung, if it changed.
        """
        if math.isinf(expected_wait_s):
            self._calm = 0
            return None
        calm = expected_wait_s < HURRY_BELOW_S and backlog_s < HURRY_BELOW_BACKLOG_S
        self._calm = self._calm + 1 if calm else 0
        step = self._step
        if expected_wait_s > SLOW_FROM_S or backlog_s > SLOW_FROM_BACKLOG_S:
            step = min(step + 1, len(self._ladder) - 1)
        elif self._calm >= CALM_TICKS:
            step = max(step - 1, 0)
            self._calm = 0
        if step == self._step:
            return None
        self._step = step
        return self.rung
