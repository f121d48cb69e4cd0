"""Word errors, counted simply."""

from __future__ import annotations

import pytest

from trunkline.words import WordErrors, normalised, word_errors


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("Good morning.", "good morning", 0),
        ("I'm sorry, I did not understand.", "I'm sorry I did not understand", 0),
        ("one two three", "one three", 1),
        ("one two three", "one too three", 1),
        ("one two three", "one two two three", 1),
        ("one two", "", 2),
        ("", "boo", 1),
        ("a b c d", "d c b a", 4),
    ],
)
def test_errors_are_words_wrong_missing_or_too_many(said: str, heard: str, errors: int) -> None:
    """Case and punctuation are matters of taste, words are not."""
    assert word_errors(said, heard).errors == errors


def test_apostrophes_stay_inside_words_only() -> None:
    """Don't is not dont, but quotation marks are punctuation."""
    assert normalised("'Don't', she_said — TWICE") == ["don't", "she", "said", "twice"]


def test_long_texts_weigh_more_than_short_ones() -> None:
    """The rate of a call is over all its words, not the mean of its sides."""
    total = word_errors("one", "two") + word_errors("a b c d e f g h i", "a b c d e f g h i")

    assert total == WordErrors(10, 1)
    assert total.rate == pytest.approx(0.1)
    assert WordErrors().rate == 0
