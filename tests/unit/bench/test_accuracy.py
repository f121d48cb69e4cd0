"""How the accuracy bench counts, with the samples of the repository and nothing that decodes."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from tests.bench.accuracy import (
    QUICK_SOUND_S,
    SILENCE_S,
    Item,
    Outcome,
    Part,
    Run,
    bundled_items,
    outcome_of,
    rows_of,
    shortened,
    summary_of,
    texts_of,
)
from tests.bench.corpus import Clip, Passage
from tests.bench.playing import Heard
from trunkline import Final
from trunkline.timing import Latencies


def clip(path: str, text: str, seconds: float = 9.0) -> Clip:
    return Clip(path, Path(path), seconds, 8_000, 1, "en" if text else None, text, "CC0")


def speech(path: str, text: str) -> Item:
    made = clip(path, text)
    return Item(Part.CLIPS, made, (Passage(made, 0, text, in_turns=False),))


def sound(path: str, seconds: float = 9.0) -> Item:
    return Item(Part.SOUNDS, clip(path, "", seconds), ())


def outcome(item: Item, text: str, latencies: Latencies | None = None, failure: str = "") -> Outcome:
    final = Final(0, "side", 0, 0.0, 1.0, text, (), 1.0, "en", "tiny.en", "endpoint", 1.0, 0.4)
    return outcome_of(item, Heard(finals=[final] if text else [], failure=failure), latencies or Latencies())


def test_streaming_is_compared_with_offline_on_the_same_words() -> None:
    """The difference is what this project answers for; the model answers for the rest."""
    items = [speech("read/a.wav", "red green blue black"), speech("read/b.wav", "cat dog cow horse")]
    heard = [outcome(items[0], "red green blue black"), outcome(items[1], "cat fog cow")]
    offline = {"read/a.wav#0": "red green blue black", "read/b.wav#0": "cat dog cow house"}

    rows = {row["group"]: row for row in rows_of(heard, offline)}

    assert set(rows) == {"read", "all speech"}
    assert (rows["read"]["offline_wer"], rows["read"]["streaming_wer"]) == (12.5, 25.0)
    assert rows["read"]["difference"] == 12.5
    assert rows["read"]["ins/del/sub"] == "0/1/1"
    assert summary_of(heard, offline)["all speech, points over offline (target <= 0.5)"] == 12.5


def test_words_in_music_are_invented_and_counted_per_hour() -> None:
    """Nobody speaks there, so there is no rate of errors, only a number."""
    heard = [outcome(sound("music/a.wav"), "thank you"), outcome(sound("music/b.wav"), "")]

    rows = {row["group"]: row for row in rows_of(heard, {})}
    summary = summary_of(heard, {})

    assert (rows["music"]["invented"], rows["music"]["streaming_wer"]) == (2, None)
    assert summary["words invented where nobody speaks (target 0)"] == 2
    assert summary["words invented per hour"] == pytest.approx(2 / (2 * (9 + SILENCE_S)) * 3600)


def test_calls_that_fail_and_turns_without_a_final_show_in_their_row() -> None:
    """A bench that hid them would praise a server that answers nobody."""
    item = speech("read/a.wav", "one two")
    (row, _) = rows_of([outcome(item, "", Latencies((), (), 1, 1, 1), "overloaded")], {"read/a.wav#0": "one two"})

    assert (row["failed"], row["unfinished"], row["final_p50_ms"]) == (1, "1/1", None)
    assert row["streaming_wer"] == 100.0


def test_a_quick_run_takes_a_part_of_every_group() -> None:
    """So that nothing is left unlooked at, in a few minutes."""
    items = [speech(f"read/{number}.wav", "one") for number in range(13)]
    items += [sound(f"music/{number}.wav", 600.0) for number in range(2)]

    chosen = shortened(items)

    assert [item.group for item in chosen] == ["read", "read", "read", "music"]
    assert chosen[-1].length_s == QUICK_SOUND_S + SILENCE_S


def test_the_samples_of_the_repository_give_a_call_speech_and_sounds() -> None:
    """They stand in where the speech folder is missing."""
    items = bundled_items()

    assert {item.part for item in items} == {Part.CALLS, Part.CLIPS, Part.SOUNDS}
    assert {item.group for item in items} == {"calls", "bundled", "bundled sounds"}
    (call,) = (item for item in items if item.part is Part.CALLS)
    recording, turns = call.prepare()
    assert (recording.audio.channels, recording.audio.encoding) == (2, "mulaw")
    assert recording.seconds == pytest.approx(call.length_s, abs=0.01)
    assert len(turns) == len(call.turns)
    assert all(
        0 < turn.end_s - turn.start_s <= known.end_s - known.start_s
        for turn, known in zip(turns, call.turns, strict=True)
    )


def test_a_clip_is_one_turn_without_the_silence_after_it() -> None:
    """Its last final counts from where the speaker stopped."""
    item = next(item for item in bundled_items() if item.part is Part.CLIPS)

    recording, (turn,) = item.prepare()

    assert 0 <= turn.start_s < turn.end_s <= recording.seconds - SILENCE_S + 0.02


def test_a_noisy_clips_turn_is_where_somebody_speaks(tmp_path: Path) -> None:
    """Digital silence put behind a clip is so quiet that the clip's own noise would pass for speech."""
    noise = np.random.default_rng(7).uniform(-1, 1, 3 * 16_000)
    noise[:16_000] *= 0.01
    noise[16_000:32_000] *= 0.2
    noise[32_000:] *= 0.01
    file = tmp_path / "noisy.wav"
    with wave.open(str(file), "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        out.writeframes((noise * 32_767).astype("<i2").tobytes())
    made = Clip("read/noisy.wav", file, 3.0, 16_000, 1, "en", "", "CC0")
    item = Item(Part.CLIPS, made, (Passage(made, 0, "", in_turns=False),))

    _, (turn,) = item.prepare()

    assert (turn.start_s, turn.end_s) == pytest.approx((1.0, 2.0))


def test_texts_are_listed_with_the_worst_first() -> None:
    """Who looks for errors wants those that streaming added."""
    items = [speech("read/a.wav", "red green"), speech("read/b.wav", "cat dog")]
    heard = [outcome(items[0], "red green"), outcome(items[1], "bat fog"), outcome(sound("music/a.wav"), "hum")]
    offline = {"read/a.wav#0": "red grain", "read/b.wav#0": "cat dog"}

    texts = texts_of(heard, offline)

    assert [(each["key"], each["more_errors"]) for each in texts] == [
        ("read/b.wav#0", 2),
        ("music/a.wav", 1),
        ("read/a.wav#0", -1),
    ]


def test_a_run_goes_on_with_what_an_earlier_one_measured(tmp_path: Path) -> None:
    """A machine is seldom quiet for long; what is played again counts once, what other code did not at all."""
    file = tmp_path / "run.json"
    items = [speech("read/a.wav", "red green"), speech("read/b.wav", "cat dog")]
    first = outcome(items[0], "red green", Latencies((0.8,), (0.4, 0.5), 1), "overloaded")
    with pytest.raises(ValueError, match="without --more"):
        Run.read(file, items)
    run = Run([], {})
    run.add([first, outcome(items[1], "cat")], {"server_cores": 0.2})

    run.write(file)
    again = Run.read(file, items)
    assert again == run

    again.add([outcome(items[1], "cat dog")], {"server_cores": 0.1})
    assert again.outcomes == [first, outcome(items[1], "cat dog")]
    assert again.used == {"server_cores": 0.2}
    file.write_text(file.read_text().replace('"commit": "', '"commit": "other-'))
    with pytest.raises(ValueError, match="begin anew"):
        Run.read(file, items)
