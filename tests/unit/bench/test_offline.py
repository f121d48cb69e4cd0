"""The offline baseline, with a model that writes down how much it was given."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from streaming.decoding import Float32Array
from tests.bench.corpus import Clip, Passage
from tests.bench.offline import Transcripts, rows_of, samples_of, score
from tests.bench.scoring import WordErrors
from tests.support.samples import bundled_call, bundled_clips


@dataclass
class Counter:
    """A model that writes the length of the audio and remembers how it was asked."""

    filtered: list[bool] = field(default_factory=list[bool])

    def __call__(self, audio: Float32Array, *, vad_filter: bool) -> str:
        self.filtered.append(vad_filter)
        return str(round(audio.size / 16_000))


def passage(file: Path, *, channel: int = 0, channels: int = 1, text: str = "x", in_turns: bool = False) -> Passage:
    """A passage of one file."""
    clip = Clip(f"{file.parent.name}/{file.name}", file, 1.0, 8_000, channels, "en", text, "CC0")
    return Passage(clip, channel, text, in_turns)


def test_only_what_is_missing_is_decoded(tmp_path: Path) -> None:
    """An hour of decoding survives being stopped."""
    clips = bundled_clips()
    first, second = passage(clips["later_8k"].file), passage(clips["stay_8k"].file)
    file = tmp_path / "build" / "offline.json"
    before, after = Counter(), Counter()

    assert list(Transcripts(file).complete([first], before)) == [first]
    again = Transcripts(file)
    assert list(again.complete([first, second], after)) == [first, second]

    assert (len(before.filtered), len(after.filtered)) == (1, 1)
    assert again.texts == {first.key: "2", second.key: "8"} == json.loads(file.read_text())


def test_voice_activity_filters_calls_only(tmp_path: Path) -> None:
    """Half of a call's side is silence; a clip is cut to its speech and would only lose words."""
    call = bundled_call()
    model = Counter()
    sides = [passage(call.file, channel=side, channels=2, in_turns=True) for side in range(2)]

    clip = passage(bundled_clips()["later_8k"].file)
    list(Transcripts(tmp_path / "offline.json").complete([*sides, clip], model))

    assert model.filtered == [True, True, False]


def test_each_side_is_decoded_alone() -> None:
    """While one side speaks the other is quiet, and the model is given that side's quiet."""
    call = bundled_call()
    turn = max(call.turns, key=lambda turn: turn.end_s - turn.start_s)
    spoken = slice(round((turn.start_s + 1) * 16_000), round((turn.end_s - 1) * 16_000))

    speaking, listening = (
        samples_of(passage(call.file, channel=side, channels=2))[spoken].std()
        for side in (turn.channel, 1 - turn.channel)
    )

    assert speaking > 20 * listening


def test_errors_are_added_up_by_source_and_each_call_by_itself() -> None:
    """Calls are the product; they get a line each and one together."""
    prompt = passage(Path("prompts/a.wav"), text="please hold")
    customer = passage(Path("derived/call_dev_1.wav"), text="hello there", in_turns=True)
    agent = passage(Path("derived/call_dev_1.wav"), channel=1, text="good day", in_turns=True)

    scores = score([prompt, customer, agent], {prompt.key: "please", customer.key: "hello there", agent.key: "good"})

    assert scores == {"prompts": WordErrors(2, deleted=1), "call_dev_1": WordErrors(4, deleted=1)}
    assert [(row["group"], row["wer_pct"]) for row in rows_of(scores)] == [
        ("prompts", 50.0),
        ("call_dev_1", 25.0),
        ("all calls", 25.0),
    ]
