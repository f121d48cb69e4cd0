"""The PyTorch engine beside CTranslate2: the same tokens, what drafts save, and what windows cost.

`.venv-torch/bin/python -m tests.bench.torch_engine` (after `make setup-torch`) has three parts.

*tokens* decodes utterances of the speech folder with both, greedily and in float32, and looks at each window where they
differ: how far apart were the two tokens at the first difference, in the PyTorch engine's own scores? Rounding turns
the order of two that tie, and of no others.

*drafts* replays calls through the sessions, decodes every window token by token and with drafts and guesses, and
compares.

*cost* times windows of real speech on one thread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import ctranslate2 as _ctranslate2
import numpy as np
import typer
from rich.console import Console

from gpu import guards
from gpu.engine import Engine
from gpu.models import ModelStore
from gpu.short_windows import Job, padded
from gpu.torch_engine.engine import TorchEngine
from gpu.torch_engine.network import Cache, Network
from gpu.torch_engine.untyped import torch
from gpu.torch_engine.weights import read_weights
from gpu.vad import SileroVad
from gpu.whisper import WhisperEngine
from streaming.call import CallSpec
from streaming.channel import ChannelSettings
from streaming.decoding import Hypothesis, Kind, Window
from tests.bench.beside import Stretch
from tests.bench.corpus import read_clips, speech_folder
from tests.bench.replay import replay
from tests.bench.report import publish, report
from tests.bench.scoring import Value
from tests.bench.windows import SPEECH, Utterance, utterances
from tests.support.audio_files import CallAudio, read_call_audio
from tests.support.samples import bundled_call

ctranslate2: Any = _ctranslate2  # it comes without types

CALLS: Final = ("derived/call_dev_", "aws_calls/", "genesys/")
TIE: Final = 0.05
"""Difference of log probabilities below which two tokens tie: a hundred times what rounding adds up to."""
DECODE_S: Final = 0.15
"""Seconds that every decode takes on the clock of a replayed call."""
REPEATS: Final = 3


class Part(StrEnum):
    """What to measure."""

    TOKENS = "tokens"
    DRAFTS = "drafts"
    COST = "cost"


# --- the same tokens --------------------------------------------------------------------------------------------------


class Both:
    """One model in both engines' arithmetic, float32."""

    def __init__(self, folder: Path, model: str) -> None:
        self.engine = TorchEngine(folder, model)
        self._theirs: Any = ctranslate2.models.Whisper(
            str(folder), device="cpu", compute_type="float32", inter_threads=1, intra_threads=1
        )
        self._network = Network(read_weights(folder), "cpu", torch.float32)
        self._cache = Cache(self._network.shape, 1, [(0, 0)], self._network.sample)

    def difference(self, utterance: Utterance) -> float | None:
        """None where both write the same; else how much likelier the PyTorch engine finds its first other token."""
        window = Window(utterance.features, Kind.PARTIAL, "en")
        job = Job(0, window, self.engine.bucket(window), ())
        features, prompt = padded([job]), self.engine.start(job, "en")
        (decoded,) = self.engine.transcribe([job])
        ours = list(decoded.tokens)
        theirs = self._written(features, prompt, self.engine.most(job), window.seconds)
        if ours == theirs:
            return None
        same = next((at for at, (one, two) in enumerate(zip(ours, theirs, strict=False)) if one != two), None)
        if same is None:  # one of them wrote on, or stopped
            same = min(len(ours), len(theirs))
            eot = self.engine.vocabulary.eot
            ours, theirs = [*ours, eot], [*theirs, eot]
        scores = self._scores(features, [*prompt, *ours[:same]])
        return abs(scores[ours[same]] - scores[theirs[same]])

    def _written(self, features: Any, prompt: list[int], most: int, audio_s: float) -> list[int]:
        """What CTranslate2 writes, up to the last word before the end of the audio."""
        stored = ctranslate2.StorageView.from_array(features)
        (result,) = self._theirs.generate(stored, [prompt], beam_size=1, max_length=2 * most)
        written: list[int] = []
        begin, eot = self.engine.vocabulary.timestamp_begin, self.engine.vocabulary.eot
        for token in result.sequences_ids[0]:
            closes = token >= begin and bool(written) and written[-1] < eot
            written.append(token)
            if closes and (token - begin) * guards.STEP_S >= audio_s - guards.END_SLACK_S:
                break
        while written and written[-1] >= eot:
            written.pop()
        return written

    def _scores(self, features: Any, tokens: Sequence[int]) -> list[float]:
        with torch.inference_mode():
            heard = self._network.encode(torch.from_numpy(features))
            steps = heard.shape[4]
            self._cache.heard[:, :, :, :, :steps] = heard
            hidden = self._network.read(
                torch.tensor([tokens]), self._cache, first=0, steps=torch.tensor([steps]), longest=steps
            )
            scores: list[float] = self._network.logits(hidden[0, -1]).log_softmax(-1).tolist()
            return scores


def measure_tokens(model: str, every: int) -> tuple[list[dict[str, Value]], dict[str, Value]]:
    """Count windows where both engines write the same tokens."""
    both = Both(ModelStore().find(model), model)
    found: dict[str, list[float | None]] = {}
    for utterance in utterances(speech_folder(), every, both.engine.n_mels):
        if utterance.source.partition("@")[0] in SPEECH:
            found.setdefault(utterance.source, []).append(both.difference(utterance))
    both.engine.close()
    rows = [_row_of_differences(source, differences) for source, differences in found.items()]
    total = _row_of_differences("all", [one for differences in found.values() for one in differences])
    return [*rows, total], {}


def _row_of_differences(source: str, differences: Sequence[float | None]) -> dict[str, Value]:
    apart = [one for one in differences if one is not None]
    ties = [one for one in apart if one < TIE]
    return {
        "source": source,
        "windows": len(differences),
        "same_tokens": len(differences) - len(apart),
        "ties": len(ties),
        "other": len(apart) - len(ties),
        "widest_tie": round(max(ties), 5) if ties else None,
        "widest": round(max(apart), 3) if apart else None,
    }


# --- drafts -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """What drafts did for windows of one kind."""

    windows: int = 0
    with_draft: int = 0
    same: int = 0
    tokens: int = 0
    drafted: int = 0
    right: int = 0
    steps_without: int = 0
    steps_with: int = 0
    cpu_s_without: float = 0.0
    cpu_s_with: float = 0.0

    def row(self, calls: str, kind: str) -> dict[str, Value]:
        """As the cells of a report."""
        return {
            "calls": calls,
            "windows": f"{kind}, {self.windows}",
            "with_draft": self.with_draft,
            "same_output": self.same,
            "tokens": self.tokens,
            "drafted": self.drafted,
            "right": self.right,
            "steps_without": self.steps_without,
            "steps_with": self.steps_with,
            "steps_saved": f"{100 * (1 - self.steps_with / max(self.steps_without, 1)):.0f} %",
            "cpu_s_without": round(self.cpu_s_without, 1),
            "cpu_s_with": round(self.cpu_s_with, 1),
        }


class Twice:
    """Decodes every window token by token, and with drafts and guesses."""

    def __init__(self, plain: TorchEngine, engine: TorchEngine) -> None:
        self._plain = plain
        self._engine = engine
        self.tallies = {kind: Tally() for kind in Kind}

    def __call__(self, window: Window) -> tuple[Hypothesis, float]:
        """Decode a window; the answer is the one with drafts, after ``DECODE_S``."""
        tally = self.tallies[window.kind]
        started, plain_before, before = time.process_time(), self._plain.work, self._engine.work
        (plain,) = self._plain.decode([window])
        between = time.process_time()
        (drafted,) = self._engine.decode([window])
        tally.cpu_s_without += between - started
        tally.cpu_s_with += time.process_time() - between
        plain_after, after = self._plain.work, self._engine.work
        tally.windows += 1
        tally.with_draft += bool(window.draft)
        tally.same += plain == drafted or _alike(plain, drafted)
        tally.tokens += plain_after.tokens - plain_before.tokens
        tally.steps_without += plain_after.steps - plain_before.steps
        tally.steps_with += after.steps - before.steps
        tally.drafted += after.drafted - before.drafted
        tally.right += after.checked - before.checked
        return drafted, DECODE_S


def _alike(one: Hypothesis, other: Hypothesis) -> bool:
    """Whether the same tokens, words and times were written; probabilities may differ in their last digits."""
    words = [[(word.text, round(word.start, 2), round(word.end, 2)) for word in these.words] for these in (one, other)]
    return words[0] == words[1] and one.tokens == other.tokens


def calls() -> Iterator[tuple[str, CallAudio]]:
    """The bundled call, and the calls of the speech folder."""
    yield "bundled", bundled_call().audio
    for clip in read_clips(speech_folder()):
        if clip.path.startswith(CALLS):
            yield clip.source, read_call_audio(clip.file, telephone=True)


def measure_drafts(model: str, longest_s: float) -> tuple[list[dict[str, Value]], dict[str, Value]]:
    """Replay calls and compare."""
    folder = ModelStore().find(model)
    plain, engine = (TorchEngine(folder, model, drafts=drafts) for drafts in (False, True))
    found: dict[tuple[str, Kind], Tally] = {}
    for number, (source, audio) in enumerate(calls()):
        twice = Twice(plain, engine)
        twice.tallies = {kind: found.setdefault((source, kind), Tally()) for kind in Kind}
        settings = ChannelSettings(final_beam=1)
        labels = tuple(f"side {side}" for side in range(audio.format.channels))
        spec = CallSpec(f"call-{number}", "bench", audio.format, labels, language="en")
        frame = audio.format.encoding.sample_bytes * audio.format.channels
        replay(spec, audio.payload[: int(longest_s * audio.format.rate) * frame], SileroVad(), twice, settings)
    for one in (plain, engine):
        one.close()
    rows = [tally.row(source, kind) for (source, kind), tally in found.items()]
    windows = sum(tally.windows for tally in found.values())
    same = sum(tally.same for tally in found.values())
    partials = [tally for (_, kind), tally in found.items() if kind is Kind.PARTIAL]
    steps = sum(tally.steps_with for tally in partials) / max(sum(tally.steps_without for tally in partials), 1)
    summary: dict[str, Value] = {
        "windows whose output is the same with and without draft": f"{same} of {windows}",
        "decoder steps of partials saved": f"{100 * (1 - steps):.0f} %",
    }
    return rows, summary


# --- cost -------------------------------------------------------------------------------------------------------------


def measure_cost(model: str) -> tuple[list[dict[str, Value]], dict[str, Value]]:
    """Time partial windows of real speech, without drafts, on one thread."""
    folder = ModelStore().find(model)
    engines: dict[str, Callable[[], Engine]] = {
        "torch float32": lambda: TorchEngine(folder, model),
        "ctranslate2 float32": lambda: WhisperEngine(folder, model, compute_type="float32"),
        "ctranslate2 int8": lambda: WhisperEngine(folder, model, compute_type="int8"),
    }
    speech = [one for one in utterances(speech_folder(), 2, 80) if one.source == "librispeech_test_other"]
    stream = np.concatenate([one.features for one in speech], axis=1)
    rows: list[dict[str, Value]] = []
    for name, make in engines.items():
        engine = make()
        for seconds in (3, 6, 10):
            for size in (1, 8):
                cut = [stream[:, at : at + 100 * seconds] for at in range(0, 100 * seconds * size, 100 * seconds)]
                windows = [Window(one, Kind.PARTIAL, "en") for one in cut]
                engine.decode(windows)
                took = [_cpu_s(engine, windows) for _ in range(REPEATS)]
                cells: dict[str, Value] = {"engine": name, "seconds": seconds, "batch": size}
                rows.append(cells | {"cpu_ms_per_window": round(1000 * statistics.median(took) / size)})
        engine.close()
    return rows, {}


def _cpu_s(engine: Engine, windows: Sequence[Window]) -> float:
    started = time.process_time()
    engine.decode(windows)
    return time.process_time() - started


def main(
    *,
    model: Annotated[str, typer.Option(help="Name or folder of a model.")] = "tiny.en",
    part: Annotated[Part | None, typer.Option(help="What to measure; without it, all.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Only each n-th utterance, for tokens.")] = 1,
    longest_s: Annotated[float, typer.Option(help="Seconds of each call, for drafts.")] = 120.0,
    markdown: Annotated[Path | None, typer.Option(help="Document whose sections are renewed.")] = None,
) -> None:
    """Measure the PyTorch engine on a processor."""
    console = Console()
    parts: dict[Part, Callable[[], tuple[list[dict[str, Value]], dict[str, Value]]]] = {
        Part.TOKENS: lambda: measure_tokens(model, every),
        Part.DRAFTS: lambda: measure_drafts(model, longest_s),
        Part.COST: lambda: measure_cost(model),
    }
    for name, measure in parts.items():
        if part in (None, name):
            stretch = Stretch()
            rows, summary = measure()
            summary |= {"took": str(stretch.used())}
            found = report(f"torch-{name}-{Path(model).name}", {"model": model, "every": every}, summary, rows)
            publish(found, f"{name}, {model}", console, markdown)


if __name__ == "__main__":
    typer.run(main)
