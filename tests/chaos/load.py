"""Calls whose every word is known, played through the SDK in real time while things go wrong."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Sequence
from typing import Final

from tests.chaos.audit import Verdict, judge
from tests.support.calls import Caller, calling
from tests.support.tones import RATE, flat, interleaved, sentences, spoken
from trunkline import Audio, Partial

AUDIO: Final = Audio("mulaw", RATE, channels=2)
STAGGER_S: Final = 0.3
"""Between the beginnings of two calls."""


class Load:
    """Two-sided calls at an address.

    Args:
        url: Where they go.
        calls: How many at a time.
        talk: Sentences of each side; about 2.2 seconds each.
    """

    def __init__(self, url: str, calls: int, talk: int) -> None:
        self._url = url
        self._said = [(sentences(talk, 2 * number), sentences(talk, 2 * number + 1)) for number in range(calls)]
        self._callers: list[Caller | None] = [None] * calls
        self._problems: list[str] = []
        self.disturbed_at = math.inf
        """Monotonic seconds."""
        self._sent_s: dict[int, float] = {}

    async def run(self) -> None:
        """Play all calls to their end."""
        await asyncio.gather(*(self._play(number) for number in range(len(self._said))))

    def mark(self) -> None:
        """Note that something is done to the calls now."""
        self.disturbed_at = time.monotonic()
        self._sent_s = {at: caller.sent_s for at, caller in enumerate(self._callers) if caller is not None}

    @property
    def problems(self) -> Sequence[str]:
        """What calls ended of that should not have."""
        return self._problems

    def verdict(self) -> Verdict:
        """Compare what was heard with what was spoken."""
        total = Verdict()
        for caller, sides in zip(self._callers, self._said, strict=True):
            for channel, said in enumerate(sides):
                finals = [] if caller is None else [final for final in caller.finals if final.channel == channel]
                total += judge(flat(said), finals)
        return total

    def partials_again_s(self) -> tuple[float, float]:
        """Return after how many seconds new text came again: the median call's, and the slowest's."""
        waits = [self._wait(number) for number in self._sent_s]
        return (statistics.median(waits), max(waits)) if waits else (math.inf, math.inf)

    async def _play(self, number: int) -> None:
        await asyncio.sleep(number * STAGGER_S)
        audio = interleaved(*(spoken(said) for said in self._said[number]))
        try:
            async with calling(self._url, AUDIO) as caller:
                self._callers[number] = caller
                await caller.play(audio)
        except Exception as problem:  # noqa: BLE001  whatever ends a call is a finding
            self._problems.append(f"{type(problem).__name__}: {problem}")

    def _wait(self, number: int) -> float:
        caller = self._callers[number]
        assert caller is not None
        fresh = (
            at
            for at, message in caller.heard
            if at > self.disturbed_at and isinstance(message, Partial) and message.end > self._sent_s[number]
        )
        return next(fresh, math.inf) - self.disturbed_at
