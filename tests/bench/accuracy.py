"""Word errors of streaming against offline, and words invented where nobody speaks, by a real server on real sockets.

`python -m tests.bench.accuracy` plays the speech folder to a standalone server at real-time pace, several calls at
once, and counts word errors on what comes back: with Whisper's English normaliser, each side of a call by itself.
Offline is faster-whisper with the same model on the same audio (`tests/bench/offline.py`). Latencies are what
`trunkline.timing` says, by turns whose silent ends were cut off; after each clip there is silence, so that its last
words end as others do and not because the call does. `--more` adds to what an earlier run measured, so that a machine
need not be quiet for all of it at once.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer
import uvloop
from rich.console import Console

from tests.bench.corpus import (
    Clip,
    Passage,
    SpeechNotFound,
    read_calls,
    read_clips,
    read_passages,
    speech_folder,
)
from tests.bench.offline import SOURCES, Transcripts, tiny_en, transcripts_file, whisper
from tests.bench.playing import Heard, play, recording_of
from tests.bench.report import FOLDER, Progress, ms, publish, report
from tests.bench.running import NotReady, running_server, usage, usage_row
from tests.bench.scoring import Value, WordErrors, machine, percentiles, total, word_errors
from tests.bench.script import side_of
from tests.bench.turns import tightened
from tests.support.samples import bundled_call, bundled_clips
from trunkline.audio import Recording
from trunkline.timing import CallTiming, Latencies, Turn

SOUNDS: Final = ("esc10", "moh_opsound", "synthetic_tones", "dtmf", "speech_commands_noise", "asterisk_tones")
"""Sources in which nobody speaks."""
MODEL: Final = "tiny.en"
SILENCE_S: Final = 1.0
"""Silence after each clip, in seconds."""
QUICK_EVERY: Final = 6
"""A quick run takes each so-manieth clip."""
QUICK_CALLS: Final = 2
QUICK_SOUND_S: Final = 30.0
"""Seconds of each sound in a quick run."""
FALLBACK: Final = "bundled"
"""Source of the samples that are part of the repository."""
TARGET_POINTS: Final = 0.5
"""By how much streaming may be worse than offline."""


class Part(StrEnum):
    """Kinds of material."""

    CALLS = "calls"
    """Two-sided calls."""
    LONG = "long"
    """Files of several minutes."""
    CLIPS = "clips"
    """One utterance each, mostly."""
    SOUNDS = "sounds"
    """Nobody speaks."""


@dataclass(frozen=True, slots=True)
class Item:
    """One call to be made."""

    part: Part
    clip: Clip
    passages: tuple[Passage, ...]
    """What each side says; none where nobody speaks."""
    turns: tuple[Turn, ...] = ()
    """When, as the table of turns has it; without any, the clip is one turn."""
    seconds: float | None = None
    """Use only so much of it; None for all."""

    @property
    def group(self) -> str:
        """Under which name it is counted."""
        return {Part.CALLS: "calls", Part.LONG: Path(self.clip.path).stem}.get(self.part, self.clip.source)

    @property
    def length_s(self) -> float:
        """Length of the call."""
        return min(self.clip.duration_s, self.seconds or self.clip.duration_s) + SILENCE_S

    def prepare(self) -> tuple[Recording, list[Turn]]:
        """Read the audio, and find where its turns begin and end."""
        telephone = self.part is Part.SOUNDS
        recording = recording_of(self.clip.audio(telephone=telephone), silence_s=SILENCE_S, seconds=self.seconds)
        rate = recording.audio.sample_rate
        sides = [side_of(recording, channel) for channel in range(len(self.passages))]
        spoken_s = self.length_s - SILENCE_S  # in digital silence behind it the clip's own noise would pass for speech
        turns = self.turns or tuple(Turn(side, 0.0, spoken_s) for side in range(len(sides)))
        return recording, [tightened(turn, sides[turn.channel], rate) for turn in turns]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    item: Item
    texts: tuple[str, ...]
    """What was heard, by side."""
    latencies: Latencies
    failure: str = ""
    """Why the call ended badly; empty if it did not."""
    late_s: float = 0.0
    """The most that audio was sent too late, in seconds."""

    def errors(self) -> WordErrors:
        """Word errors, side by side; where nobody speaks, words invented."""
        if not self.item.passages:
            return word_errors("", self.texts[0])
        return total(word_errors(each.text, self.texts[each.channel]) for each in self.item.passages)


def outcome_of(item: Item, heard: Heard, latencies: Latencies) -> Outcome:
    """Keep of a call what is counted."""
    texts = tuple(heard.text(side) for side in range(max(1, len(item.passages))))
    return Outcome(item, texts, latencies, heard.failure, heard.late_s)


@dataclass(slots=True)
class Run:
    """What was measured so far."""

    outcomes: list[Outcome]
    used: dict[str, float]
    """The most that a piece of it used of the machine, by name."""

    def write(self, file: Path) -> None:
        """Keep it for ``--more``."""
        kept = [
            {"path": each.item.clip.path, "texts": each.texts, "failure": each.failure, "late_s": each.late_s}
            | {"latencies": asdict(each.latencies)}
            for each in self.outcomes
        ]
        file.write_text(json.dumps({"commit": machine()["commit"], "used": self.used, "outcomes": kept}, indent=1))

    @classmethod
    def read(cls, file: Path, items: Iterable[Item]) -> Run:
        """Read what an earlier run kept.

        Args:
            file: Where.
            items: All that may have been played.

        Raises:
            ValueError: If there was no such run, or it measured other code.
        """
        if not file.is_file():
            raise ValueError(f"{file} is not there: run the first piece without --more")
        kept = cast(dict[str, Any], json.loads(file.read_text()))
        if kept["commit"] != (now := machine()["commit"]):
            raise ValueError(f"{file} was measured at commit {kept['commit']}, this is {now}: begin anew")
        by_path = {item.clip.path: item for item in items}
        outcomes: list[Outcome] = []
        for each in kept["outcomes"]:
            times = cast(dict[str, Any], each["latencies"])
            first_s, final_s = (tuple(times.pop(name)) for name in ("first_partial_s", "final_s"))
            item, texts = by_path[each["path"]], tuple(each["texts"])
            latencies = Latencies(first_s, final_s, **times)
            outcomes.append(Outcome(item, texts, latencies, each["failure"], each["late_s"]))
        return cls(outcomes, kept["used"])

    def add(self, outcomes: Sequence[Outcome], used: Mapping[str, float]) -> None:
        """Add what was measured now; what was played before and is played again counts anew."""
        again = {each.item.clip.path for each in outcomes}
        self.outcomes = [each for each in self.outcomes if each.item.clip.path not in again] + list(outcomes)
        self.used = {name: max(value, self.used.get(name, 0.0)) for name, value in used.items()}


def corpus_items(folder: Path, sources: Sequence[str]) -> list[Item]:
    """Return every call that the speech folder gives."""
    turns = {call.clip.path: call.turns for call in read_calls(folder)}
    sides: defaultdict[str, list[Passage]] = defaultdict(list)
    for passage in read_passages(folder, sources):
        sides[passage.clip.path].append(passage)
    items: list[Item] = []
    for passages in sides.values():
        clip = passages[0].clip
        part = Part.CLIPS if not passages[0].in_turns else Part.CALLS if clip.channels > 1 else Part.LONG
        known = tuple(Turn(turn.channel, turn.start_s, turn.end_s, turn.text) for turn in turns.get(clip.path, ()))
        items.append(Item(part, clip, tuple(passages), known))
    sounds = [clip for clip in read_clips(folder) if clip.source in sources and not clip.is_speech]
    return items + [Item(Part.SOUNDS, clip, ()) for clip in sounds]


def bundled_items() -> list[Item]:
    """Return the calls that the samples of the repository give."""
    call = bundled_call()
    clip = _bundled(call.file, "call", call.audio.seconds, call.audio.format.channels, None)
    passages = tuple(Passage(clip, side, call.text(side), in_turns=True) for side in range(clip.channels))
    turns = tuple(Turn(turn.channel, turn.start_s, turn.end_s, turn.text) for turn in call.turns)
    items = [Item(Part.CALLS, clip, passages, turns)]
    for name, short in bundled_clips().items():
        clip = _bundled(short.file, name, short.audio.seconds, 1, short.text)
        part = Part.CLIPS if short.text else Part.SOUNDS
        items.append(Item(part, clip, (Passage(clip, 0, short.text, in_turns=False),) if short.text else ()))
    return items


def _bundled(file: Path, name: str, seconds: float, channels: int, text: str | None) -> Clip:
    language, source = (None, f"{FALLBACK} sounds") if text == "" else ("en", FALLBACK)
    return Clip(f"{source}/{name}", file, seconds, 8_000, channels, language, text, "see tests/data/CREDITS.md")


def shortened(items: Iterable[Item]) -> list[Item]:
    """Choose what a quick run plays: two calls, each sixth clip and sound, and only the beginning of long sounds."""
    chosen: list[Item] = []
    seen: defaultdict[str, int] = defaultdict(int)
    for item in items:
        number = seen[item.group]
        seen[item.group] += 1
        match item.part:
            case Part.CALLS if number < QUICK_CALLS:
                chosen.append(item)
            case Part.CLIPS if number % QUICK_EVERY == 0:
                chosen.append(item)
            case Part.SOUNDS if number % QUICK_EVERY == 0:
                chosen.append(Item(item.part, item.clip, (), seconds=min(QUICK_SOUND_S, item.clip.duration_s)))
            case _:
                pass
    return chosen


async def perform(server: str, items: Sequence[Item], lanes: int, progress: Progress) -> list[Outcome]:
    """Play everything, so many calls at a time; half as many again for sounds, which cost little."""
    speech = sorted((item for item in items if item.part is not Part.SOUNDS), key=lambda item: -item.length_s)
    sounds = sorted((item for item in items if item.part is Part.SOUNDS), key=lambda item: -item.length_s)
    outcomes: list[Outcome] = []

    async def lane(queue: Iterator[Item]) -> None:
        for item in queue:
            recording, turns = await asyncio.to_thread(item.prepare)
            timing = CallTiming(turns)
            heard = await play(server, recording, [timing])
            outcomes.append(outcome_of(item, heard, timing.latencies()))
            progress.advance(item.length_s, f"{item.group} {heard.failure}")

    async with asyncio.TaskGroup() as tasks:
        for queue, width in ((iter(speech), lanes), (iter(sounds), max(1, lanes // 2))):
            for _ in range(width):
                tasks.create_task(lane(queue), name="lane")
    return outcomes


def row(group: str, outcomes: Sequence[Outcome], offline: Mapping[str, str]) -> dict[str, Value]:
    """Return one row of the report."""
    heard = total(outcome.errors() for outcome in outcomes)
    passages = [passage for outcome in outcomes for passage in outcome.item.passages]
    seconds = sum(outcome.item.length_s for outcome in outcomes)
    latencies = sum((outcome.latencies for outcome in outcomes), Latencies())
    cells: dict[str, Value] = {"group": group, "calls": len(outcomes), "audio_s": round(seconds)}
    if passages:
        before = total(word_errors(passage.text, offline[passage.key]) for passage in passages)
        cells |= {
            "words": heard.words,
            "offline_wer": round(100 * before.rate, 2),
            "streaming_wer": round(100 * heard.rate, 2),
            "difference": round(100 * (heard.rate - before.rate), 2),
            "ins/del/sub": f"{heard.inserted}/{heard.deleted}/{heard.substituted}",
            "offline_ins/del/sub": f"{before.inserted}/{before.deleted}/{before.substituted}",
            "invented": None,
        }
    else:
        cells |= dict.fromkeys(
            ("words", "offline_wer", "streaming_wer", "difference", "ins/del/sub", "offline_ins/del/sub")
        )
        cells["invented"] = heard.inserted
    cells |= ms(percentiles(latencies.final_s), "final")
    cells["first_p95_ms"] = ms(percentiles(latencies.first_partial_s), "first")["first_p95_ms"]
    cells["unfinished"] = f"{latencies.unfinished}/{latencies.turns}"
    cells["failed"] = sum(bool(outcome.failure) for outcome in outcomes)
    return cells


def rows_of(outcomes: Sequence[Outcome], offline: Mapping[str, str]) -> list[dict[str, Value]]:
    """Return a row for each group, and at the end those that stand for all speech and for all sounds."""
    groups: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in sorted(outcomes, key=lambda one: (list(Part).index(one.item.part), one.item.clip.path)):
        groups[outcome.item.group].append(outcome)
    rows = [row(group, found, offline) for group, found in groups.items()]
    for name, spoken in (("all speech", True), ("all sounds", False)):
        if found := [outcome for outcome in outcomes if bool(outcome.item.passages) is spoken]:
            rows.append(row(name, found, offline))
    return rows


def summary_of(outcomes: Sequence[Outcome], offline: Mapping[str, str]) -> dict[str, Value]:
    """Return what the targets are about."""
    found = {str(each["group"]): each for each in rows_of(outcomes, offline)}
    summary: dict[str, Value] = {}
    for group in ("calls", "librispeech_test_other", "all speech"):
        if group in found:
            summary[f"{group}, points over offline (target <= {TARGET_POINTS})"] = found[group]["difference"]
    if "all sounds" in found:
        invented, seconds = (
            found["all sounds"]["invented"],
            sum(one.item.length_s for one in outcomes if not one.item.passages),
        )
        summary["words invented where nobody speaks (target 0)"] = invented
        if isinstance(invented, int):
            summary["words invented per hour"] = round(invented / seconds * 3600, 1)
    summary["audio sent late by the generator, at most ms"] = round(
        1000 * max((outcome.late_s for outcome in outcomes), default=0.0)
    )
    return summary


def offline_texts(items: Iterable[Item], console: Console) -> dict[str, str]:
    """Return what the model understands offline; what was never decoded is decoded now."""
    transcripts = Transcripts(transcripts_file(MODEL))
    passages = [passage for item in items for passage in item.passages]
    missing = [passage for passage in passages if passage.key not in transcripts.texts]
    if missing:
        console.print(f"{len(missing)} passages have no offline baseline yet; decoding them first")
        progress = Progress(console, sum(passage.clip.duration_s for passage in missing))
        for passage in transcripts.complete(missing, whisper(tiny_en())):
            progress.advance(passage.clip.duration_s, "offline")
    return transcripts.texts


def main(
    *,
    sources: Annotated[str, typer.Option(help="Sources of the speech folder, with commas; all where not given.")] = "",
    sets: Annotated[str, typer.Option(help="Kinds of material: calls, long, clips, sounds; with commas.")] = "",
    quick: Annotated[bool, typer.Option(help="A part of it, in less than five minutes.")] = False,
    calls: Annotated[int, typer.Option(min=1, help="Calls with speech at a time.")] = 6,
    more: Annotated[bool, typer.Option(help="Add to what the last run measured.")] = False,
    setting: Annotated[list[str] | None, typer.Option(help="Setting of the server, as NAME=VALUE.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Document whose section is renewed.")] = None,
) -> None:
    """Measure word errors of streaming against offline."""
    console = Console()
    try:
        items = corpus_items(speech_folder(), sources.split(",") if sources else [*SOURCES, *SOUNDS])
    except SpeechNotFound as problem:
        console.print(f"{problem}; using the samples of the repository, which are too few for more than a look")
        items = bundled_items()
    items = shortened(items) if quick else items
    everything = items
    wanted = {Part(name) for name in sets.split(",")} if sets else set(Part)
    items = [item for item in items if item.part in wanted]
    offline = offline_texts(items, console)
    seconds = sum(item.length_s for item in items)
    kept = FOLDER / "accuracy-run.json"
    console.print(
        f"{len(items)} calls with {seconds:.0f} s of audio, {calls} at a time and {max(1, calls // 2)} sounds"
    )
    try:
        run = Run.read(kept, everything) if more else Run([], {})
        # No call may be refused on a machine that is slower, or busier, than so many calls at a time need.
        unlimited = ["limits.by_load=false", *(setting or ())]
        with running_server(console, FOLDER / "accuracy.log", unlimited) as server:
            before = usage(server.pid)
            outcomes = uvloop.run(perform(server.url, items, calls, Progress(console, seconds)))
            run.add(outcomes, usage_row(before, usage(server.pid), seconds))
    except (NotReady, ValueError) as problem:
        console.print(str(problem), style="red", markup=False)
        raise typer.Exit(2) from problem
    run.write(kept)
    settings: dict[str, Value] = {"model": MODEL, "calls": calls, "quick": quick, "setting": " ".join(setting or ())}
    used = {f"{name}, at most": run.used[name] for name in ("server_cores", "devices_cores", "others_cores")}
    found = report("accuracy", settings, summary_of(run.outcomes, offline) | used, rows_of(run.outcomes, offline))
    console.print(f"written to {publish(found, 'streaming against offline', console, markdown)}")
    (FOLDER / "accuracy-texts.json").write_text(json.dumps(texts_of(run.outcomes, offline), indent=1))
    if any(outcome.failure for outcome in run.outcomes):
        raise typer.Exit(1)


def texts_of(outcomes: Iterable[Outcome], offline: Mapping[str, str]) -> list[dict[str, Value]]:
    """Return every text beside its reference, for who wants to see where the errors are."""
    texts: list[dict[str, Value]] = []
    for outcome in outcomes:
        spoken = [(each.key, each.channel, each.text, offline[each.key]) for each in outcome.item.passages]
        for key, channel, said, before in spoken or [(outcome.item.clip.path, 0, "", "")]:
            text = outcome.texts[channel]
            points = word_errors(said, text).errors - word_errors(said, before).errors
            cells: dict[str, Value] = {"key": key, "more_errors": points, "said": said}
            texts.append(cells | {"offline": before, "streaming": text, "failure": outcome.failure})
    return sorted(texts, key=lambda cells: -float(str(cells["more_errors"])))


if __name__ == "__main__":
    typer.run(main)
