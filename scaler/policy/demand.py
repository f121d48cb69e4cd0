"""What calls ask of the devices, at every rung: what is asked at the one in force, and what the others would cost.

A rung that hides an overload does not hide the need: partials that come more rarely are counted as the speech they
stand for, and windows of a small model as what a large one would take for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from streaming.decoding import Kind
from streaming.ladder import Ladder, Rung

__all__ = ["DemandMeter", "WindowCost"]

MEMORY_S: Final = 10
"""Whole seconds over which is counted: long enough for people's pauses to even out over a few calls."""

USUAL_PARTIAL_S: Final = 3.0
USUAL_FINAL_S: Final = 5.0
USUAL_FINALS_PER_S: Final = 0.2
"""Windows of somebody who speaks without a pause."""

LED_S: Final = 8.0
"""Longest window of a final that earlier speech leads; ``streaming.utterance`` leads none that is longer."""

GUESSED: Final = 1.3
"""Finals that are begun for each that is written, where they are begun at a hesitation."""

WindowCost = Callable[[str, float, int], float]
"""Seconds of a whole device that a window takes in a full batch, by model, seconds of audio, and beam."""


@dataclass(slots=True)
class _Second:
    at: int
    speech_s: float = 0.0
    """Speech that partials were asked for: the cadence in force, for each."""
    partials: int = 0
    partials_s: float = 0.0
    """Length of their windows, together."""
    finals: int = 0
    finals_s: float = 0.0


class DemandMeter:
    """Counts what one shard's calls ask for.

    Args:
        ladder: Of the shard.
        cost: What windows cost on its devices.
    """

    def __init__(self, ladder: Ladder, cost: WindowCost) -> None:
        self._ladder = ladder
        self._cost = cost
        self._seconds: deque[_Second] = deque()
        self._began_at: float | None = None

    def asked(self, kind: Kind, seconds: float, rung: int, now: float) -> None:
        """Count a window.

        Args:
            kind: Of it.
            seconds: Of audio in it.
            rung: In force.
            now: Monotonic seconds.
        """
        if self._began_at is None:
            self._began_at = now
        if not self._seconds or self._seconds[-1].at != int(now):
            self._seconds.append(_Second(int(now)))
        second = self._seconds[-1]
        if kind is Kind.FINAL:
            second.finals += 1
            second.finals_s += seconds
        else:
            second.speech_s += self._ladder[rung].cadence_s
            second.partials += 1
            second.partials_s += seconds

    def expected(self, step: int) -> float:
        """Device seconds per second that a call is taken to need at a rung before any is seen: one voice."""
        rung = self._ladder[step]
        partial_s = self._cost(rung.partial_model, USUAL_PARTIAL_S, 1) / rung.cadence_s
        final_s = self._cost(rung.final_model, max(USUAL_FINAL_S, min(USUAL_FINAL_S + rung.lead_s, LED_S)), rung.beam)
        return partial_s + USUAL_FINALS_PER_S * (GUESSED if rung.speculate else 1.0) * final_s

    def utilisation(self, devices: float, now: float) -> tuple[float, ...]:
        """What is asked for at each rung, over what devices can do.

        Args:
            devices: That are ready, a slow one counted as less than one; infinite utilisation if there are none.
            now: Monotonic seconds.
        """
        while self._seconds and self._seconds[0].at < int(now) - MEMORY_S:
            self._seconds.popleft()
        if not self._seconds or self._began_at is None:
            return (0.0,) * len(self._ladder)
        over_s = max(1.0, min(float(MEMORY_S), now - self._began_at))
        heard = self._heard()
        asked = [self._device_s(rung, heard) / over_s for rung in self._ladder]
        return tuple(each / devices if devices > 0 else float("inf") for each in asked)

    def _heard(self) -> _Second:
        """All that was counted, together."""
        heard = _Second(0)
        for second in self._seconds:
            heard.speech_s += second.speech_s
            heard.partials += second.partials
            heard.partials_s += second.partials_s
            heard.finals += second.finals
            heard.finals_s += second.finals_s
        return heard

    def _device_s(self, rung: Rung, heard: _Second) -> float:
        """Device time that the counted speech would take at a rung."""
        total_s = 0.0
        if heard.partials:
            wanted = heard.speech_s / rung.cadence_s
            total_s += wanted * self._cost(rung.partial_model, heard.partials_s / heard.partials, 1)
        if heard.finals:
            total_s += heard.finals * self._cost(rung.final_model, heard.finals_s / heard.finals, rung.beam)
        return total_s
