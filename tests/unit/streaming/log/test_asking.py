"""A log that is away is asked again; what will not pass is told at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streaming.errors import LogError, LogRefused, LogUnavailable
from streaming.log.asking import RETRY_S, asked
from tests.support.virtual_time import run_virtually


class AwayUntil:
    """A question that is answered from some moment on."""

    def __init__(self, back_s: float, clock: Callable[[], float], problem: LogError) -> None:
        self.asked_at: list[float] = []
        self._back_s = back_s
        self._clock = clock
        self._problem = problem

    async def answer(self) -> str:
        self.asked_at.append(self._clock())
        if self._clock() < self._back_s:
            raise self._problem
        return "answer"


def test_a_log_that_is_away_for_an_hour_is_asked_once_a_second_and_every_failure_is_told() -> None:
    """Nobody has to be started again because a broker was."""
    told: list[LogError] = []

    async def story(clock: Callable[[], float]) -> None:
        question = AwayUntil(3600.0, clock, LogUnavailable("away"))
        assert await asked(question.answer, told.append) == "answer"
        assert question.asked_at == [number * RETRY_S for number in range(3601)]

    run_virtually(story)
    assert len(told) == 3600


def test_whoever_is_told_of_a_failure_may_end_the_asking() -> None:
    """A password does not become right by waiting, and whoever starts a process is still there to be told."""

    def told(problem: LogError) -> None:
        raise problem

    async def story(clock: Callable[[], float]) -> None:
        question = AwayUntil(3600.0, clock, LogRefused("no"))
        with pytest.raises(LogRefused):
            await asked(question.answer, told)
        assert question.asked_at == [0.0]

    run_virtually(story)
