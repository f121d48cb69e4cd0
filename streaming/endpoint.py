"""Speech probabilities in, speech boundaries out: where a speaker begins, hesitates, goes on and stops.

Frames are 32 ms (256 samples at 8 kHz); positions are samples at 16 kHz. Hysteresis: speech begins above one threshold
and is over below a lower one, so that a soft syllable does not end an utterance.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

FRAME_SAMPLES: Final = 512
"""Samples at 16 kHz under one probability."""

FRAME_MS: Final = 32


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """When speech counts as begun and as over."""

    start_threshold: float = 0.5
    """Probability, 0..1, from which a frame may begin speech."""
    stop_threshold: float = 0.35
    """Probability, 0..1, below which a frame is silent."""
    start_ms: int = 64
    """Speech needed in a row before it counts as begun."""
    hesitation_ms: int = 64
    """Silence after which the utterance may be over: what a speculative final waits for."""
    endpoint_ms: int = 320
    """Silence that ends an utterance."""
    unfinished_ms: int = 448
    """Silence that ends an utterance whose text does not end as a sentence does; at least ``endpoint_ms``."""
    long_utterance_s: float = 8.0
    """Length from which a shorter silence is enough, to keep windows bounded at natural places."""
    long_endpoint_ms: int = 256
    """Silence that ends a long utterance."""


@dataclass(frozen=True, slots=True)
class Began:
    """Speech begins."""

    at: int
    """First sample of the first frame of speech."""


@dataclass(frozen=True, slots=True)
class Hesitated:
    """Silent for ``hesitation_ms``; the utterance may be over."""

    since: int
    """First silent sample."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The speaker goes on after a hesitation."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """Silent long enough: the utterance is over."""

    since: int
    """First silent sample."""


Boundary = Began | Hesitated | Resumed | Stopped


class Phase(StrEnum):
    """What the speaker is doing."""

    SILENT = "silent"
    SPEAKING = "speaking"
    PAUSING = "pausing"
    """Silent for less than ``hesitation_ms``."""
    HESITATING = "hesitating"


class Endpointer:
    """One channel's boundaries.

    Args:
        settings: Thresholds and durations.
        start: Sample at which the first frame begins.
    """

    def __init__(self, settings: EndpointSettings, start: int = 0) -> None:
        self._settings = settings
        self.phase = Phase.SILENT
        self.scored = start
        """Sample up to which frames were judged."""
        self.voiced_frames = 0
        """Frames at or above the start threshold in the current, or else the last, utterance."""
        self.surest = 0.0
        """Highest probability in the current, or else the last, utterance."""
        self.unfinished = False
        """Whether the text of the open utterance, as far as it is known, does not end as a sentence does."""
        self._voice = 0.0  # probabilities of the voiced frames, added up
        self._rising = 0  # frames of possible speech in a row
        self._began_at = 0
        self._silent_since = 0

    def push(self, probability: float) -> Boundary | None:
        """Judge the next frame.

        Args:
            probability: That the frame holds speech, 0..1.

        Returns:
            The boundary that this frame makes known, if any.
        """
        start = self.scored
        self.scored += FRAME_SAMPLES
        if self.phase is Phase.SILENT:
            return self._listen(probability, start)
        if probability >= self._settings.start_threshold:
            self.voiced_frames += 1
            self._voice += probability
        self.surest = max(self.surest, probability)
        if self.phase is Phase.SPEAKING:
            if probability < self._settings.stop_threshold:
                self.phase = Phase.PAUSING
                self._silent_since = start
            return None
        if probability >= self._settings.start_threshold:
            hesitated = self.phase is Phase.HESITATING
            self.phase = Phase.SPEAKING
            self.unfinished = False
            return Resumed() if hesitated else None
        return self._wait()

    @property
    def speech_end(self) -> int:
        """Sample up to which the open utterance is speech, as far as is known."""
        return self.scored if self.phase is Phase.SPEAKING else self._silent_since

    @property
    def voice(self) -> float:
        """Mean probability of the voiced frames, 0..1; of the current, or else the last, utterance."""
        return self._voice / max(self.voiced_frames, 1)

    def reset(self) -> None:
        """End the utterance here, without a boundary: the caller asked for a final, or the call is over."""
        self.phase = Phase.SILENT
        self.unfinished = False
        self._rising = 0

    def finished(self) -> Stopped | None:
        """Hear that the text ends as a sentence does.

        Returns:
            The end of the utterance, where it was only waited for because nobody knew.
        """
        self.unfinished = False
        return self._stopped() if self.phase is Phase.HESITATING else None

    def _listen(self, probability: float, start: int) -> Boundary | None:
        if probability < self._settings.start_threshold:
            self._rising = 0
            return None
        if self._rising == 0:
            self._began_at = start
            self.surest = self._voice = 0.0
        self.surest = max(self.surest, probability)
        self._voice += probability
        self._rising += 1
        if self._rising * FRAME_MS < self._settings.start_ms:
            return None
        self.phase = Phase.SPEAKING
        self.voiced_frames = self._rising
        self._rising = 0
        return Began(self._began_at)

    def _wait(self) -> Boundary | None:
        if stopped := self._stopped():
            return stopped
        if self.phase is Phase.PAUSING and self._silent_ms >= self._settings.hesitation_ms:
            self.phase = Phase.HESITATING
            return Hesitated(self._silent_since)
        return None

    @property
    def _silent_ms(self) -> int:
        return (self.scored - self._silent_since) * FRAME_MS // FRAME_SAMPLES

    def _stopped(self) -> Stopped | None:
        if self._silent_ms < self._endpoint_ms():
            return None
        self.phase = Phase.SILENT
        self.unfinished = False
        return Stopped(self._silent_since)

    def _endpoint_ms(self) -> int:
        spoken_s = (self._silent_since - self._began_at) / FRAME_SAMPLES * FRAME_MS / 1000
        settings = self._settings
        if spoken_s >= settings.long_utterance_s:
            return min(settings.endpoint_ms, settings.long_endpoint_ms)
        return max(settings.endpoint_ms, settings.unfinished_ms) if self.unfinished else settings.endpoint_ms
