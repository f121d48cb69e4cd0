"""One channel's hearing: whole frames for voice activity, and features that wait for their audio."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.decoding import Float32Array
from streaming.ear import HOP, VAD_FRAME, Ear
from streaming.records import UNTIMED
from tests.support.audio import chunk_sizes, cut, noise

N_MELS = 20


def heard(samples: Float32Array, sizes: list[int], rate: int) -> tuple[Ear, Float32Array]:
    ear = Ear(rate, N_MELS, 30.0)
    frames = [ear.hear(chunk, UNTIMED) for chunk in cut(samples, sizes)]
    return ear, np.concatenate([*frames, ear.finish()])


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_every_sample_is_in_a_frame_for_voice_activity_the_last_filled_with_silence(rate: int) -> None:
    """The last word of a call may lie in an unfinished frame."""
    ear, frames = heard(noise(rate), [rate], rate)

    assert frames.shape == (32, VAD_FRAME)
    assert np.any(frames[-1, :64])
    assert not np.any(frames[-1, 64:])
    assert ear.samples == ear.ready == 16_000


def test_audio_that_fills_its_last_frame_gets_no_frame_of_silence() -> None:
    _, frames = heard(noise(4 * VAD_FRAME), [100], 8_000)

    assert frames.shape == (4, VAD_FRAME)


@given(sizes=chunk_sizes(3_000), rate=st.sampled_from([8_000, 16_000]))
def test_what_is_heard_does_not_depend_on_the_chunks(sizes: list[int], rate: int) -> None:
    """Streaming equals batch, for both uses of the audio."""
    samples = noise(rate // 2)
    whole, whole_frames = heard(samples, [rate], rate)
    ear, frames = heard(samples, sizes, rate)

    np.testing.assert_allclose(frames, whole_frames, atol=1e-5)
    np.testing.assert_allclose(ear.window(0, ear.ready), whole.window(0, whole.ready), atol=1e-3)


def test_windows_reach_no_farther_than_the_audio_their_features_look_at() -> None:
    """A feature computed too early would be of silence that was never there."""
    ear = Ear(16_000, N_MELS, 30.0)
    ear.hear(noise(16_000), UNTIMED)

    assert ear.samples == 16_000
    assert ear.samples - 400 < ear.ready < ear.samples
    assert ear.window(0, ear.ready).shape == (N_MELS, ear.ready // HOP)
    with pytest.raises(ValueError, match="not there"):
        ear.window(0, ear.samples)


def test_windows_that_abut_share_no_frame_and_leave_none_out() -> None:
    ear, _ = heard(noise(16_000), [16_000], 16_000)
    border = 50 * HOP + 7

    both = np.concatenate([ear.window(0, border), ear.window(border, 16_000)], axis=1)

    np.testing.assert_array_equal(both, ear.window(0, 16_000))


def test_what_is_released_is_gone_and_frees_memory() -> None:
    """A call of hours holds seconds."""
    ear = Ear(8_000, N_MELS, 30.0)
    held: list[int] = []
    for second in range(30):
        ear.hear(noise(8_000), UNTIMED)
        ear.release(second * 16_000)
        held.append(ear.memory_bytes)

    assert max(held[5:]) == max(held[:5])
    with pytest.raises(ValueError, match="not there"):
        ear.window(0, 16_000)


def test_a_gap_on_the_clock_is_heard_as_silence() -> None:
    """Positions stay those of the call."""
    ear = Ear(8_000, N_MELS, 30.0)
    ear.hear(noise(800), 0)

    frames = ear.hear(noise(800), 8_800)

    assert ear.clock.padded == 8_000
    assert ear.samples == pytest.approx(2 * 9_600, abs=100)
    assert not np.any(frames[5])


@given(position=st.integers(0, 30_000), rate=st.sampled_from([8_000, 16_000, 44_100, 48_000]))
def test_an_ear_that_starts_within_a_call_hears_the_rest_as_one_that_heard_it_all(position: int, rate: int) -> None:
    """A new owner of a call makes of its audio what the former one would have made."""
    samples = noise(2 * rate)
    position = min(position, rate)
    whole = Ear(rate, N_MELS, 30.0)
    before = whole.hear(samples[:position], UNTIMED)
    late = Ear(rate, N_MELS, 30.0, whole.clock.state())
    frames = np.concatenate([before, whole.hear(samples[position:], UNTIMED), whole.finish()])
    late_frames = np.concatenate([late.hear(samples[position:], UNTIMED), late.finish()])

    assert (late.samples, late.ready) == (whole.samples, whole.ready)
    assert late.start <= position * 16_000 // rate < late.start + 2_560
    first = late.start // 512  # frames for voice activity lie where they would have lain
    assert late_frames.shape[0] == frames.shape[0] - first
    settled = 7  # frames that reach back to before it, by the grid and the resampler
    np.testing.assert_allclose(late_frames[settled:], frames[first + settled :], atol=1e-5)
    start = -(-(position * 16_000 // rate + 600) // HOP) * HOP
    np.testing.assert_allclose(late.window(start, late.ready), whole.window(start, whole.ready), atol=1e-3)
