"""What may be believed of what a model wrote. Pure: tokens and numbers in, verdicts out.

Whisper was trained on 30 s. Given a shorter window it writes the right words and often does not stop: it says them
again, with timestamps behind the end of the audio. So its timestamps are read as statements about the audio, and text
is taken only up to the segment that ends where the audio does.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Reading", "Segment", "cap", "is_looping", "read", "spread"]

STEP_S: Final = 0.02
"""Seconds between two of Whisper's timestamps."""

END_SLACK_S: Final = 0.1
"""A segment that ends this close to the end of the audio ends with it."""

TOKENS_PER_S: Final = 5.0
"""Tokens of speech a second that a decode is given room for; people say about 4."""

SPARE_TOKENS: Final = 10
"""Tokens beyond that: timestamps, and short windows that are all speech."""

COMPRESSIBLE: Final = 2.4
"""Text that deflates by more than this repeats itself (the threshold Whisper itself uses)."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of text between two timestamps."""

    start: float
    """Seconds from the window's start."""
    end: float
    """Seconds from the window's start, not past its end."""
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model wrote about the audio it was given."""

    segments: tuple[Segment, ...]
    complete: bool
    """False where it was stopped in the middle of a segment that began before the end of the audio."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """All text tokens."""
        return tuple(token for segment in self.segments for token in segment.tokens)


def cap(audio_s: float) -> int:
    """Tokens that a decode of so many seconds may write."""
    return round(SPARE_TOKENS + TOKENS_PER_S * audio_s)


def read(tokens: Sequence[int], *, timestamp_begin: int, eot: int, audio_s: float, finished: bool) -> Reading:
    """Read what a model wrote up to the end of the audio.

    Args:
        tokens: As generated, timestamps among them.
        timestamp_begin: Token of 0.00 s; all from here on are timestamps.
        eot: First token that is not text.
        audio_s: Seconds of audio in the window, without its padding.
        finished: Whether the model ended by itself, and not at the cap.
    """
    segments: list[Segment] = []
    start, text = 0.0, list[int]()
    for token in tokens:
        if token < eot:
            text.append(token)
        elif token >= timestamp_begin:
            at = (token - timestamp_begin) * STEP_S
            if text:
                segments.append(Segment(start, min(max(at, start), audio_s), tuple(text)))
                text = []
            start = at
            if segments and at >= audio_s - END_SLACK_S:
                return Reading(tuple(segments), complete=True)
    if text and start < audio_s:
        segments.append(Segment(start, audio_s, tuple(text)))
    return Reading(tuple(segments), complete=finished or not text)


def without_repeats(reading: Reading) -> Reading:
    """Drop segments that say again, word for word, what the one before said, faster than it can be said."""
    kept: list[Segment] = []
    for segment in reading.segments:
        if kept and segment.tokens == kept[-1].tokens and len(segment.tokens) > 2:
            continue
        kept.append(segment)
    return Reading(tuple(kept), reading.complete)


def is_looping(text: str) -> bool:
    """Tell whether a text repeats itself over and over."""
    raw = text.encode()
    return len(raw) / max(len(zlib.compress(raw)), 1) > COMPRESSIBLE


def spread(words: Sequence[str], start: float, end: float) -> list[tuple[float, float]]:
    """Give words of a segment their times: each as long as it has characters.

    Args:
        words: At least one character each.
        start: Of the segment, in seconds.
        end: Of the segment, in seconds.
    """
    total = sum(len(word) for word in words)
    times: list[tuple[float, float]] = []
    done = 0
    for word in words:
        begin = start + (end - start) * done / total
        done += len(word)
        times.append((begin, start + (end - start) * done / total))
    return times
