"""The cost model: what it learns, how careful it is, when it distrusts itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu.cost import DRIFT_S, RIGHT_AGAIN, Cost, CostModel, Feeler, Line
from gpu.engine import Bucket

SMALL = ("tiny", 300)
LARGE = ("tiny", 600)


def taught(line: Line, sizes: range = range(1, 9)) -> CostModel:
    costs = CostModel()
    for size in sizes:
        costs.observe(SMALL, size, line.at(size), now=0.0)
    return costs


def test_a_device_nobody_knows_is_given_a_sane_guess() -> None:
    """The first batch is formed before anything was measured."""
    costs = CostModel()

    assert 0 < costs.predict(SMALL, 1) < costs.predict(SMALL, 8) < 1
    assert costs.margin(SMALL) == 0


def test_batches_of_different_sizes_reveal_the_line() -> None:
    """Least squares on exact data gives the line back."""
    costs = taught(Line(0.15, 0.06))

    assert costs.line(SMALL).fixed_s == pytest.approx(0.15)
    assert costs.line(SMALL).each_s == pytest.approx(0.06)
    assert costs.margin(SMALL) == pytest.approx(0, abs=1e-9)


def test_batches_of_one_size_scale_the_guess() -> None:
    """A device that only ever saw single windows still expects more of them to take longer."""
    costs = CostModel()
    for _ in range(5):
        costs.observe(SMALL, 1, 0.8, now=0.0)

    assert costs.predict(SMALL, 1) == pytest.approx(0.8)
    assert costs.predict(SMALL, 8) == pytest.approx(0.8 * CostModel().predict(SMALL, 8) / CostModel().predict(SMALL, 1))


def test_time_never_falls_with_size() -> None:
    """Noise can make a larger batch look faster; acting on it would fill batches without limit for the wrong reason."""
    costs = CostModel()
    costs.observe(SMALL, 1, 0.5, now=0.0)
    costs.observe(SMALL, 3, 0.3, now=0.0)

    assert costs.line(SMALL) == Line(0.4, 0.0)
    assert costs.largest_within(SMALL, 1.0) is None
    assert costs.full_enough(SMALL) is None


def test_a_batch_of_nothing_costs_nothing_at_least() -> None:
    """A negative fixed part would promise single windows for free."""
    costs = CostModel()
    costs.observe(SMALL, 1, 0.1, now=0.0)
    costs.observe(SMALL, 3, 0.9, now=0.0)

    assert costs.line(SMALL) == Line(0.0, 0.25)
    assert costs.full_enough(SMALL) == 1


def test_an_unknown_bucket_is_as_slow_as_the_slowest_known_one_of_its_model() -> None:
    """Better too careful with the first batch than late."""
    costs = taught(Line(0.5, 0.1))

    assert costs.predict(LARGE, 4) == pytest.approx(0.9)
    assert costs.predict(("base", 300), 4) == CostModel().predict(SMALL, 4)


def test_a_profile_stands_in_until_there_is_data() -> None:
    """What a bench measured on this kind of device is better than a guess."""
    costs = CostModel([Cost("tiny", "300", 1.0, 0.5)])

    assert costs.predict(SMALL, 2) == 2.0
    assert costs.predict(LARGE, 2) < 1.0


def test_a_warm_up_stands_in_too_and_says_nothing_of_drift() -> None:
    """It is a moment's look beside whatever else the machine was doing; a bench's profile is more than that."""
    costs = CostModel([Cost("tiny", "300", 1.0, 0.5)], [Cost("tiny", "300", 9.0, 9.0), Cost("tiny", "600", 2.0, 1.0)])

    assert costs.predict(SMALL, 2) == 2.0
    assert costs.predict(LARGE, 2) == 4.0
    assert costs.predict(("tiny", 900), 2) == 27.0  # the slowest of the model
    for second in range(60):
        costs.observe(LARGE, 2, 3.9, float(second))
    assert not costs.drifting


def test_a_bucket_says_its_length_and_beam() -> None:
    """As ``gpu.engine.Bucket`` is spelt."""
    spelt = [Cost("tiny", str(bucket), 0.0, 0.0) for bucket in (Bucket(300), Bucket(600, 16), Bucket(800, 0, 5))]

    assert [(cost.frames, cost.beam) for cost in spelt] == [(300, 1), (600, 1), (800, 5)]


def test_the_margin_covers_all_but_the_worst_twentieth() -> None:
    """Deadlines are kept by the slow batches too, but not by the one that waited for a page fault."""
    costs = CostModel()
    for number in range(40):
        costs.observe(SMALL, 2, 3.0 if number == 20 else 0.2 if number % 2 else 0.3, now=0.0)

    assert 0 <= costs.margin(SMALL) < 0.3
    assert costs.predict(SMALL, 2) + costs.margin(SMALL) >= 0.3


def test_only_the_last_fifty_batches_count() -> None:
    """A device that became slow is slow now."""
    costs = taught(Line(0.1, 0.1))
    for size in [1, 2] * 25:
        costs.observe(SMALL, size, Line(1.0, 0.2).at(size), now=0.0)

    assert costs.predict(SMALL, 10) == pytest.approx(3.0)


@given(st.floats(0, 2), st.floats(0.001, 1), st.floats(0, 10))
def test_the_largest_batch_is_the_last_that_fits(fixed_s: float, each_s: float, left_s: float) -> None:
    """Neither late by one window nor smaller than need be."""
    costs = CostModel([Cost("tiny", "300", fixed_s, each_s)])
    size = costs.largest_within(SMALL, left_s)

    assert size is not None
    assert size == 0 or costs.predict(SMALL, size) <= left_s + 1e-6
    assert costs.predict(SMALL, size + 1) > left_s - 1e-6


def test_a_batch_is_full_enough_when_its_fixed_part_hardly_counts() -> None:
    """Past three quarters of real work, more company is mostly more delay."""
    assert taught(Line(0.15, 0.05)).full_enough(SMALL) == 9


def test_drift_is_thirty_seconds_of_wrong_predictions() -> None:
    """One slow batch is an accident; half a minute of them is a device that is too hot."""
    costs = CostModel([Cost("tiny", "300", 0.1, 0.1)])
    costs.observe(SMALL, 1, 0.4, now=0.0)
    assert not costs.drifting
    costs.observe(SMALL, 1, 0.4, now=DRIFT_S - 1)
    assert not costs.drifting
    costs.observe(SMALL, 1, 0.4, now=DRIFT_S)
    assert costs.drifting


def test_one_right_prediction_ends_the_drift() -> None:
    """The flag says what is so now."""
    costs = CostModel([Cost("tiny", "300", 0.1, 0.1)])
    costs.observe(SMALL, 1, 0.4, now=0.0)
    costs.observe(SMALL, 1, 0.4, now=DRIFT_S)
    costs.observe(SMALL, 1, 0.2, now=DRIFT_S + 1)

    assert not costs.drifting


def test_a_device_that_became_slower_is_predicted_well_again_at_once() -> None:
    """It drifts from its profile, but what it costs now is known."""
    costs = CostModel([Cost("tiny", "300", 0.1, 0.1)])
    for second in range(60):
        costs.observe(SMALL, 1 + second % 4, 3 * (0.1 + 0.1 * (1 + second % 4)), now=float(second))

    assert costs.drifting
    assert costs.trusted


def erratic(costs: CostModel, seconds: int, start: int = 0) -> None:
    for second in range(start, start + seconds):
        costs.observe(SMALL, 2, 0.05 if second % 2 else 1.0, now=float(second))


def test_half_a_minute_of_wrong_predictions_means_that_they_are_not_followed() -> None:
    """Batches take now this long and now that: somebody else uses the device, and the line through them is no help."""
    costs = CostModel([Cost("tiny", "300", 0.1, 0.1)])
    erratic(costs, int(DRIFT_S))
    assert costs.trusted
    erratic(costs, 2, start=int(DRIFT_S))

    assert not costs.trusted


def test_predictions_are_followed_again_after_many_that_were_right() -> None:
    """One may be right by chance."""
    costs = CostModel([Cost("tiny", "300", 0.1, 0.1)])
    erratic(costs, int(DRIFT_S) + 2)
    for number in range(RIGHT_AGAIN):
        assert not costs.trusted
        costs.observe(SMALL, 2, costs.predict(SMALL, 2), now=60.0 + number)

    assert costs.trusted


def test_a_guess_that_was_wrong_is_not_the_devices_fault() -> None:
    """Nothing was known about that model."""
    costs = CostModel()
    for number in range(100):
        costs.observe(("tiny", number), 2, 5.0, now=float(number))

    assert costs.trusted


def test_the_size_of_batches_is_felt_for() -> None:
    """One more window after each quick batch, clearly less after one that was too slow; never none, never too many."""
    feeler = Feeler(8)
    assert feeler.size == 8
    sizes = [feeler.size]
    for quick in (False, False, True, True, False, *([True] * 9)):
        feeler.finished(feeler.size, quick=quick)
        sizes.append(feeler.size)
    assert sizes == [8, 5, 3, 4, 5, 3, 4, 5, 6, 7, 8, 8, 8, 8, 8]
    for _ in range(20):
        feeler.finished(feeler.size, quick=False)
    assert feeler.size == 1


def test_a_small_batch_that_was_quick_says_nothing_of_larger_ones() -> None:
    """There was nothing more to take; the size that is known to work stays."""
    feeler = Feeler(8)
    feeler.finished(1, quick=True)

    assert feeler.size == 8
