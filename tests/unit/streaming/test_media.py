"""The media clock: nothing is lost or invented without being counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.decoding import Float32Array
from streaming.media import JITTER_S, MediaClock
from streaming.records import UNTIMED
from tests.support.audio import chunk_sizes, cut, noise

RATE = 8_000
MAX_GAP_S = 2.0
MAX_GAP = 16_000


def ones(count: int) -> Float32Array:
    return np.ones(count, np.float32)


def clock_at(position: int) -> MediaClock:
    """A clock that has taken this much audio."""
    clock = MediaClock(RATE, MAX_GAP_S)
    clock.place(ones(position), 0)
    return clock


@given(sizes=chunk_sizes(400))
def test_untimed_chunks_simply_follow(sizes: list[int]) -> None:
    """Streaming equals batch for bridges that have no clock."""
    samples = noise(1_000)
    clock = MediaClock(RATE, MAX_GAP_S)

    out = np.concatenate([clock.place(chunk, UNTIMED) for chunk in cut(samples, sizes)])

    np.testing.assert_array_equal(out, samples)
    assert (clock.received, clock.padded, clock.dropped, clock.position) == (1_000, 0, 0, 1_000)


@given(sizes=chunk_sizes(400))
def test_a_perfect_clock_changes_nothing(sizes: list[int]) -> None:
    samples = noise(1_000)
    clock = MediaClock(RATE, MAX_GAP_S)

    out = np.concatenate([clock.place(chunk, clock.received) for chunk in cut(samples, sizes)])

    np.testing.assert_array_equal(out, samples)


def test_lost_audio_becomes_silence_of_its_length() -> None:
    """Words after a gap keep their times."""
    clock = clock_at(160)

    out = clock.place(ones(160), 320)

    np.testing.assert_array_equal(out, [0] * 160 + [1] * 160)
    assert (clock.padded, clock.position) == (160, 480)


def test_a_channel_that_begins_late_begins_with_silence() -> None:
    """The two tracks of a call share one origin."""
    clock = MediaClock(RATE, MAX_GAP_S)

    assert clock.place(ones(160), 800).size == 960


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_a_clock_that_rounds_to_milliseconds_neither_pads_nor_trims(rate: int) -> None:
    """Ten minutes of chunks whose length is no whole number of ms: rounding must not add up to anything."""
    clock = MediaClock(rate, MAX_GAP_S)
    chunk = ones(rate // 47)

    for _ in range(47 * 600):
        stated_ms = clock.received * 1_000 // rate
        clock.place(chunk, stated_ms * rate // 1_000)

    assert (clock.padded, clock.dropped, clock.position) == (0, 0, clock.received)


def test_arrival_jitter_is_not_taken_for_gaps() -> None:
    jitter = [0, 79, -79, 40, -20, 79]
    clock = clock_at(8_000)

    for early in jitter:
        clock.place(ones(160), clock.received + early)

    assert (clock.padded, clock.dropped) == (0, 0)


def test_a_clock_that_drifts_is_followed() -> None:
    """A sender whose crystal is 0.1 % slow sends fewer samples than its clock says: 0.6 s in ten minutes."""
    clock = MediaClock(RATE, MAX_GAP_S)
    stated = 0

    for _ in range(50 * 600):
        clock.place(ones(160), stated * 8 // 1_000)
        stated += 20_020  # microseconds
        assert abs(stated * 8 // 1_000 - clock.position) <= JITTER_S * RATE + 160

    assert clock.padded == pytest.approx(0.6 * RATE, rel=0.02)


def test_one_lost_chunk_of_ten_milliseconds_is_noticed() -> None:
    clock = clock_at(80)

    assert clock.place(ones(80), 160).size == 160


def test_audio_that_is_sent_again_is_dropped() -> None:
    """A bridge that reconnects repeats its last chunks; words must not be said twice."""
    clock = clock_at(1_600)

    assert clock.place(ones(800), 800).size == 0
    assert clock.place(ones(800), 1_600).size == 800
    assert (clock.dropped, clock.position) == (800, 2_400)


def test_of_an_overlap_only_the_new_part_is_kept() -> None:
    clock = clock_at(1_600)
    samples = np.arange(800, dtype=np.float32)

    np.testing.assert_array_equal(clock.place(samples, 1_200), samples[400:])
    assert clock.dropped == 400


def test_a_late_chunk_whose_place_was_filled_is_dropped() -> None:
    """Telnyx does not promise order."""
    clock = clock_at(160)
    clock.place(ones(160), 320)

    assert clock.place(ones(160), 160).size == 0
    assert (clock.padded, clock.dropped) == (160, 160)


def test_a_jump_far_ahead_leaves_bounded_silence_and_moves_the_clock() -> None:
    """A clock gone wrong must not fill the memory, and a hold of ten minutes costs no more than the bound."""
    clock = clock_at(800)
    far = 800 + 600 * RATE

    assert clock.place(ones(160), far).size == MAX_GAP + 160
    assert clock.place(ones(160), far + 160).size == 160

    assert (clock.jumps, clock.padded, clock.dropped) == (1, MAX_GAP, 0)
    assert clock.offset == 600 * RATE - MAX_GAP


def test_a_clock_that_starts_anywhere_starts_the_call() -> None:
    """RTP clocks begin at a random number; no silence is made up for it."""
    clock = MediaClock(RATE, MAX_GAP_S)

    assert clock.place(ones(160), 3_000_000_000).size == 160
    assert clock.place(ones(160), 3_000_000_160).size == 160
    assert (clock.position, clock.offset, clock.padded) == (320, 3_000_000_000, 0)


def test_a_clock_that_starts_over_loses_nothing() -> None:
    """A new stream of the same call counts from 0 again."""
    clock = clock_at(10 * RATE)

    assert clock.place(ones(160), 0).size == 160
    assert clock.place(ones(160), 160).size == 160
    assert (clock.jumps, clock.dropped, clock.padded) == (1, 0, 0)


def test_a_single_wrong_time_costs_no_audio() -> None:
    """The clock jumps there and back; every sample is kept."""
    clock = clock_at(800)

    clock.place(ones(160), 10**12)
    clock.place(ones(160), 960)

    assert (clock.dropped, clock.jumps) == (0, 2)


def test_a_clock_that_stands_still_is_ignored_in_the_end() -> None:
    """A bridge that always says 0 would otherwise be silent for ever."""
    clock = MediaClock(RATE, MAX_GAP_S)
    heard = [clock.place(ones(160), 0).size for _ in range(200)]

    assert clock.dropped == MAX_GAP + 160
    assert heard[-50:] == [160] * 50
    assert clock.jumps == 1


def test_a_replay_of_the_longest_kind_does_not_make_the_clock_stand_still() -> None:
    """All that is sent again is dropped, and the clock is still read afterwards."""
    clock = clock_at(MAX_GAP)
    for position in range(0, MAX_GAP, 160):
        assert clock.place(ones(160), position).size == 0

    assert clock.place(ones(160), MAX_GAP + 160).size == 320


def test_an_empty_chunk_can_tell_the_time() -> None:
    """A bridge that reports discarded audio has only a position to send."""
    clock = clock_at(160)

    assert clock.place(ones(0), 480).size == 320


def test_a_bound_within_jitter_is_refused() -> None:
    with pytest.raises(ValueError, match="must be at least"):
        MediaClock(RATE, 0.001)


@given(
    chunks=st.lists(
        st.tuples(st.integers(0, 400), st.one_of(st.just(UNTIMED), st.integers(0, 4_000), st.integers(0, 2**48))),
        max_size=30,
    )
)
def test_every_sample_is_accounted_for(chunks: list[tuple[int, int]]) -> None:
    """Conservation and causality under clocks of any kind: what was emitted stays, and the sums agree."""
    clock = MediaClock(RATE, MAX_GAP_S)
    emitted = 0

    for count, position in chunks:
        out = clock.place(ones(count), position)
        emitted += out.size
        assert out.size <= count + MAX_GAP
        assert out[max(0, out.size - count) :].all()

    assert emitted == clock.position == clock.received + clock.padded - clock.dropped
    assert clock.received == sum(count for count, _ in chunks)


@given(
    chunks=st.lists(st.tuples(st.integers(0, 400), st.integers(-20_000, 40_000) | st.just(UNTIMED)), max_size=12),
    cut_at=st.integers(0, 12),
)
def test_a_clock_made_from_anothers_state_goes_on_as_it_would(chunks: list[tuple[int, int]], cut_at: int) -> None:
    """Whoever takes a call over must put its audio where the former owner would have."""
    clock = MediaClock(RATE, MAX_GAP_S)
    for size, position in chunks[:cut_at]:
        clock.place(ones(size), max(position, UNTIMED))
    other = MediaClock(RATE, MAX_GAP_S, clock.state())
    assert other.position == clock.position

    for size, position in chunks[cut_at:]:
        mine, its = clock.place(ones(size), max(position, UNTIMED)), other.place(ones(size), max(position, UNTIMED))
        np.testing.assert_array_equal(mine, its)
    assert other.state() == clock.state()
