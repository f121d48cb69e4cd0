"""Transcripts as text, SubRip and WebVTT."""

from __future__ import annotations

from collections.abc import Sequence

from server.render import text_of
from streaming.records import Final


def plain(finals: Sequence[Final]) -> str:
    """Return all that was said, in the order of its time."""
    return " ".join(text_of(final.words) for final in finals)


def srt(finals: Sequence[Final]) -> str:
    """Return SubRip."""
    cues = [f"{number}\n{_span(final, ',')}\n{text_of(final.words)}\n" for number, final in enumerate(finals, 1)]
    return "\n".join(cues)


def vtt(finals: Sequence[Final]) -> str:
    """Return WebVTT."""
    cues = [f"{_span(final, '.')}\n{_escaped(text_of(final.words))}\n" for final in finals]
    return "\n".join(["WEBVTT\n", *cues])


def _span(final: Final, point: str) -> str:
    return f"{_clock(final.words[0].start, point)} --> {_clock(final.words[-1].end, point)}"


def _clock(seconds: float, point: str) -> str:
    thousandths = round(seconds * 1000)
    return (
        f"{thousandths // 3_600_000:02d}:{thousandths // 60_000 % 60:02d}:{thousandths // 1000 % 60:02d}"
        f"{point}{thousandths % 1000:03d}"
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("-->", "->")
