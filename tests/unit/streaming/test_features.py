"""Features: Whisper's own numbers, each frame computed once, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor
from hypothesis import given
from hypothesis import strategies as st

from streaming.decoding import Float32Array
from streaming.features import FRAME_HOP, FeatureStore, mel_filters, normalise
from tests.support.audio import chunk_sizes, cut, noise, sine

N_MELS = [80, 128]


def store_of(samples: Float32Array, n_mels: int = 80) -> FeatureStore:
    store = FeatureStore(n_mels)
    store.append(samples)
    return store


def whisper(samples: Float32Array, n_mels: int) -> Float32Array:
    """What faster-whisper gives its model for this audio."""
    features: Float32Array = FeatureExtractor(feature_size=n_mels)(samples)
    return features


@pytest.mark.parametrize("n_mels", N_MELS)
def test_the_filter_bank_is_whispers(n_mels: int) -> None:
    np.testing.assert_allclose(mel_filters(n_mels), FeatureExtractor(feature_size=n_mels).mel_filters, atol=1e-8)


@pytest.mark.parametrize("n_mels", N_MELS)
@pytest.mark.parametrize("samples", [noise(32_000) * 0.1, sine(440, 32_000, 16_000)], ids=["noise", "tone"])
def test_a_normalised_window_is_what_whispers_extractor_makes(n_mels: int, samples: Float32Array) -> None:
    """The model was trained on these numbers. The first two frames mirror the audio there, and see silence here."""
    store = store_of(samples, n_mels)
    store.finish()

    ours = normalise(store.frames(0, store.available_frames))

    assert ours.dtype == np.float32
    assert ours.shape == (n_mels, 200)
    np.testing.assert_allclose(ours[:, 2:], whisper(samples, n_mels)[:, 2:200], atol=1e-4)


def test_a_window_in_the_middle_has_the_real_audio_at_its_edges() -> None:
    """Frames are the same whichever window they are asked for in."""
    store = store_of(noise(16_000))
    whole = store_of(noise(16_000)).frames(0, 90)

    np.testing.assert_array_equal(store.frames(40, 60), whole[:, 40:60])


def test_silence_is_the_floor() -> None:
    """What hold and comfort silence look like, and what no logarithm may choke on."""
    np.testing.assert_allclose(store_of(np.zeros(16_000, np.float32)).frames(0, 50), -10.0, rtol=1e-6)


@given(sizes=chunk_sizes(900), count=st.integers(0, 6_000))
def test_streaming_equals_batch_and_every_frame_is_computed_once(sizes: list[int], count: int) -> None:
    """Asked for after each chunk, frames are those of one big read: more audio never changes an old frame."""
    samples = noise(count, seed=count)
    store = FeatureStore(80)
    pieces: list[Float32Array] = []
    read = 0
    for chunk in cut(samples, sizes):
        store.append(chunk)
        pieces.append(store.frames(read, store.available_frames))
        read = store.available_frames
    store.finish()
    pieces.append(store.frames(read, store.available_frames))

    batch = store_of(samples)
    batch.finish()
    whole = batch.frames(0, batch.available_frames)
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, atol=1e-5)
    assert store.samples == count
    assert store.computed_frames == store.available_frames == -(-count // FRAME_HOP)


@given(
    reads=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=12),
)
def test_windows_in_any_order_compute_no_frame_twice(reads: list[tuple[int, int]]) -> None:
    """Partials overlap, finals begin earlier, silence in between is never asked for."""
    samples = noise(8_400)
    whole = store_of(samples).frames(0, 50)
    store = store_of(samples)
    wanted: set[int] = set()

    for border, other in reads:
        start, stop = min(border, other), max(border, other)
        np.testing.assert_allclose(store.frames(start, stop), whole[:, start:stop], atol=1e-5)
        wanted.update(range(start, stop))

    assert store.computed_frames == len(wanted)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (199, 0), (200, 1), (359, 1), (360, 2)])
def test_a_frame_is_available_once_its_audio_is_complete(samples: int, frames: int) -> None:
    """Otherwise a frame would change when more audio comes."""
    assert store_of(noise(samples)).available_frames == frames


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (160, 1), (161, 2)])
def test_at_the_end_every_begun_ten_milliseconds_have_a_frame(samples: int, frames: int) -> None:
    store = store_of(noise(samples))
    store.finish()
    store.finish()

    assert store.available_frames == frames
    assert store.frames(0, frames).shape == (80, frames)


def test_what_is_returned_is_the_callers_own() -> None:
    """A batcher keeps windows while the store goes on."""
    store = store_of(noise(16_000))
    first = store.frames(0, 50)
    first[:] = 7

    assert not np.any(store.frames(0, 50) == 7)


def test_frames_that_are_not_there_are_refused() -> None:
    store = store_of(noise(16_000))
    store.release(10)

    with pytest.raises(ValueError, match="frames 9 to 20 are not there; the store has 10 to 99"):
        store.frames(9, 20)
    with pytest.raises(ValueError, match="frames 10 to 100 are not there"):
        store.frames(10, 100)


def test_audio_can_be_read_back_until_it_is_released() -> None:
    samples = noise(16_000)
    store = store_of(samples)
    np.testing.assert_array_equal(store.pcm(0, 16_000), samples)

    store.release(10)

    np.testing.assert_array_equal(store.pcm(1_600, 3_000), samples[1_600:3_000])
    with pytest.raises(ValueError, match="samples 0 to 10 are not there; the store has 1400 to 16000"):
        store.pcm(0, 10)


def test_releasing_changes_no_later_frame() -> None:
    """The first frames kept still see the audio just before them."""
    samples = noise(16_000)
    store = store_of(samples)
    store.frames(0, 30)

    store.release(50)

    np.testing.assert_array_equal(store.frames(50, 99), store_of(samples).frames(50, 99))


def test_releasing_what_was_never_read_or_has_not_come_is_allowed() -> None:
    """Silence is released without ever being turned into features, possibly up to now and a little beyond."""
    samples = noise(16_000)
    store = store_of(samples[:8_000])
    store.release(51)
    store.release(20)  # brings nothing back
    store.append(samples[8_000:])

    assert store.frames(51, 51).shape == (80, 0)
    np.testing.assert_allclose(store.frames(51, 99), store_of(samples).frames(51, 99), atol=1e-5)


def test_no_audio_comes_after_the_end() -> None:
    store = FeatureStore(80)
    store.finish()

    with pytest.raises(ValueError, match="after finish"):
        store.append(noise(10))


def test_memory_is_bounded_by_what_is_not_released() -> None:
    """Hour two of a call costs what minute two did."""
    store = FeatureStore(80)
    chunk = noise(8_000)
    sizes: list[int] = []

    for second in range(240):
        store.append(chunk)
        store.frames(max(0, store.available_frames - 100), store.available_frames)
        store.release(max(0, store.available_frames - 300))
        sizes.append(store.memory_bytes)
        assert second < 20 or store.memory_bytes <= max(sizes[:20])

    assert max(sizes) < 4 * 3 * 64_000 + 4 * 300 * 80 * 4


def test_normalising_leaves_its_input_alone() -> None:
    window = store_of(noise(16_000)).frames(0, 50)
    before = window.copy()

    scaled = normalise(window)

    np.testing.assert_array_equal(window, before)
    assert scaled.max() - scaled.min() <= 2.0
