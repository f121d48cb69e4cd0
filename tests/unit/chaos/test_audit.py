"""The audit of a disturbed call: it must see whatever could go wrong, or its zeros say nothing."""

from __future__ import annotations

from tests.chaos.audit import Verdict, judge
from trunkline import Final
from trunkline.messages import Word


def final(number: int, text: str) -> Final:
    return Final(
        channel=0,
        label="",
        number=number,
        start=0.0,
        end=1.0,
        text=text,
        words=tuple(Word(word, 0.0, 1.0, 1.0) for word in text.split()),
        confidence=1.0,
        language="en",
        model="scripted",
        reason="endpoint",
        speech_end=1.0,
        latency_s=0.1,
    )


def test_a_call_that_came_whole_is_good() -> None:
    assert judge(["a", "b", "c"], [final(0, "a b"), final(1, "c")]).good


def test_a_word_that_is_missing_is_lost() -> None:
    assert judge(["a", "b", "c"], [final(0, "a"), final(1, "c")]) == Verdict(lost=1)


def test_a_call_that_said_nothing_lost_everything() -> None:
    assert judge(["a", "b", "c"], []) == Verdict(lost=3)


def test_a_word_that_is_there_twice_is_repeated() -> None:
    assert judge(["a", "b"], [final(0, "a b"), final(1, "b")]) == Verdict(repeated=1)


def test_a_final_that_comes_again_is_repeated() -> None:
    assert judge(["a", "b"], [final(0, "a"), final(1, "b"), final(0, "a")]) == Verdict(repeated=1)


def test_a_final_that_comes_again_with_another_text_is_changed() -> None:
    assert judge(["a"], [final(0, "a"), final(0, "b")]) == Verdict(changed=1)


def test_a_number_that_is_skipped_is_a_change() -> None:
    """It counts from 0 without gaps: that is how callers know that they have everything."""
    assert judge(["a", "b"], [final(0, "a"), final(2, "b")]) == Verdict(changed=1)
