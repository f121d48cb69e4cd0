"""The recordings that are part of the repository: one call, and a few short clips.

`tests/data/CREDITS.md` says whose voices they are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

from tests.support.audio_files import CallAudio, read_call_audio

DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing that one side of a call says."""

    channel: int
    start_s: float
    """Seconds from the call's first sample to the first sound."""
    end_s: float
    """Seconds to the last sound."""
    text: str


@dataclass(frozen=True, slots=True)
class BundledCall:
    """The recorded call: 8 kHz mu-law, two sides."""

    file: Path
    audio: CallAudio
    labels: tuple[str, ...]
    turns: tuple[Turn, ...]

    def text(self, channel: int) -> str:
        """All that one side says."""
        return " ".join(turn.text for turn in self.turns if turn.channel == channel)


@dataclass(frozen=True, slots=True)
class BundledClip:
    """A short clip of one side."""

    file: Path
    audio: CallAudio
    text: str
    """What is said in it; empty for music, noise and tones."""


class _TurnRow(TypedDict):
    channel: int
    start_s: float
    end_s: float
    text: str


class _CallReference(TypedDict):
    audio: str
    labels: list[str]
    turns: list[_TurnRow]


def bundled_call() -> BundledCall:
    """Read the recorded call and who says what when."""
    folder = DATA / "call"
    reference = cast(_CallReference, json.loads((folder / "call.json").read_text()))
    file = folder / reference["audio"]
    turns = tuple(Turn(row["channel"], row["start_s"], row["end_s"], row["text"]) for row in reference["turns"])
    return BundledCall(file, read_call_audio(file), tuple(reference["labels"]), turns)


def bundled_clips() -> dict[str, BundledClip]:
    """Read every short clip, by name."""
    folder = DATA / "clips"
    texts = cast(dict[str, str], json.loads((folder / "texts.json").read_text()))
    return {
        name: BundledClip(folder / f"{name}.wav", read_call_audio(folder / f"{name}.wav"), text)
        for name, text in texts.items()
    }
