"""How benches count word errors and times."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench.scoring import (
    WordErrors,
    channel_errors,
    machine,
    normalise,
    percentiles,
    show_table,
    total,
    word_errors,
    write_report,
)


@pytest.mark.parametrize(
    ("reference", "hypothesis"),
    [
        ("Press five, to leave a message.", "press 5 to leave a message"),
        ("August sixteenth, nineteen sixty-five", "August 16th, 1965"),
        ("It's all right", "it is all right"),
        ("d a v i d", "D-A-V-I-D."),
    ],
)
def test_writing_alone_is_no_error(reference: str, hypothesis: str) -> None:
    """Digits, case and punctuation are style; only words are judged."""
    assert normalise(reference) == normalise(hypothesis)
    assert word_errors(reference, hypothesis).errors == 0


def test_each_kind_of_error_is_counted_by_itself() -> None:
    """Text said twice is an insertion, and the usual sign of a window cut too short: it must not hide in a sum."""
    errors = word_errors("please hold while we try to connect you", "please fold we try to connect you you you")

    assert errors == WordErrors(words=8, substituted=1, inserted=2, deleted=1)
    assert errors.rate == 4 / 8


def test_words_heard_in_silence_are_inserted() -> None:
    """Music has an empty reference, and every word there is invented."""
    errors = word_errors("", "Thank you for watching.")

    assert errors == WordErrors(words=0, inserted=4)
    assert errors.rate == 4.0


def test_silence_heard_as_silence_is_no_error() -> None:
    """Nothing said and nothing heard is right."""
    assert word_errors("", " ") == WordErrors()
    assert WordErrors().rate == 0.0


def test_words_lost_are_deleted() -> None:
    """An empty transcript has lost every word."""
    assert word_errors("they have been carried away", "") == WordErrors(words=5, deleted=5)


def test_a_total_weighs_by_words() -> None:
    """One wrong word in a short prompt is not as bad as everything wrong in a long call."""
    assert total([WordErrors(10, substituted=1), WordErrors(90)]).rate == 0.01
    assert total([]) == WordErrors()


def test_words_on_the_wrong_side_count_on_both() -> None:
    """Who said it matters in a call."""
    customer, agent = channel_errors(["I have none", "please try later"], ["", "I have none please try later"])

    assert customer == WordErrors(words=3, deleted=3)
    assert agent == WordErrors(words=3, inserted=3)


def test_a_missing_side_is_refused() -> None:
    """A bench that lost a side must not look better for it."""
    with pytest.raises(ValueError, match="shorter"):
        channel_errors(["hello", "goodbye"], ["hello"])


def test_percentiles_lie_on_the_line_between_two_values() -> None:
    """The same definition as numpy's and everybody's, so numbers compare."""
    found = percentiles(range(101))

    assert (found.count, found.p50, found.p90, found.p95, found.p99, found.most) == (101, 50, 90, 95, 99, 100)
    assert percentiles([1.0, 2.0]).p50 == 1.5


def test_percentiles_of_nothing_are_not_numbers() -> None:
    """No measurement must never read as zero latency."""
    found = percentiles([])

    assert found.count == 0
    assert math.isnan(found.p95)


def test_a_report_says_on_which_machine(tmp_path: Path) -> None:
    """A number without its machine means nothing."""
    file = tmp_path / "build" / "report.json"

    write_report(file, "latency", [{"channels": 4, **percentiles([0.2]).row("s")}], {"model": "tiny.en"})

    report = json.loads(file.read_text())
    assert report["bench"] == "latency"
    assert report["settings"] == {"model": "tiny.en"}
    assert report["rows"][0]["p95_s"] == 0.2
    assert report["machine"].keys() == machine().keys() >= {"date", "commit", "cpu", "cores", "memory_gib", "gpu"}


def test_a_table_has_the_names_and_the_cells() -> None:
    """What a person sees holds what the report holds; what is not known is a dash."""
    screen = Console(file=io.StringIO(), width=100)

    show_table("offline", [{"group": "prompts", **WordErrors(100, 5, 2, 1).row(), "gpu": None}], screen)

    assert isinstance(screen.file, io.StringIO)
    shown = screen.file.getvalue()
    assert all(text in shown for text in ("offline", "group", "prompts", "wer_pct", "8.0", "-"))
