"""Where the time from end of speech to final goes, and what each setting costs in words, on a virtual clock.

`python -m tests.bench.endings --half tune --set endpoint_ms=320` replays calls and clips of the speech folder through
the core, one at a time, with the real engine (`tests/bench/replay.py`): word errors against offline, latencies as
`trunkline.timing` counts them, and what the windows of finals cost. Sockets and processes are missing, so a few
milliseconds are, too. Settings are chosen on one half of the material and judged on the other, `--half held-out`: every
other clip of a source, in the order of the hashes of their paths. Decodes are kept in `build/`: only new windows cost
time.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Annotated, Any, Final, cast

import typer
from rich.console import Console

from gpu.vad import SileroVad
from gpu.whisper import Tuning, WhisperEngine
from scaler.ears import SpeechDetector
from streaming.call import AudioFormat, CallSpec, Encoding
from streaming.channel import ChannelSettings
from streaming.decoding import Kind
from streaming.endpoint import EndpointSettings
from streaming.records import EndReason, Partial
from streaming.records import Final as FinalRecord
from streaming.utterance import WindowSettings
from tests.bench.accuracy import MODEL, SOUNDS, Item, Part, corpus_items, offline_texts
from tests.bench.corpus import speech_folder
from tests.bench.decodes import Decodes, engine_version
from tests.bench.offline import SOURCES, tiny_en
from tests.bench.replay import Decoder, Replay, replay
from tests.bench.report import WIDTH, ms
from tests.bench.scoring import ROOT, Value, WordErrors, percentiles, show_table, total, word_errors
from tests.bench.script import SOURCE, Utterance, pool, script
from trunkline.audio import Recording
from trunkline.messages import Final as FinalMessage
from trunkline.messages import Partial as PartialMessage
from trunkline.messages import Word as WordMessage
from trunkline.timing import CallTiming, Latencies, Turn

SENT_S: Final = 0.02
"""Audio of one message of the client's."""
DEFAULT_SOURCES: Final = ("derived", "librispeech_test_other")


class Half(StrEnum):
    """Which clips are played."""

    ALL = "all"
    TUNE = "tune"
    """What settings are chosen on."""
    HELD_OUT = "held-out"
    """What they are judged on."""


@dataclass(frozen=True, slots=True)
class Material:
    """One call to be replayed."""

    group: str
    """Under which name it is counted."""
    name: str
    recording: Recording
    turns: tuple[Turn, ...]
    said: tuple[str, ...]
    """By side; none where nobody speaks."""
    offline: tuple[str, ...]
    """What is understood of it offline."""

    @property
    def seconds(self) -> float:
        """Length of the call."""
        return len(self.recording.data) / self.recording.audio.second_bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    material: Material
    played: Replay
    latencies: Latencies

    def errors(self) -> WordErrors:
        """Word errors, side by side; where nobody speaks, words invented."""
        if not self.material.said:
            return word_errors("", self.played.text(0))
        return total(word_errors(text, self.played.text(side)) for side, text in enumerate(self.material.said))

    def errors_offline(self) -> WordErrors:
        """Those of the text written offline."""
        return total(itertools.starmap(word_errors, zip(self.material.said, self.material.offline, strict=True)))


@dataclass(slots=True)
class Settings:
    """All that can be set: the channel's, its parts', and the engine's."""

    channel: ChannelSettings = field(default_factory=ChannelSettings)
    tuning: Tuning = field(default_factory=Tuning)

    def set(self, name: str, value: str) -> None:
        """Change one of them by its name.

        Raises:
            ValueError: If there is none of this name.
        """
        for owner in (self.channel.endpoint, self.channel.windows, self.channel, self.tuning):
            if name in {each.name for each in fields(owner)}:
                old: object = getattr(owner, name)
                new: object = value == "True" if isinstance(old, bool) else type(cast(Any, old))(value)
                self._change(owner, {name: new})
                return
        raise ValueError(f"there is no setting {name!r} of channels, endpoints, windows or the engine")

    def _change(
        self, owner: EndpointSettings | WindowSettings | ChannelSettings | Tuning, change: Mapping[str, Any]
    ) -> None:
        match owner:
            case EndpointSettings():
                self.channel = replace(self.channel, endpoint=replace(owner, **change))
            case WindowSettings():
                self.channel = replace(self.channel, windows=replace(owner, **change))
            case ChannelSettings():
                self.channel = replace(owner, **change)
            case Tuning():
                self.tuning = replace(owner, **change)


def half_of(names: Iterable[str], half: Half) -> set[str]:
    """Return the names that belong to a half: every other one, in the order of their hashes."""
    if half is Half.ALL:
        return set(names)
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    return set(ordered[half is Half.HELD_OUT :: 2])


def play(
    material: Material, detector: SpeechDetector, decoder: Decoder, settings: ChannelSettings, streams: int
) -> Outcome:
    """Replay one call and take its times."""
    audio = material.recording.audio
    labels = tuple(str(side) for side in range(audio.channels))
    carried = AudioFormat(Encoding(audio.encoding), audio.sample_rate, audio.channels)
    spec = CallSpec(material.name, "bench", carried, labels)
    played = replay(spec, material.recording.data, detector, decoder, settings, streams=streams)
    timing = CallTiming(material.turns)
    for number in range(1, round(material.seconds / SENT_S) + 1):
        timing.sent(number * SENT_S, number * SENT_S)
    for now, record in played.written:
        if isinstance(record, FinalRecord | Partial):
            timing.heard(_message(record), now)
    return Outcome(material, played, timing.latencies())


def _message(record: FinalRecord | Partial) -> FinalMessage | PartialMessage:
    """What the SDK makes of a record, as far as times go."""
    words = tuple(WordMessage(word.text, word.start, word.end, word.confidence) for word in record.words)
    if isinstance(record, Partial):
        return PartialMessage(
            channel=record.channel,
            label="",
            number=record.number,
            revision=record.revision,
            start=record.start,
            end=record.end,
            text="",
            stable=record.stable,
            words=words,
            language=record.language,
            model=record.model,
        )
    return FinalMessage(
        channel=record.channel,
        label="",
        number=record.number,
        start=words[0].start,
        end=words[-1].end,
        text="",
        words=words,
        confidence=1.0,
        language=record.language,
        model=record.model,
        reason=record.reason.value,
        speech_end=record.speech_end,
        latency_s=record.latency_s,
    )


def row(group: str, outcomes: Sequence[Outcome]) -> dict[str, Value]:
    """Return one row: words, latencies, and what the windows of finals cost."""
    heard, before = total(each.errors() for each in outcomes), total(each.errors_offline() for each in outcomes)
    latencies = sum((outcome.latencies for outcome in outcomes), Latencies())
    jobs = [job for outcome in outcomes for job in outcome.played.jobs]
    finals = [job for job in jobs if job.kind is Kind.FINAL]
    records = [record for outcome in outcomes for _, record in outcome.played.written]
    written = [record for record in records if isinstance(record, FinalRecord)]
    own = percentiles(record.latency_s for record in written if record.reason is EndReason.ENDPOINT)
    speech = bool(heard.words)
    return {
        "group": group,
        "words": heard.words,
        "offline": round(100 * before.rate, 2) if speech else None,
        "wer": round(100 * heard.rate, 2) if speech else None,
        "diff": round(100 * (heard.rate - before.rate), 2) if speech else None,
        "i/d/s": f"{heard.inserted}/{heard.deleted}/{heard.substituted}",
        **ms(percentiles(latencies.final_s), "final"),
        **ms(own, "own"),
        **ms(percentiles(latencies.first_partial_s), "first"),
        "unfin": f"{latencies.unfinished}/{latencies.turns}",
        "finals": len(written),
        "asked": len(finals),
        "retried": sum(job.retried for job in finals),
        **ms(percentiles(job.done - job.asked for job in finals), "decode"),
        "win_s": round(percentiles(job.seconds for job in finals).p50, 1) if finals else None,
        "cpu/s": round(sum(job.done - job.began for job in jobs) / sum(each.material.seconds for each in outcomes), 3),
    }


def material_of(item: Item, offline: Mapping[str, str]) -> Material:
    """Make a call of a clip, as the accuracy bench plays it."""
    recording, turns = item.prepare()
    texts = tuple(passage.text for passage in item.passages)
    before = tuple(offline[passage.key] for passage in item.passages)
    return Material(item.group, item.clip.path, recording, tuple(turns), texts, before)


def spoken_continuously(half: Half) -> list[Utterance]:
    """Return what the capacity bench has its channels say."""
    everything = pool()[0]
    mine = half_of((each.name for each in everything), half)
    return [each for each in everything if each.name in mine]


def continuous(said: Sequence[Utterance], offline: Mapping[str, str]) -> Material:
    """Make one call of utterances."""
    put = script(said, first=0, seconds=sum(each.seconds for each in said))
    names = [said[spoken].name for spoken in put.spoken]
    text = " ".join(turn.text for turn in put.turns)
    before = " ".join(offline[f"{name}#0"] for name in names)
    return Material("continuous", "continuous", put.recording, put.turns, (text,), (before,))


def gather(sources: Sequence[str], half: Half, every: int, *, long: bool, console: Console) -> list[Material]:
    """Gather what is played: calls and clips, and what the capacity bench says where LibriSpeech is wanted."""
    items = [item for item in corpus_items(speech_folder(), sources) if long or item.part is not Part.LONG]
    groups = {item.group for item in items}
    mine = set[str]().union(
        *(half_of((one.clip.path for one in items if one.group == group), half) for group in groups)
    )
    said = spoken_continuously(half) if SOURCE in sources and every == 1 else []
    names = {each.name for each in said}
    played = [item for item in items if item.clip.path in mine][::every]
    offline = offline_texts([*played, *(item for item in items if item.clip.path in names - mine)], console)
    found = [material_of(item, offline) for item in played]
    return [*found, continuous(said, offline)] if said else found


def main(
    *,
    half: Annotated[Half, typer.Option(help="Which half of the clips.")] = Half.ALL,
    sources: Annotated[str, typer.Option(help="Sources, with commas.")] = ",".join(DEFAULT_SOURCES),
    setting: Annotated[list[str] | None, typer.Option("--set", help="A setting, as NAME=VALUE; lists compare.")] = None,
    streams: Annotated[int, typer.Option(min=1, help="Windows decoded at a time.")] = 2,
    every: Annotated[int, typer.Option(min=1, help="Only each n-th clip.")] = 1,
    long: Annotated[bool, typer.Option(help="Long files, too.")] = False,
    texts: Annotated[bool, typer.Option(help="Show what was written where it is worse than offline.")] = False,
) -> None:
    """Compare settings: each of several values of a setting, with commas, is a run of its own."""
    console = Console(width=WIDTH)
    names = [each.partition("=")[0] for each in setting or ()]
    values = [each.partition("=")[2].split(",") for each in setting or ()]
    wanted = tuple(SOURCES) + tuple(SOUNDS) if sources == "all" else tuple(sources.split(","))
    materials = gather(wanted, half, every, long=long, console=console)
    detector = SileroVad()
    for combination in itertools.product(*values):
        began = time.perf_counter()
        settings = Settings()
        for name, value in zip(names, combination, strict=True):
            settings.set(name, value)
        engine = WhisperEngine(tiny_en(), MODEL, workers=1, tuning=settings.tuning)
        decoder = Decodes(engine, ROOT / "build" / "replay-decodes.sqlite", f"{engine_version()}{settings.tuning}")
        groups: defaultdict[str, list[Outcome]] = defaultdict(list)
        for material in materials:
            groups[material.group].append(play(material, detector, decoder, settings.channel, streams))
        title = " ".join(f"{name}={value}" for name, value in zip(names, combination, strict=True)) or "defaults"
        found = [row(group, outcomes) for group, outcomes in groups.items()]
        show_table(f"{half}, {title} ({time.perf_counter() - began:.0f} s)", found, console)
        for outcome in itertools.chain(*groups.values()) if texts else ():
            _tell(outcome, console)


def _tell(outcome: Outcome, console: Console) -> None:
    """Show what was written where it is worse than offline, and what was invented."""
    material = outcome.material
    for side, (said, before) in enumerate(zip(material.said, material.offline, strict=True)):
        heard = outcome.played.text(side)
        if word_errors(said, heard).errors > word_errors(said, before).errors:
            told = f"{material.name} #{side}\n  said    {said}\n  offline {before}\n  now     {heard}"
            console.print(told, markup=False, highlight=False)
    if not material.said and (heard := outcome.played.text(0)):
        console.print(f"{material.name}: {heard}", markup=False, highlight=False)


if __name__ == "__main__":
    typer.run(main)
