"""Rungs of quality and the ladder that is made where none is set."""

from __future__ import annotations

import pytest

from streaming.ladder import Ladder, Rung, stretched

BEST = Rung("base", "base", cadence_s=0.5, beam=5, lead_s=5.0, longest_s=12.0)


def test_a_ladder_without_rungs_or_with_a_step_that_changes_nothing_is_refused() -> None:
    """A step down that saves nothing would cost a second of overload."""
    with pytest.raises(ValueError, match="needs a rung"):
        Ladder(())
    with pytest.raises(ValueError, match="the same"):
        Ladder((BEST, BEST))


def test_a_ladder_names_every_model_once_the_best_first() -> None:
    """Devices load them in this order."""
    ladder = Ladder((Rung("base", "turbo"), Rung("base", "base"), Rung("tiny", "base")))

    assert ladder.models == ("turbo", "base", "tiny")


def test_with_one_model_partials_and_care_give_and_its_finals_stay() -> None:
    """There is nothing smaller to write them with."""
    ladder = stretched(BEST)

    assert [rung.cadence_s for rung in ladder] == [0.5, 0.75, 1.0, 1.0, 1.5, 2.0]
    assert [rung.beam for rung in ladder] == [5, 5, 5, 1, 1, 1]
    assert [rung.lead_s for rung in ladder] == [5.0, 5.0, 5.0, 0, 0, 0]
    assert [rung.speculate for rung in ladder] == [True, True, True, True, False, False]
    assert {rung.longest_s for rung in ladder} == {12.0}
    assert ladder.models == ("base",)
    assert len(ladder) == 6


def test_with_two_models_the_smaller_one_writes_finals_last_of_all() -> None:
    """Finals are what callers keep."""
    ladder = stretched(Rung("tiny", "base", beam=5))

    assert [rung.final_model for rung in ladder] == ["base"] * 6 + ["tiny"]
    assert ladder[6].cadence_s == ladder[5].cadence_s


def test_a_ladder_whose_finals_are_greedy_already_has_no_rung_to_make_them_so() -> None:
    """A step down that changes nothing would cost a second of overload."""
    ladder = stretched(Rung("base", "base"))

    assert [rung.cadence_s for rung in ladder] == [1.0, 1.5, 2.0, 3.0, 4.0]
