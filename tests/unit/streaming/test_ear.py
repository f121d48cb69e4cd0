"""One channel's hearing: whole frames for voice activity, and windows that wait for their audio."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.audio import Codes, codes_of, encode
from streaming.call import SUPPORTED_RATES, Encoding
from streaming.decoding import Audio, Float32Array
from streaming.ear import HOP, VAD_FRAME, Ear
from streaming.features import normalise
from streaming.records import UNTIMED
from tests.support.audio import chunk_sizes, cut, noise
from tests.support.windows import features_of

N_MELS = 20
CARRIED = pytest.mark.parametrize("n_mels", [N_MELS, None], ids=["features", "audio"])


def ear_for(rate: int, n_mels: int | None = N_MELS, encoding: Encoding = Encoding.L16) -> Ear:
    return Ear(encoding, rate, n_mels, 30.0)


def codes(samples: Float32Array, encoding: Encoding = Encoding.L16) -> Codes:
    return codes_of(encode(samples, encoding), encoding)


def window(ear: Ear, start: int, end: int) -> Float32Array:
    """Features, whatever the window carries."""
    return features_of(ear.window(start, end), N_MELS)


def heard(
    samples: Float32Array, sizes: list[int], rate: int, n_mels: int | None = N_MELS, encoding: Encoding = Encoding.L16
) -> tuple[Ear, Float32Array]:
    ear = ear_for(rate, n_mels, encoding)
    frames = [ear.hear(codes(chunk, encoding), UNTIMED) for chunk in cut(samples, sizes)]
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


@CARRIED
@given(sizes=chunk_sizes(3_000), rate=st.sampled_from([8_000, 16_000]))
def test_what_is_heard_does_not_depend_on_the_chunks(n_mels: int | None, sizes: list[int], rate: int) -> None:
    """Streaming equals batch, for both uses of the audio."""
    samples = noise(rate // 2)
    whole, whole_frames = heard(samples, [rate], rate, n_mels)
    ear, frames = heard(samples, sizes, rate, n_mels)

    np.testing.assert_allclose(frames, whole_frames, atol=1e-5)
    np.testing.assert_allclose(window(ear, 0, ear.ready), window(whole, 0, whole.ready), atol=1e-3)


@CARRIED
def test_windows_reach_no_farther_than_the_audio_their_features_look_at(n_mels: int | None) -> None:
    """A feature computed too early would be of silence that was never there."""
    ear = ear_for(16_000, n_mels)
    ear.hear(codes(noise(16_000)), UNTIMED)

    assert ear.samples == 16_000
    assert ear.samples - 400 < ear.ready < ear.samples
    assert window(ear, 0, ear.ready).shape == (N_MELS, ear.ready // HOP)
    with pytest.raises(ValueError, match="not there"):
        ear.window(0, ear.samples)


@CARRIED
def test_windows_that_abut_share_no_frame_and_leave_none_out(n_mels: int | None) -> None:
    ear, _ = heard(noise(16_000), [16_000], 16_000, n_mels)
    border = 50 * HOP + 7

    both = np.concatenate([window(ear, 0, border), window(ear, border, 16_000)], axis=1)

    np.testing.assert_allclose(both, window(ear, 0, 16_000), atol=1e-4)


@CARRIED
def test_what_is_released_is_gone_and_frees_memory(n_mels: int | None) -> None:
    """A call of hours holds seconds."""
    ear = ear_for(8_000, n_mels)
    held: list[int] = []
    for second in range(30):
        ear.hear(codes(noise(8_000)), UNTIMED)
        ear.release(second * 16_000)
        held.append(ear.memory_bytes)

    assert max(held[5:]) == max(held[:5])
    with pytest.raises(ValueError, match="not there"):
        ear.window(0, 16_000)


def test_an_ear_for_windows_of_audio_holds_an_eighth_of_one_for_features() -> None:
    """Bytes of a telephone, where the other has samples of twice the rate and features."""
    sizes = {n_mels: heard(noise(80_000), [160], 8_000, n_mels, Encoding.MULAW)[0] for n_mels in (80, None)}
    sizes[80].window(0, sizes[80].ready)

    assert 8 * sizes[None].memory_bytes <= sizes[80].memory_bytes


def test_a_gap_on_the_clock_is_heard_as_silence() -> None:
    """Positions stay those of the call."""
    ear = ear_for(8_000)
    ear.hear(codes(noise(800)), 0)

    frames = ear.hear(codes(noise(800)), 8_800)

    assert ear.clock.padded == 8_000
    assert ear.samples == pytest.approx(2 * 9_600, abs=100)
    assert not np.any(frames[5])


@CARRIED
@given(position=st.integers(0, 30_000), rate=st.sampled_from([8_000, 16_000, 44_100, 48_000]))
def test_an_ear_that_starts_within_a_call_hears_the_rest_as_one_that_heard_it_all(
    n_mels: int | None, position: int, rate: int
) -> None:
    """A new owner of a call makes of its audio what the former one would have made."""
    samples = codes(noise(2 * rate))
    position = min(position, rate)
    whole = ear_for(rate, n_mels)
    before = whole.hear(samples[:position], UNTIMED)
    late = Ear(Encoding.L16, rate, n_mels, 30.0, whole.clock.state())
    frames = np.concatenate([before, whole.hear(samples[position:], UNTIMED), whole.finish()])
    late_frames = np.concatenate([late.hear(samples[position:], UNTIMED), late.finish()])

    assert (late.samples, late.ready) == (whole.samples, whole.ready)
    assert late.start <= position * 16_000 // rate < late.start + 2_560
    first = late.start // 512  # frames for voice activity lie where they would have lain
    assert late_frames.shape[0] == frames.shape[0] - first
    settled = 7  # frames that reach back to before it, by the grid and the resampler
    np.testing.assert_allclose(late_frames[settled:], frames[first + settled :], atol=1e-5)
    start = -(-(position * 16_000 // rate + 600) // HOP) * HOP
    np.testing.assert_allclose(window(late, start, late.ready), window(whole, start, whole.ready), atol=1e-3)


# --- audio instead of features ---------------------------------------------------------------------------------------


@given(data=st.data(), encoding=st.sampled_from(Encoding), rate=st.sampled_from(SUPPORTED_RATES))
def test_features_made_of_a_windows_audio_are_those_of_the_live_path(
    data: st.DataObject, encoding: Encoding, rate: int
) -> None:
    """Wherever a window is cut, at the ends of the call and around gaps, while the call goes on and when it is over."""
    live, as_sent = ear_for(rate, N_MELS, encoding), ear_for(rate, None, encoding)
    at = 0
    for _ in range(data.draw(st.integers(1, 4), label="chunks")):
        at += data.draw(st.sampled_from([0, 0, rate // 7]), label="gap")
        chunk = codes(noise(data.draw(st.integers(1, rate // 2), label="samples")), encoding)
        np.testing.assert_array_equal(as_sent.hear(chunk, at), live.hear(chunk, at))
        at += len(chunk)
        assert (as_sent.samples, as_sent.ready) == (live.samples, live.ready)
        _same_windows(data, live, as_sent)
    np.testing.assert_array_equal(as_sent.finish(), live.finish())
    assert (as_sent.samples, as_sent.ready) == (live.samples, live.ready)
    _same_windows(data, live, as_sent)


def _same_windows(data: st.DataObject, live: Ear, as_sent: Ear) -> None:
    last = live.ready // HOP
    start = data.draw(st.integers(0, last), label="start")
    stop = data.draw(st.integers(start, last), label="stop")
    sound, features = as_sent.window(start * HOP, stop * HOP), live.window(start * HOP, stop * HOP)
    assert isinstance(sound, Audio)
    assert not isinstance(features, Audio)
    assert sound.frames == features.shape[1] == stop - start
    if not sound.frames:
        return
    np.testing.assert_allclose(normalise(features_of(sound, N_MELS)), normalise(features), atol=1e-3)
    cut_off = data.draw(st.integers(0, sound.frames - 1), label="left out")
    rest = sound.without(cut_off)
    assert rest.frames == sound.frames - cut_off
    np.testing.assert_allclose(normalise(features_of(rest, N_MELS)), normalise(features[:, cut_off:]), atol=1e-3)
