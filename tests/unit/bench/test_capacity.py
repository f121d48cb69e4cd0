"""How the capacity bench spreads its calls and judges its steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.capacity import STAGGER_S, Climb, Measured, Mode, Plan, Rise, parts_of, rise, row, summary_of, verdict
from tests.bench.playing import Heard
from tests.bench.running import Usage
from tests.bench.scoring import Value, WordErrors
from tests.bench.script import Utterance
from trunkline import Final, Word
from trunkline.timing import Latencies

PLAN = Plan(Mode.SPEECH, hold_s=40.0, warm_up_s=10.0, limit_s=1.5, limit_points=1.0)
POOL = [Utterance(f"u{number}", b"\x80" * 16_000, 0.0, 2.0, f"word{number}") for number in range(10)]
GOOD: dict[str, Value] = {"failed": 0, "late_ms": 3, "wer_rise_least": 0.4}


def test_calls_of_a_step_begin_one_after_another_at_different_places() -> None:
    """Channels that speak in unison would all ask for their finals at the same moment."""
    parts = parts_of(POOL, 4, PLAN, 40.0)

    assert [part.begin_s for part in parts] == [0.0, STAGGER_S / 4, STAGGER_S / 2, 3 * STAGGER_S / 4]
    assert len({part.script.spoken[0] for part in parts}) == 4


def test_only_turns_in_the_measured_part_count() -> None:
    """All channels must be there, and the turn must be over while they are."""
    for part in parts_of(POOL, 3, PLAN, 40.0):
        assert part.script.recording.seconds + part.begin_s >= 40.0
        assert part.counted
        for turn in part.counted:
            assert turn.start_s + part.begin_s >= PLAN.warm_up_s
            assert turn.end_s + part.begin_s <= 40.0


def test_word_errors_rise_against_the_same_utterances_alone() -> None:
    """Some utterances are hard; a step that has more of them is no worse for it."""
    alone = {0: WordErrors(words=10, substituted=5), 1: WordErrors(words=10)}

    assert rise([(0, WordErrors(words=10, substituted=5))] * 3, alone) == Rise()
    assert rise([(1, WordErrors(words=10, deleted=1))], alone).points == pytest.approx(10.0)
    assert rise([(7, WordErrors(words=10, deleted=10))], alone) == Rise()


def test_a_rise_that_a_few_turns_may_show_by_chance_is_no_rise() -> None:
    """One bad turn among three says little; the same share of a hundred turns says much."""
    alone = {0: WordErrors(words=10)}
    turns = [(0, WordErrors(words=10, deleted=1)), (0, WordErrors(words=10)), (0, WordErrors(words=10))]

    few, many = rise(turns, alone), rise(turns * 40, alone)

    assert few.points == pytest.approx(many.points)
    assert few.least < 0
    assert 1 < many.least < many.points


def test_a_climb_goes_on_where_it_stopped_unless_the_code_is_another(tmp_path: Path) -> None:
    """Steps of two versions in one table would be compared by who reads it."""
    file = tmp_path / "climb.json"
    so_far = Climb([{"channels": 1, "verdict": "good"}], {3: WordErrors(words=9, deleted=1)})
    with pytest.raises(ValueError, match="without --more"):
        Climb.read(file)

    so_far.write(file)

    assert Climb.read(file) == so_far
    file.write_text(file.read_text().replace('"commit": "', '"commit": "other-'))
    with pytest.raises(ValueError, match="begin anew"):
        Climb.read(file)


@pytest.mark.parametrize(
    ("change", "p95_s", "said"),
    [
        ({}, 1.5, "good"),
        ({"failed": 1}, 0.5, "calls failed"),
        ({}, 1.501, "p95 over 1.5 s"),
        ({}, float("nan"), "p95 over 1.5 s"),
        ({"wer_rise_least": 1.0}, 0.5, "WER up 1 points"),
        ({"late_ms": 101}, 0.5, "generator late"),
    ],
)
def test_a_step_is_good_only_if_nothing_is_wrong(change: dict[str, Value], p95_s: float, said: str) -> None:
    """A step that measured nothing is no good one either."""
    assert verdict(GOOD | change, p95_s, PLAN) == said


def test_a_step_becomes_a_row() -> None:
    """Latency, words, and what it cost per second of audio."""
    (part,) = parts_of(POOL, 1, PLAN, 12.0)
    words = tuple(Word(turn.text, turn.start_s, turn.end_s, 1.0) for turn in part.script.turns)
    final = Final(0, "", 0, 0.0, 12.0, "", words, 1.0, "en", "tiny.en", "endpoint", 12.0, 0.4)
    heard = Heard(finals=[final])
    heard.partials[0, 0] = [1.0, 2.0, 3.0]
    before, after = Usage(0.0, 0.0, 0.0, 0.0, 0.0, 90.0, 200.0), Usage(10.0, 1.0, 2.0, 0.5, 3.5, 100.0, 210.0)
    measured = Measured(1, (part,), (heard,), Latencies((0.8,), (0.5, 0.7), 2), before, after)

    cells = row(measured, dict.fromkeys(range(10), WordErrors(words=1)), PLAN)

    assert (cells["channels"], cells["final_p50_ms"], cells["first_p95_ms"]) == (1, 600, 800)
    assert (cells["wer"], cells["wer_rise"], cells["partials_every_s"]) == (0.0, 0.0, 1.0)
    assert (cells["server_cpu_s_per_audio_s"], cells["devices_cpu_s_per_audio_s"]) == (0.1, 0.2)
    assert cells["verdict"] == "good"


def test_the_last_good_number_counts_and_noise_is_told() -> None:
    """A number measured beside other work is doubtful, and says so."""
    rows: list[dict[str, Value]] = [
        {"channels": 8, "verdict": "good", "others_cores": 0.0},
        {"channels": 10, "verdict": "p95 over 1.5 s", "others_cores": 0.9},
    ]

    summary = summary_of(rows, "somewhere", PLAN)

    assert summary["last good number of channels"] == 8
    assert summary["what ended the climb"] == "p95 over 1.5 s"
    assert "doubtful" in summary
