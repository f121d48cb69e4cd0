"""The folder of real speech and real noise that the benches use, as typed clips.

It is too large to be part of the repository: `TRUNKLINE_SPEECH` says where it is, else it is looked for in
`../shared/speech`.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tests.support.audio_files import CallAudio, read_call_audio
from tests.support.samples import Turn

NO_LANGUAGE = "-"
"""What the manifest calls the language of noise, music and tones."""


class SpeechNotFound(Exception):
    """The folder of speech is not on this machine."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One file of the folder."""

    path: str
    """Relative to the folder; its first part is the source."""
    file: Path
    duration_s: float
    rate: int
    """Hz."""
    channels: int
    language: str | None
    """ISO 639-1 code, or None for what is not speech."""
    text: str | None
    """The reference; empty where nothing is said, None where nobody wrote it down."""
    licence: str

    @property
    def source(self) -> str:
        """The collection it belongs to."""
        return self.path.split("/", 1)[0]

    @property
    def is_speech(self) -> bool:
        """Whether anybody speaks in it."""
        return self.language is not None

    def audio(self, *, telephone: bool = False) -> CallAudio:
        """Read it in a call's codec: mu-law where it is of 8 kHz or ``telephone`` says so, else linear at 16 kHz."""
        return read_call_audio(self.file, telephone=telephone)


@dataclass(frozen=True, slots=True)
class Call:
    """A clip whose turns are known."""

    clip: Clip
    turns: tuple[Turn, ...]
    """In the order in which they begin."""

    def text(self, channel: int) -> str:
        """All that one side says."""
        return " ".join(turn.text for turn in self.turns if turn.channel == channel)


@dataclass(frozen=True, slots=True)
class Passage:
    """One side of a clip, and what is said on it."""

    clip: Clip
    channel: int
    text: str
    in_turns: bool
    """Whether it is a side of a call, or a long file: speech with long pauses."""

    @property
    def key(self) -> str:
        """A name that no other passage has."""
        return f"{self.clip.path}#{self.channel}"


def speech_folder() -> Path:
    """Where the folder is.

    Raises:
        SpeechNotFound: If it is not on this machine.
    """
    beside = Path(__file__).parents[2].parent / "shared" / "speech"
    folder = Path(os.environ.get("TRUNKLINE_SPEECH", beside))
    if not (folder / "manifest.tsv").is_file():
        raise SpeechNotFound(f"no manifest.tsv in {folder}; set TRUNKLINE_SPEECH to the folder of bench speech")
    return folder


def read_clips(folder: Path) -> list[Clip]:
    """Read the manifest: every file, with its reference text where there is one."""
    return [_clip(folder, row) for row in _rows(folder / "manifest.tsv")]


def read_calls(folder: Path) -> list[Call]:
    """Read the files whose turns are known: two-sided calls and long single-sided ones."""
    turns: defaultdict[str, list[Turn]] = defaultdict(list)
    for row in _rows(folder / "derived" / "segments.tsv"):
        turn = Turn(int(row["channel"]), float(row["start_s"]), float(row["end_s"]), row["text"])
        turns[f"derived/{row['file']}"].append(turn)
    return [
        Call(clip, tuple(sorted(turns[clip.path], key=lambda turn: turn.start_s)))
        for clip in read_clips(folder)
        if clip.path in turns
    ]


def read_passages(folder: Path, sources: Collection[str], language: str = "en") -> list[Passage]:
    """Read every side of every clip of these sources that has a reference in this language."""
    calls = {call.clip.path: call for call in read_calls(folder)}
    passages: list[Passage] = []
    for clip in read_clips(folder):
        if clip.source not in sources or clip.language != language:
            continue
        if call := calls.get(clip.path):
            passages += [Passage(clip, side, call.text(side), in_turns=True) for side in range(clip.channels)]
        elif clip.text:
            passages.append(Passage(clip, 0, clip.text, in_turns=False))
    return passages


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def _clip(folder: Path, row: dict[str, str]) -> Clip:
    is_speech = row["language"] != NO_LANGUAGE
    return Clip(
        path=row["path"],
        file=folder / row["path"],
        duration_s=float(row["duration_s"]),
        rate=int(row["sample_rate"]),
        channels=int(row["channels"]),
        language=row["language"] if is_speech else None,
        text=(row["text"] or None) if is_speech else "",
        licence=row["licence"],
    )
