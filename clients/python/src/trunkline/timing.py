"""How long words take: what counts as first partial and as end of speech to final, for the load generator and benches.

First partial
    Wall time from the sending of the first sample of speech to the arrival of the first partial or final that has words
    of it. The speech begins where a reference says that a turn does, else where the server's ``speech_started`` says.

End of speech to final
    Wall time from the sending of the sample where the speech ended to the arrival of the final that covers it. The
    speech ends where a reference says that a turn does, else at the final's ``speech_end``; without a reference, finals
    that a cut or a request made are left out, because nobody stopped speaking there.

Everything is counted by the client's clock, network and all. Nothing here reads a clock: times are passed in.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final as Constant

from trunkline.messages import Event, Final, Partial, SpeechStarted

ONSET_SLACK_S: Constant = 0.15
"""How far before a turn a word may seem to lie and still be the turn's: models place words no better."""

COVER_SLACK_S: Constant = 0.5
"""How much of a turn's end a final may leave out and still cover it."""

_EPSILON_S: Constant = 1e-6
_SPEECH_ENDED: Constant = ("endpoint", "end")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says at a stretch, known beforehand."""

    channel: int
    start_s: float
    """Seconds from the call's first sample."""
    end_s: float
    """Seconds from the call's first sample."""
    text: str = ""

    def later(self, by_s: float) -> Turn:
        """Return the same turn some seconds later, as when a recording is played again."""
        return Turn(self.channel, self.start_s + by_s, self.end_s + by_s, self.text)


@dataclass(frozen=True, slots=True)
class Latencies:
    """Latencies of any number of calls, in seconds; those of two sets add up."""

    first_partial_s: tuple[float, ...] = ()
    final_s: tuple[float, ...] = ()
    """From end of speech to final."""
    turns: int = 0
    """Turns of the reference that were sent completely."""
    unheard: int = 0
    """Those of them that no text came for."""
    unfinished: int = 0
    """Those of them that no final covered."""

    def __add__(self, other: Latencies) -> Latencies:
        return Latencies(
            self.first_partial_s + other.first_partial_s,
            self.final_s + other.final_s,
            self.turns + other.turns,
            self.unheard + other.unheard,
            self.unfinished + other.unfinished,
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """Where a set of measurements lies; NaN where there was none."""

    count: int
    p50: float
    p95: float
    p99: float
    most: float


def spread(values: Iterable[float]) -> Spread:
    """Return where measurements lie."""
    ordered = sorted(values)
    return Spread(len(ordered), *(_percentile(ordered, share) for share in (0.5, 0.95, 0.99, 1.0)))


def _percentile(ordered: Sequence[float], share: float) -> float:
    """Interpolate between the two nearest of ordered values."""
    if not ordered:
        return math.nan
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


class SendLog:
    """When each sample of a call was sent."""

    def __init__(self) -> None:
        self._until_s = array("d")
        self._at = array("d")

    def sent(self, until_s: float, now: float) -> None:
        """Note that audio up to a time was sent.

        Args:
            until_s: Where the audio sent so far ends, in seconds from the call's first sample; never going back.
            now: Monotonic seconds.
        """
        self._until_s.append(until_s)
        self._at.append(now)

    def beginning(self, at_s: float) -> float | None:
        """Return when the sample that begins at a time was sent, or None if it was not."""
        return self._when(bisect_right(self._until_s, at_s + _EPSILON_S))

    def ending(self, at_s: float) -> float | None:
        """Return when the sample that ends at a time was sent, or None if it was not."""
        return self._when(bisect_left(self._until_s, at_s - _EPSILON_S))

    def _when(self, chunk: int) -> float | None:
        return self._at[chunk] if chunk < len(self._at) else None


@dataclass(slots=True)
class _Awaited:
    """A turn and what came of it."""

    turn: Turn
    first: float | None = None
    """When the first text of it arrived."""
    last: float | None = None
    """When the last final of it arrived."""
    reach_s: float = 0.0
    """How far its finals reach."""


class CallTiming:
    """Keeps one call's times.

    Args:
        turns: What is said in the call, or None where only the server can tell.
    """

    def __init__(self, turns: Iterable[Turn] | None = None) -> None:
        self._log = SendLog()
        self._with_reference = turns is not None
        self._awaited = [_Awaited(turn) for turn in turns or ()]
        self._turns: defaultdict[int, list[_Awaited]] = defaultdict(list)
        for awaited in self._awaited:
            self._turns[awaited.turn.channel].append(awaited)
        self._onsets: dict[int, float] = {}
        self._first_partial_s: list[float] = []
        self._final_s: list[float] = []

    def sent(self, until_s: float, now: float) -> None:
        """Note that audio up to a time was sent; see ``SendLog.sent``."""
        self._log.sent(until_s, now)

    def heard(self, event: Event, now: float) -> None:
        """Note that a message arrived.

        Args:
            event: The message.
            now: Monotonic seconds.
        """
        match event:
            case SpeechStarted(channel=channel, at=at):
                self._onsets[channel] = at
            case Partial() | Final() if event.words:
                if self._with_reference:
                    self._match(event, now)
                else:
                    self._count(event, now)
            case _:
                pass

    def latencies(self) -> Latencies:
        """Return what was measured so far."""
        if not self._with_reference:
            return Latencies(tuple(self._first_partial_s), tuple(self._final_s))
        return sum(self.of_turns(), Latencies())

    def of_turns(self) -> list[Latencies]:
        """Return what was measured of each turn of the reference, in the order given."""
        return [self._of_turn(awaited) for awaited in self._awaited]

    # --- with a reference ---

    def _match(self, event: Partial | Final, now: float) -> None:
        for awaited in self._turns[event.channel]:
            if awaited.first is None and _mentions(event, awaited.turn):
                began = self._log.beginning(awaited.turn.start_s)
                if began is not None and now >= began:
                    awaited.first = now
            if isinstance(event, Final) and _belongs(event, awaited.turn):
                awaited.last = now
                awaited.reach_s = max(awaited.reach_s, event.end, event.speech_end)

    def _of_turn(self, awaited: _Awaited) -> Latencies:
        began, ended = self._log.beginning(awaited.turn.start_s), self._log.ending(awaited.turn.end_s)
        if began is None or ended is None:
            return Latencies()
        first, last = awaited.first, awaited.last
        covered = last is not None and awaited.reach_s >= awaited.turn.end_s - COVER_SLACK_S
        return Latencies(
            () if first is None else (first - began,),
            (last - ended,) if covered and last is not None else (),
            turns=1,
            unheard=int(first is None),
            unfinished=int(not covered),
        )

    # --- without one ---

    def _count(self, event: Partial | Final, now: float) -> None:
        onset = self._onsets.get(event.channel)
        if onset is not None and event.end > onset:
            began = self._log.beginning(onset)
            if began is not None:
                self._first_partial_s.append(now - began)
            del self._onsets[event.channel]
        if isinstance(event, Final) and event.reason in _SPEECH_ENDED:
            ended = self._log.ending(event.speech_end)
            if ended is not None:
                self._final_s.append(now - ended)


def _mentions(event: Partial | Final, turn: Turn) -> bool:
    """Tell whether a word lies in a turn, by its middle."""
    return any(turn.start_s - ONSET_SLACK_S <= (word.start + word.end) / 2 <= turn.end_s for word in event.words)


def _belongs(final: Final, turn: Turn) -> bool:
    """Tell whether half of the turn is in the final, or half of the final in the turn."""
    end = max(final.end, final.speech_end)
    shared = min(end, turn.end_s) - max(final.start, turn.start_s)
    return shared > 0.5 * min(end - final.start, turn.end_s - turn.start_s)
