"""What a row guesses comes next: its draft, wherever it can be taken up again, and what it says over and over."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.models import need_torch

need_torch()

from gpu.torch_engine.rows import PAYS, WIDEST, Row  # noqa: E402  torch is there
from gpu.torch_engine.untyped import torch  # noqa: E402  the same

EOT, T0 = 50256, 50363
NOTHING_HEARD = torch.zeros((1, 2, 1, 150, 1))
DRAFT = (T0, *range(100, 110))


def row(*, draft: Sequence[int] = DRAFT, written: Sequence[int] = (), right: int = 0, most: int = 60) -> Row:
    """A row whose draft was right so far, and that wrote on from there."""
    made = Row(NOTHING_HEARD, (), (50257,), tuple(draft), most, 3.0, align=False)
    made.judge(len(draft), right)
    for token in written:
        assert not made.write(token, -0.1, eot=EOT, timestamp_begin=T0)
    return made


@pytest.mark.parametrize(
    ("written", "guessed"),
    [
        ((T0, 100, 77, 101), DRAFT[3:]),  # a comma that the draft had not
        ((T0, 100, 102), DRAFT[4:]),  # a word that it had too much
    ],
)
def test_a_draft_goes_on_behind_what_it_had_wrong(written: tuple[int, ...], guessed: tuple[int, ...]) -> None:
    """Most differences between two hypotheses are a mark or a short word, and all behind them is the same."""
    assert row(written=written, right=2).guess() == guessed


def test_a_draft_goes_on_behind_a_word_it_had_wrong() -> None:
    """The first token behind the difference has to be written before it is known."""
    other = row(written=(T0, 100, 77), right=2)

    assert other.guess() == ()
    other.write(102, -0.1, eot=EOT, timestamp_begin=T0)

    assert other.guess() == DRAFT[4:]


def test_a_draft_of_something_else_is_not_guessed() -> None:
    lost = row(written=(T0, 1, 2, 3, 4, 5), right=1)

    assert lost.guess() == ()


def test_what_is_said_again_is_guessed_to_go_on() -> None:
    """A model that has lost its place repeats itself to the end of what it may write."""
    looping = row(draft=(), written=(T0, 1, 2, 3, 1, 2))

    assert looping.guess() == (3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3)[:WIDEST]


def test_a_loop_that_was_none_is_left_alone_for_a_while() -> None:
    """Each check costs more than a step; people say things twice, too."""
    twice = row(draft=(), written=(T0, 1, 2, 3, 1, 2))
    twice.guess()
    twice.judge(WIDEST, 0)

    assert twice.guess() == ()


def test_a_guess_is_never_longer_than_what_may_be_written() -> None:
    nearly = row(draft=(), written=(T0, 1, 2, 3, 1, 2), most=10)

    assert len(nearly.guess()) == 3
    assert len(row(written=(T0, 100, 77, 101), right=2, most=4 + PAYS - 1).guess()) < PAYS


def test_a_row_that_is_to_write_token_by_token_guesses_nothing() -> None:
    plain = row(written=(T0, 100, 77, 101), right=2)
    plain.guesses = False

    assert plain.guess() == ()
