"""Transcripts as text and subtitles."""

from __future__ import annotations

from server.apis.subtitles import plain, srt, vtt
from tests.support.dialects import final

FINALS = [final("Hello there.", 0.25, 1.5), final("a <b> & c", 3661.5, 3663.0)]


def test_text_is_all_that_was_said() -> None:
    """In one line: what pauses mean is up to the reader."""
    assert plain(FINALS) == "Hello there. a <b> & c"


def test_subrip_has_numbers_and_commas() -> None:
    """Players read nothing else."""
    assert srt(FINALS) == (
        "1\n00:00:00,250 --> 00:00:01,250\nHello there.\n\n2\n01:01:01,500 --> 01:01:03,500\na <b> & c\n"
    )
    assert srt([]) == ""


def test_webvtt_has_points_and_escapes_what_would_be_markup() -> None:
    """A word in angle brackets would vanish."""
    assert vtt(FINALS) == (
        "WEBVTT\n\n00:00:00.250 --> 00:00:01.250\nHello there.\n\n01:01:01.500 --> 01:01:03.500\na &lt;b> &amp; c\n"
    )
    assert vtt([]) == "WEBVTT\n"
