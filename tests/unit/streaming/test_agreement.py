"""A stable prefix from successive hypotheses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streaming.agreement import Agreement, normalise
from streaming.decoding import Word


def said(text: str) -> list[Word]:
    return [Word(word, float(at), at + 0.9, 0.8) for at, word in enumerate(text.split())]


def shown(agreement: Agreement, text: str) -> str:
    return " ".join(word.text for word in agreement.update(said(text)))


def test_nothing_is_stable_after_one_hypothesis() -> None:
    """The first guess at half a word is often wrong."""
    agreement = Agreement()

    assert shown(agreement, "one two") == "one two"
    assert agreement.stable == 0


def test_what_two_hypotheses_in_a_row_agree_on_is_stable() -> None:
    agreement = Agreement()
    shown(agreement, "one two free")

    assert shown(agreement, "one two three four") == "one two three four"
    assert agreement.stable == 2


def test_a_comma_or_a_capital_does_not_hold_a_word_back_and_does_not_change_it_later() -> None:
    """Punctuation comes and goes with every decode; what people saw as stable stays as it was."""
    agreement = Agreement()
    shown(agreement, "well yes")
    shown(agreement, "Well, yes I")
    assert agreement.stable == 2

    assert shown(agreement, "well yes. I do") == "Well, yes I do"
    assert agreement.stable == 3


def test_a_hypothesis_that_contradicts_stable_words_does_not_say_the_tail_twice() -> None:
    """A model changes its mind about the beginning: the stable words stay, the rest goes on behind them."""
    agreement = Agreement()
    shown(agreement, "i want to pay")
    shown(agreement, "i want to pay my")
    assert agreement.stable == 4

    assert shown(agreement, "i wanted to pay my bill") == "i want to pay my bill"
    assert shown(agreement, "i want pay my bill now") == "i want to pay my bill now"
    assert shown(agreement, "well i want to pay my bill now please") == "i want to pay my bill now please"


def test_an_empty_hypothesis_takes_nothing_stable_away() -> None:
    agreement = Agreement()
    shown(agreement, "one two")
    shown(agreement, "one two")

    assert shown(agreement, "") == "one two"
    assert agreement.stable == 2


def test_normalised_words_keep_letters_and_digits_of_any_script() -> None:
    assert [normalise(word) for word in ("Don't,", "ÉTÉ", "3.5", "...", "ja!")] == ["dont", "été", "35", "", "ja"]


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "A,", "b.", "d"]), max_size=8), max_size=12))
def test_stable_words_never_change_and_never_get_fewer(hypotheses: list[list[str]]) -> None:
    """The promise of every partial, whatever the model says."""
    agreement = Agreement()
    stable: tuple[Word, ...] = ()
    for words in hypotheses:
        text = agreement.update(said(" ".join(words)))
        assert text[: len(stable)] == stable
        assert agreement.stable >= len(stable)
        stable = text[: agreement.stable]
