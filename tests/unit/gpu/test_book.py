"""What windows cost, as far as it shows from outside the devices."""

from __future__ import annotations

import pytest

from gpu.book import UNKNOWN_S, CostBook
from gpu.cost import Cost
from gpu.spec import DeviceSpec


def spec(*profile: Cost, streams: int = 2, max_batch: int = 4) -> DeviceSpec:
    return DeviceSpec(name="cpu", models=("a", "b"), streams=streams, max_batch=max_batch, profile=profile)


def test_before_anything_is_known_windows_are_taken_to_be_dear() -> None:
    assert CostBook([spec()]).window_s("a", 1) == UNKNOWN_S


def test_a_window_costs_its_share_of_a_full_batch_on_all_streams() -> None:
    book = CostBook([spec()])
    for size in (1, 2, 3):
        book.observe("a", 1, size, 0.1 + 0.05 * size, 0.0)

    assert book.window_s("a", 1) == pytest.approx((0.1 + 0.05 * 4) / 4 / 2)


def test_batches_that_would_keep_finals_waiting_do_not_count_as_capacity() -> None:
    book = CostBook([spec(max_batch=64, streams=1)])
    for size in (1, 2, 3):
        book.observe("a", 1, size, 0.1 + 0.3 * size, 0.0)

    assert book.window_s("a", 1) == pytest.approx((0.1 + 0.3 * 3) / 3)


def test_a_model_that_never_ran_costs_what_the_dearest_does() -> None:
    book = CostBook([spec()])
    book.observe("a", 1, 1, 1.0, 0.0)

    assert book.window_s("b", 1) == book.window_s("a", 1)


def test_a_profile_is_known_from_the_start() -> None:
    book = CostBook([spec(Cost("a", "300+0", 0.1, 0.05), Cost("a", "600+0", 0.3, 0.15))])

    assert book.window_s("a", 1) == pytest.approx((0.2 + 0.1 * 4) / 4 / 2)
