"""What windows cost, as far as it shows from outside the devices."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpu.book import STALE_S, UNKNOWN_S, CostBook
from gpu.cost import HISTORY, Cost, Timing
from gpu.spec import DeviceSpec


def spec(*profile: Cost, streams: int = 2, max_batch: int = 4) -> DeviceSpec:
    return DeviceSpec(name="cpu", models=("a", "b"), streams=streams, max_batch=max_batch, profile=profile)


def test_before_anything_is_known_windows_are_taken_to_be_dear() -> None:
    assert CostBook([spec()]).window_s("a", 1, 3.0) == UNKNOWN_S


def test_a_window_costs_its_share_of_a_full_batch_on_all_streams() -> None:
    book = CostBook([spec()])
    for size in (1, 2, 3):
        book.observe("a", 1, size, longest_s=3.0, seconds=0.1 + 0.05 * size, now=0.0)

    assert book.window_s("a", 1, 3.0) == pytest.approx((0.1 + 0.05 * 4) / 4 / 2)


def test_a_longer_window_costs_more() -> None:
    """Finals are long and partials are short, and which of them there are more of changes with the rung."""
    book = CostBook([spec()])
    for size in (1, 2, 3):
        book.observe("a", 1, size, longest_s=3.0, seconds=0.1 + 0.05 * size, now=0.0)

    assert book.window_s("a", 1, 6.0) == pytest.approx((0.1 + 0.1 * 4) / 4 / 2)


def test_short_windows_that_come_together_and_long_ones_alone_are_told_apart() -> None:
    """Over the number of windows a batch seemed to cost the same whatever its size, so that there was room for any."""
    book = CostBook([spec(streams=1, max_batch=8)])
    for _ in range(10):
        book.observe("a", 1, 1, longest_s=6.0, seconds=0.1 + 0.02 * 6, now=0.0)
        book.observe("a", 1, 2, longest_s=2.0, seconds=0.1 + 0.02 * 4, now=0.0)
        book.observe("a", 1, 3, longest_s=2.0, seconds=0.1 + 0.02 * 6, now=0.0)

    assert book.window_s("a", 1, 6.0) == pytest.approx((0.1 + 0.02 * 6 * 7) / 7)
    assert book.window_s("a", 1, 2.0) == pytest.approx((0.1 + 0.02 * 2 * 8) / 8)


def test_batches_that_would_keep_finals_waiting_do_not_count_as_capacity() -> None:
    book = CostBook([spec(max_batch=64, streams=1)])
    for size in (1, 2, 3):
        book.observe("a", 1, size, longest_s=3.0, seconds=0.1 + 0.3 * size, now=0.0)

    assert book.window_s("a", 1, 3.0) == pytest.approx((0.1 + 0.3 * 3) / 3)


def test_a_model_that_never_ran_costs_what_the_dearest_does() -> None:
    book = CostBook([spec()])
    book.observe("a", 1, 1, longest_s=3.0, seconds=1.0, now=0.0)

    assert book.window_s("b", 1, 3.0) == book.window_s("a", 1, 3.0)


def test_a_profile_is_known_from_the_start() -> None:
    book = CostBook([spec(Cost("a", "300+0", 0.1, 0.03), Cost("a", "600+0", 0.3, 0.12))])

    assert book.window_s("a", 1, 3.0) == pytest.approx((0.2 + 0.015 * 3 * 4) / 4 / 2)


def test_what_a_model_cost_while_a_device_stood_still_is_not_believed_for_ever() -> None:
    """It was left for a smaller one because of that, so nothing new is learned of it: it would never be tried again."""
    profile = (Cost("a", "300+0", 0.1, 0.03), Cost("b", "300+0", 0.02, 0.01))
    book, measured = CostBook([spec(*profile)]), CostBook([spec(*profile)]).window_s("a", 1, 3.0)
    book.observe("a", 1, 1, longest_s=3.0, seconds=5.0, now=100.0)
    book.observe("b", 1, 1, longest_s=3.0, seconds=0.03, now=100.0 + STALE_S)
    assert book.window_s("a", 1, 3.0) > 10 * measured

    book.observe("b", 1, 1, longest_s=3.0, seconds=0.03, now=101.0 + STALE_S)
    assert book.window_s("a", 1, 3.0) == measured


def test_a_model_that_runs_again_is_learned_anew() -> None:
    """Its rung was climbed to because of what was measured: its worst moment must not be back with the first batch."""
    book = CostBook([replace(spec(), decodes=(("a", 1), ("b", 1)))])
    book.learn([*timings("a", 1, 0.1, 0.01), *timings("b", 1, 0.02, 0.01)], now=0.0)
    measured = book.window_s("a", 1, 3.0)
    for size in (1, 2, 3):
        book.observe("a", 1, size, longest_s=3.0, seconds=5.0 * size, now=100.0)
    book.observe("b", 1, 1, longest_s=3.0, seconds=0.05, now=101.0 + STALE_S)
    for size in (1, 2, 3):
        book.observe("a", 1, size, longest_s=3.0, seconds=0.1 + 0.03 * size, now=102.0 + STALE_S)

    assert book.window_s("a", 1, 3.0) == pytest.approx(measured)


def test_a_warm_up_on_a_busy_machine_does_not_make_a_model_dearer_than_it_was_seen_to_be() -> None:
    """Devices that start together slow each other down; by that alone its rung would never be climbed to again."""
    book = CostBook([spec()])
    book.learn(timings("a", 5, 1.0, 0.1), now=0.0)
    for _ in range(HISTORY // 2):
        for size in (1, 4):
            book.observe("a", 5, size, longest_s=3.0, seconds=0.1 + 0.03 * size, now=1.0)
    seen = book.window_s("a", 5, 3.0)
    for now in (2.0 + STALE_S, 3.0 + STALE_S):
        book.observe("a", 1, 1, longest_s=3.0, seconds=0.05, now=now)

        assert book.window_s("a", 5, 3.0) == seen

    book.observe("a", 5, 4, longest_s=3.0, seconds=0.22, now=4.0 + STALE_S)
    assert book.window_s("a", 5, 3.0) == pytest.approx(seen)


def test_where_nothing_was_measured_what_was_seen_stands() -> None:
    book = CostBook([spec()])
    book.observe("a", 1, 1, longest_s=3.0, seconds=0.4, now=0.0)
    seen = book.window_s("a", 1, 3.0)
    book.observe("b", 1, 1, longest_s=3.0, seconds=0.1, now=2 * STALE_S)

    assert book.window_s("a", 1, 3.0) == seen


def timings(model: str, beam: int, fixed_s: float, each_s: float) -> list[Timing]:
    """What a warm-up shows of a model whose batches cost so much, and so much for each second of audio."""
    return [
        Timing(model, beam, size, audio_s, fixed_s + each_s * size * audio_s)
        for size in (1, 4)
        for audio_s in (2.0, 6.0)
    ]


def test_a_warm_up_is_known_from_the_start_each_beam_by_itself() -> None:
    """Finals with a beam cost twice what greedy ones do: taken together, neither is right."""
    book = CostBook([replace(spec(), decodes=(("a", 1), ("a", 5)))])
    assert not book.measured
    book.learn([*timings("a", 1, 0.1, 0.01), *timings("a", 5, 0.2, 0.02)], now=0.0)

    assert book.measured
    assert book.window_s("a", 1, 3.0) == pytest.approx((0.1 + 0.01 * 3 * 4) / 4 / 2)
    assert book.window_s("a", 5, 3.0) == pytest.approx((0.2 + 0.02 * 3 * 4) / 4 / 2)


def test_a_device_that_starts_again_changes_nothing_that_is_known() -> None:
    """Its warm-up is a moment's look, beside whatever else the machine was doing; calls have shown more since."""
    book = CostBook([spec()])
    book.learn(timings("a", 1, 0.1, 0.01), now=0.0)
    for size in (1, 2, 3):
        book.observe("a", 1, size, longest_s=3.0, seconds=0.1 + 0.03 * size, now=1.0)
    before = book.window_s("a", 1, 3.0)
    book.learn([*timings("a", 1, 5.0, 1.0), *timings("b", 1, 0.2, 0.1)], now=2.0)

    assert book.window_s("a", 1, 3.0) == before
    assert book.window_s("b", 1, 3.0) == pytest.approx((0.2 + 0.1 * 3 * 2) / 2 / 2)


def test_a_profile_of_greedy_decodes_leaves_the_others_to_the_warm_up() -> None:
    book = CostBook([replace(spec(Cost("a", "300+0", 0.1, 0.03)), decodes=(("a", 1), ("a", 5)))])
    assert not book.measured
    assert book.window_s("a", 5, 3.0) == book.window_s("a", 1, 3.0)

    book.learn(timings("a", 5, 0.2, 0.02), now=0.0)

    assert book.measured
    assert book.window_s("a", 5, 3.0) > book.window_s("a", 1, 3.0)
