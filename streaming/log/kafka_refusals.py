"""What a cluster does not let us do, remembered for a moment: whoever decides about calls asks, and asks again."""

from __future__ import annotations

import asyncio
from typing import Final

from streaming.errors import LogError, LogMisconfigured, LogRefused

NEWS_S: Final = 5.0
"""Seconds after which a refusal no longer counts. Whether rights were given meanwhile only a record can tell."""


class Refusals:
    """The newest refusal of each thing that we did."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[float, str]] = {}

    def note(self, doing: str, problem: LogError) -> None:
        """Remember a failure, if it is one that trying again does not end.

        Args:
            doing: What was refused: told apart from other things, no more.
            problem: As it was raised.
        """
        if isinstance(problem, LogRefused | LogMisconfigured):
            self._said[doing] = (asyncio.get_running_loop().time(), str(problem))

    def over(self, doing: str) -> None:
        """Forget a refusal: now we were let."""
        self._said.pop(doing, None)

    def newest(self) -> str:
        """Return what was said last, if that was a moment ago; else nothing."""
        at, said = max(self._said.values(), default=(0.0, ""))
        return said if asyncio.get_running_loop().time() - at < NEWS_S else ""
