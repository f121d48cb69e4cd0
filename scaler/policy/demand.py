"""What calls ask of the devices, at every rung: what is asked at the one in force, and what the others would cost.

A rung that hides an overload does not hide the need: partials that come more rarely are counted as the speech they
stand for, windows of a small model as what a large one would take for them, and finals that are decoded alone, and only
once they are sure, with the earlier speech and the guesses that a better rung brings back.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from streaming.decoding import Kind
from streaming.ladder import Ladder, Rung
from streaming.utterance import WindowSettings

__all__ = ["DemandMeter", "WindowCost"]

MEMORY_S: Final = 10
"""Whole seconds over which is counted: long enough for people's pauses to even out over a few calls."""

USUAL_PARTIAL_S: Final = 3.0
USUAL_FINAL_S: Final = 5.0
USUAL_FINALS_PER_S: Final = 0.2
"""Windows of somebody who speaks without a pause."""

USUAL_WINDOWS: Final = WindowSettings()
"""How windows are cut, but for what a rung says."""

FIRST_PARTIAL_S: Final = USUAL_WINDOWS.first_partial_s
"""Speech before the first partial of an utterance. Any other's window holds that, and a cadence more."""

LED_SHARE: Final = 0.5
"""Of the room for earlier speech that is taken until more is known: only whole finals lead, so half have none."""

LED_KEPT: Final = 0.98
"""What each final leaves of what was known about that, so that about fifty count."""

GUESSED: Final = 1.3
"""Work of the finals that are begun for each that is written, where they are begun at a hesitation: half as many again,
and what is thrown away is shorter."""

WindowCost = Callable[[str, float, int], float]
"""Seconds of a whole device that a window takes in a full batch, by model, seconds of audio, and beam."""


class _Windows:
    """Windows by their length: a few long ones may cost more than as many of the mean length."""

    def __init__(self) -> None:
        self._by_length: dict[int, tuple[float, float]] = {}  # by whole seconds, rounded up: how many, and their length

    @property
    def count(self) -> float:
        return sum(count for count, _ in self._by_length.values())

    def add(self, count: float, seconds: float) -> None:
        """Add windows that are so long together."""
        length = math.ceil(seconds / count)
        known, known_s = self._by_length.get(length, (0.0, 0.0))
        self._by_length[length] = known + count, known_s + seconds

    def add_all(self, others: _Windows) -> None:
        for count, seconds in others._by_length.values():
            self.add(count, seconds)

    def device_s(self, cost: WindowCost, model: str, beam: int) -> float:
        return sum(count * cost(model, seconds / count, beam) for count, seconds in self._by_length.values())


@dataclass(slots=True)
class _Second:
    at: int
    finals: list[_Windows]
    """By rung: those there would be."""
    partials: _Windows = field(default_factory=_Windows)
    firsts: int = 0
    """Those with which utterances begin: they come so soon at any rung."""
    speech_s: float = 0.0
    """Speech that the others were asked for: the cadence in force, for each."""
    utterances: float = 0.0
    """Finals, without those that were thrown away."""
    tails_s: float = 0.0
    """Speech between the last partials and the finals that were begun: half a cadence each."""

    def add(self, other: _Second) -> None:
        self.partials.add_all(other.partials)
        self.firsts += other.firsts
        self.speech_s += other.speech_s
        self.utterances += other.utterances
        self.tails_s += other.tails_s
        for finals, more in zip(self.finals, other.finals, strict=True):
            finals.add_all(more)

    def partials_at(self, step: int, cadence_s: float) -> float:
        """How many partials there would be at a rung.

        A final that is begun cuts half a cadence short on average; not for callers who want no partials.
        """
        heard = min(1.0, self.firsts / self.utterances) if self.utterances else 0.0
        later = (self.speech_s + heard * self.tails_s) / cadence_s - heard * self.finals[step].count / 2
        return self.firsts + max(0.0, later)


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
        weight_s = USUAL_FINAL_S / (1 - LED_KEPT)
        self._windows = [USUAL_WINDOWS.at(rung) for rung in ladder]
        self._led_s, self._leadable_s = LED_SHARE * weight_s, weight_s

    def asked(self, kind: Kind, seconds: float, rung: int, now: float, *, lead_s: float = 0.0) -> None:
        """Count a window.

        Args:
            kind: Of it.
            seconds: Of audio in it.
            rung: In force.
            now: Monotonic seconds.
            lead_s: Seconds of earlier speech in it.
        """
        if self._began_at is None:
            self._began_at = now
        if not self._seconds or self._seconds[-1].at != int(now):
            self._seconds.append(self._second(int(now)))
        second, force = self._seconds[-1], self._ladder[rung]
        if kind is Kind.FINAL:
            self._count_final(second, seconds - lead_s, lead_s, rung)
            return
        second.partials.add(1, seconds)
        if seconds < FIRST_PARTIAL_S + force.cadence_s:
            second.firsts += 1
        else:
            second.speech_s += force.cadence_s

    def expected(self, step: int) -> float:
        """Device seconds per second that a call is taken to need at a rung before any is seen: one voice."""
        rung = self._ladder[step]
        partial_s = self._cost(rung.partial_model, USUAL_PARTIAL_S, 1) / rung.cadence_s
        final_s = self._cost(rung.final_model, USUAL_FINAL_S + self._windows[step].leadable_s(USUAL_FINAL_S), rung.beam)
        return partial_s + USUAL_FINALS_PER_S * _guessed(rung) * final_s

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
        heard = self._second(0)
        for second in self._seconds:
            heard.add(second)
        asked = [self._device_s(step, heard) / over_s for step in range(len(self._ladder))]
        return tuple(each / devices if devices > 0 else float("inf") for each in asked)

    def _second(self, at: int) -> _Second:
        return _Second(at, [_Windows() for _ in self._ladder])

    def _count_final(self, second: _Second, own_s: float, lead_s: float, rung: int) -> None:
        """Count a final at every rung: with the lead that it has, or where another would be allowed, may have."""
        force, leadable_s = self._ladder[rung], self._windows[rung].leadable_s(own_s)
        if leadable_s > 0:
            self._led_s = LED_KEPT * self._led_s + min(lead_s, leadable_s)
            self._leadable_s = LED_KEPT * self._leadable_s + leadable_s
        second.utterances += 1 / _guessed(force)
        second.tails_s += force.cadence_s / 2
        for step, other in enumerate(self._ladder):
            count = _guessed(other) / _guessed(force)
            led_s = lead_s
            if other.lead_s != force.lead_s:
                led_s = self._windows[step].leadable_s(own_s) * self._led_s / self._leadable_s
            second.finals[step].add(count, count * (own_s + led_s))

    def _device_s(self, step: int, heard: _Second) -> float:
        """Device time that the counted speech would take at a rung."""
        rung = self._ladder[step]
        finals_s = heard.finals[step].device_s(self._cost, rung.final_model, rung.beam)
        if not (partials := heard.partials.count):
            return finals_s
        each_s = heard.partials.device_s(self._cost, rung.partial_model, 1) / partials
        return heard.partials_at(step, rung.cadence_s) * each_s + finals_s


def _guessed(rung: Rung) -> float:
    """Finals that are begun at a rung for each that is written, as long as these."""
    return GUESSED if rung.speculate else 1.0
