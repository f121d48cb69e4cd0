"""Voice activity of all calls of a shard: frames that come close together are judged together, in a thread.

A detector that fails is asked once more; if it fails again, whose frames these were is told that it cannot be heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import numpy as np
import structlog

from streaming.decoding import Float32Array

log = structlog.get_logger()

JUDGE_EVERY_S: Final = 0.032
"""Least time between two batches: frames that come within it are judged together."""

TRIES: Final = 2
"""Times a batch is given to the detector."""

Ear = tuple[str, int]
"""A call's id and a channel: whose voice activity is judged."""


class SpeechDetector(Protocol):
    """Judges frames for speech, with a state per ear; called by one thread at a time."""

    def open(self, key: Ear) -> None:
        """Begin with a new ear."""
        ...

    def score(self, frames: Mapping[Ear, Float32Array]) -> dict[Ear, Float32Array]:
        """Return the probability of speech, shape ``(k,)``, for frames of shape ``(k, 256)`` at 8 kHz. Blocks."""
        ...

    def close(self, key: Ear) -> None:
        """Forget an ear."""
        ...


class Ears:
    """The ears of a shard; an id may be closed and opened again at any moment.

    Args:
        detector: Voice activity.
        judged: Gets the probabilities of an ear's frames, in the order they were given.
        deaf: Told of an ear that cannot be judged any more, and why.
    """

    def __init__(
        self,
        detector: SpeechDetector,
        judged: Callable[[Ear, Float32Array], None],
        deaf: Callable[[Ear, Exception], None],
    ) -> None:
        self._detector = detector
        self._judged = judged
        self._deaf = deaf
        self._unjudged: dict[Ear, list[Float32Array]] = {}
        self._wake = asyncio.Event()
        # to begin with and to forget, in order, once no batch is being judged
        self._changes: list[tuple[bool, Ear]] = []
        self._closed: set[Ear] = set()  # since the batch that is being judged began
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="voice-activity")

    def open(self, ear: Ear) -> None:
        """Begin with an ear."""
        self._changes.append((True, ear))

    def hear(self, ear: Ear, frames: Float32Array) -> None:
        """Have frames judged; float32, shape ``(k, 256)``, 8 kHz."""
        self._unjudged.setdefault(ear, []).append(frames)
        self._wake.set()

    def close(self, ear: Ear) -> None:
        """Forget an ear; what it heard last is not judged any more."""
        self._unjudged.pop(ear, None)
        self._closed.add(ear)
        self._changes.append((False, ear))
        self._wake.set()

    async def run(self) -> None:
        """Judge until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._change()
                self._closed.clear()
                batch, self._unjudged = self._unjudged, {}
                if batch:
                    await self._judge({ear: np.concatenate(parts) for ear, parts in batch.items()})
                    await asyncio.sleep(JUDGE_EVERY_S)
        finally:
            self._thread.shutdown(wait=False)

    def _change(self) -> None:
        changes, self._changes = self._changes, []
        for opens, ear in changes:
            try:
                (self._detector.open if opens else self._detector.close)(ear)
            except Exception as problem:  # noqa: BLE001  whatever a detector raises concerns this ear alone
                if opens:
                    self._deaf(ear, problem)
                else:
                    log.warning("voice_activity.not_closed", error=type(problem).__name__)

    async def _judge(self, frames: Mapping[Ear, Float32Array]) -> None:
        try:
            scores = await self._scores(frames)
        except Exception as problem:  # noqa: BLE001  a foreign library: it may raise anything
            for ear in frames:
                if ear not in self._closed:
                    self._deaf(ear, problem)
            return
        for ear, probabilities in scores.items():
            if ear not in self._closed:
                self._judged(ear, probabilities)

    async def _scores(self, frames: Mapping[Ear, Float32Array]) -> dict[Ear, Float32Array]:
        loop = asyncio.get_running_loop()
        for _ in range(TRIES - 1):
            try:
                return await loop.run_in_executor(self._thread, self._detector.score, frames)
            except Exception as problem:  # noqa: BLE001  as above
                log.warning("voice_activity.failed", error=type(problem).__name__, ears=len(frames))
        return await loop.run_in_executor(self._thread, self._detector.score, frames)
