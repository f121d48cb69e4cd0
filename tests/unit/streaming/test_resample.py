"""Resampling: right in time, right in tone, and the same however the audio is cut."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.call import SUPPORTED_RATES
from streaming.decoding import Float32Array
from streaming.resample import Resampler
from tests.support.audio import chunk_sizes, cut, noise, sine

LOOKAHEAD_S = 0.0041
PAIRS = [(rate_in, rate_out) for rate_out in (8_000, 16_000) for rate_in in SUPPORTED_RATES]


def at_once(samples: Float32Array, rate_in: int, rate_out: int) -> Float32Array:
    resampler = Resampler(rate_in, rate_out)
    return np.concatenate([resampler.push(samples), resampler.flush()])


def decibels(ratio: float) -> float:
    return float(20 * np.log10(ratio))


def amplitude_at(samples: Float32Array, hz: float, rate: int) -> float:
    """Amplitude of one frequency, windowed so that others do not leak in."""
    window = np.blackman(samples.size)
    tone = np.exp(-2j * np.pi * hz * np.arange(samples.size) / rate)
    return float(2 * np.abs(np.sum(samples * window * tone)) / window.sum())


@settings(max_examples=60)
@given(pair=st.sampled_from(PAIRS), count=st.integers(0, 3_000), sizes=chunk_sizes(700))
def test_streaming_equals_one_shot_and_no_sample_is_lost(pair: tuple[int, int], count: int, sizes: list[int]) -> None:
    """Any chunking gives the same samples, exactly ceil(n * rate_out / rate_in) of them."""
    samples = noise(count, seed=count)
    resampler = Resampler(*pair)

    pieces = [resampler.push(chunk) for chunk in cut(samples, sizes)]
    streamed = np.concatenate([*pieces, resampler.flush()])

    assert streamed.dtype == np.float32
    assert streamed.size == -(-count * pair[1] // pair[0])
    np.testing.assert_allclose(streamed, at_once(samples, *pair), atol=1e-6)


@settings(max_examples=30)
@given(pair=st.sampled_from(PAIRS), heard=st.integers(0, 3_000))
def test_what_came_out_does_not_depend_on_what_comes_next(pair: tuple[int, int], heard: int) -> None:
    """Causal: more input never changes old output, and output waits for no more than a few milliseconds of it."""
    samples = noise(4_000)
    resampler = Resampler(*pair)

    early = resampler.push(samples[:heard])

    assert early.size >= int((heard / pair[0] - LOOKAHEAD_S) * pair[1])
    np.testing.assert_allclose(early, at_once(samples, *pair)[: early.size], atol=1e-6)


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_an_output_sample_sits_at_its_media_time(rate_in: int, rate_out: int) -> None:
    """Word times are counted in output samples: the filter's delay must not be in them."""
    out = at_once(sine(700, rate_in, rate_in), rate_in, rate_out)

    margin = rate_out // 50  # at both ends the silence around the tone is heard
    np.testing.assert_allclose(out[margin:-margin], sine(700, rate_out, rate_out)[margin:-margin], atol=1e-4)


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
@pytest.mark.parametrize("hz", [100, 1_000, 2_500, 3_400])
def test_the_telephone_band_passes_within_a_tenth_of_a_decibel(rate_in: int, rate_out: int, hz: int) -> None:
    out = at_once(sine(hz, rate_in // 2, rate_in), rate_in, rate_out)

    assert abs(decibels(amplitude_at(out, hz, rate_out) / 0.5)) < 0.1


@pytest.mark.parametrize("hz", [300, 1_000, 2_500, 3_400])
def test_upsampling_leaves_no_mirror_image(hz: int) -> None:
    """A mirror image above 4 kHz would look like consonants to the model."""
    out = at_once(sine(hz, 4_000, 8_000), 8_000, 16_000)

    assert decibels(amplitude_at(out, 8_000 - hz, 16_000) / 0.5) < -60


@pytest.mark.parametrize(("rate_in", "rate_out"), [pair for pair in PAIRS if pair[0] > pair[1]])
@pytest.mark.parametrize("beyond", [1.02, 1.3, 1.45])
def test_downsampling_folds_nothing_back(rate_in: int, rate_out: int, beyond: float) -> None:
    """What lies above the new Nyquist frequency must vanish rather than come back as something else."""
    hz = beyond * rate_out / 2
    out = at_once(sine(hz, rate_in // 2, rate_in), rate_in, rate_out)

    middle = out[rate_out // 50 : -rate_out // 50]
    assert decibels(float(np.abs(middle).max()) / 0.5) < -60


@pytest.mark.parametrize(("rate_in", "rate_out"), [pair for pair in PAIRS if pair[0] != pair[1]])
def test_speech_band_noise_comes_out_as_from_soxr(rate_in: int, rate_out: int) -> None:
    """An independent resampler of high quality agrees within -60 dB."""
    samples = at_once(noise(4_000), 8_000, rate_in)  # nothing above 4 kHz
    narrow = at_once(at_once(samples, rate_in, 6_000), 6_000, rate_in)  # nothing above 3 kHz

    theirs = cast("Float32Array", cast("Any", soxr).resample(narrow, rate_in, rate_out, quality="VHQ"))
    ours = at_once(narrow, rate_in, rate_out)

    middle = slice(rate_out // 20, min(ours.size, theirs.size) - rate_out // 20)
    error = np.sqrt(np.mean(np.square(ours[middle] - theirs[middle])) / np.mean(np.square(theirs[middle])))
    assert decibels(float(error)) < -60


def test_equal_rates_pass_through_untouched() -> None:
    samples = noise(100)
    resampler = Resampler(16_000, 16_000)

    assert resampler.push(samples) is samples
    assert resampler.flush().size == 0


def test_a_flushed_resampler_is_as_new() -> None:
    """One stream must not ring on into the next."""
    samples = noise(1_000)
    resampler = Resampler(8_000, 16_000)
    first = np.concatenate([resampler.push(samples), resampler.flush()])

    again = np.concatenate([resampler.push(samples), resampler.flush()])

    np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize(("rate_in", "rate_out"), [(0, 16_000), (8_000, -1)])
def test_a_rate_that_is_none_is_refused(rate_in: int, rate_out: int) -> None:
    with pytest.raises(ValueError, match="both rates must be positive"):
        Resampler(rate_in, rate_out)
