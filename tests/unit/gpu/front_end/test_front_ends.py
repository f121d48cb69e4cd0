"""Every front end makes the same features of the same bytes: those of the live path."""

from __future__ import annotations

import numpy as np
import pytest

from gpu.front_end.front_end import NOTHING, FrontEnd, Source, make
from streaming.audio import decode, encode
from streaming.call import Encoding
from streaming.decoding import Float32Array
from streaming.features import normalise
from tests.support.audio_files import resample
from tests.support.samples import bundled_clips
from tests.support.windows import FRONT_ENDS, clip_features, need_front_end

KINDS = FRONT_ENDS
CLIPS = ("press_8k", "unusual_16k", "music_8k", "keys_8k")
DECADES = 8.0
"""Below the loudest band of a window; what is softer is clamped when features are normalised."""
TOLERANCE = 2e-3
"""Of log10 power, within those decades: float32 rounds a spectrum at about 1e-7 of its loudest part."""

pytestmark = pytest.mark.timeout(180)  # the first test imports PyTorch


def front_end(kind: str, source: Source, n_mels: int = 80) -> FrontEnd:
    need_front_end(kind)
    return make(kind, source, n_mels)


def payloads(source: Source) -> list[bytes]:
    """Recordings of several lengths in a codec, a tenth of a second, and less than a frame."""
    found: list[bytes] = []
    for name in CLIPS:
        audio = bundled_clips()[name].audio
        sound = decode(audio.payload, audio.format.encoding)
        if audio.format.rate != source.rate:
            sound = resample(sound, audio.format.rate, source.rate)
        found.append(encode(sound, source.encoding))
    width = source.encoding.sample_bytes
    return [*found, found[0][: source.rate // 10 * width], found[1][: 37 * width]]


def alike(features: Float32Array, expected: Float32Array) -> bool:
    """Whether features are the same as far as anybody looks at them."""
    heard = np.maximum(features, features.max((1, 2), keepdims=True) - DECADES)
    wanted = np.maximum(expected, expected.max((1, 2), keepdims=True) - DECADES)
    return bool((np.abs(heard - wanted) <= TOLERANCE).all())


def test_the_reference_makes_the_features_of_the_live_path() -> None:
    """It is put together from the same parts, and nothing is lost between them."""
    audio = bundled_clips()["unusual_16k"].audio
    source = Source(audio.format.encoding, audio.format.rate)

    batch = front_end("numpy", source).batch([audio.payload], normalised=False)

    assert np.array_equal(batch[0], clip_features("unusual_16k"))


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_all_make_the_same_features(kind: str, encoding: Encoding, rate: int) -> None:
    """A model must not hear another call because a GPU was free."""
    source = Source(encoding, rate)
    sound = payloads(source)
    expected = front_end("numpy", source).batch(sound, normalised=False)

    made = np.asarray(front_end(kind, source).batch(sound, normalised=False))

    assert made.dtype == np.float32
    assert made.shape == expected.shape == (len(sound), 80, expected.shape[2])
    assert alike(made, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_windows_are_padded_and_normalised_as_engines_do_it(kind: str) -> None:
    """Whisper's clamp looks at a window with its padding."""
    source = Source(Encoding.MULAW, 8_000)
    front = front_end(kind, source)
    sound = payloads(source)

    plain = np.asarray(front.batch(sound, frames=1_000, normalised=False))
    scaled = np.asarray(front.batch(sound, frames=1_000))

    assert (plain[-1, :, 1:] == NOTHING).all()
    assert np.allclose(scaled, [normalise(window) for window in plain], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_company_does_not_change_a_window(kind: str) -> None:
    """Behind a shorter window of a batch there is memory of the others; none of it is heard."""
    source = Source(Encoding.ALAW, 8_000)
    front = front_end(kind, source)
    sound = payloads(source)

    together = np.asarray(front.batch(sound, frames=1_000, normalised=False))

    for row, payload in zip(together, sound, strict=True):
        alone = np.asarray(front.batch([payload], frames=1_000, normalised=False))[0]
        assert alike(row[None], alone[None])


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_may_be_of_any_size(kind: str) -> None:
    """A pipeline of DALI has room for 256 windows."""
    source = Source(Encoding.MULAW, 8_000)
    front = front_end(kind, source)
    sound = [bytes([at % 251]) * (800 + at) for at in range(300)]

    made = np.asarray(front.batch(sound, normalised=False))

    assert made.shape[0] == 300
    assert alike(made[-1:], np.asarray(front.batch(sound[-1:], frames=made.shape[2], normalised=False)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_mels", [80, 128])
def test_models_with_more_bands_have_them(kind: str, n_mels: int) -> None:
    source = Source(Encoding.L16, 16_000)
    sound = payloads(source)[:2]
    expected = front_end("numpy", source, n_mels).batch(sound, normalised=False)

    made = np.asarray(front_end(kind, source, n_mels).batch(sound, normalised=False))

    assert made.shape[1] == n_mels
    assert alike(made, expected)


@pytest.mark.parametrize("rate", [24_000, 44_100, 48_000])
def test_torch_takes_every_rate(rate: int) -> None:
    source = Source(Encoding.L16, rate)
    sound = payloads(source)

    made = np.asarray(front_end("torch", source).batch(sound, normalised=False))

    assert alike(made, front_end("numpy", source).batch(sound, normalised=False))


def test_dali_says_which_rates_it_takes() -> None:
    with pytest.raises(ValueError, match="8000 and 16000 Hz, not 48000; use torch or numpy"):
        front_end("dali", Source(Encoding.L16, 48_000))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_window_is_refused(kind: str) -> None:
    front = front_end(kind, Source(Encoding.L16, 8_000))
    with pytest.raises(ValueError, match="at least one, got 0 bytes"):
        front.batch([b""])
    with pytest.raises(ValueError, match="whole samples and at least one, got 3 bytes"):
        front.batch([b"\0\0\0"])
    with pytest.raises(ValueError, match="100 frames and is to be padded to 99"):
        front.batch([b"\0\0" * 8_000], frames=99)


def test_an_unknown_front_end_and_a_device_it_does_not_take_are_refused() -> None:
    source = Source(Encoding.MULAW, 8_000)
    with pytest.raises(ValueError, match="no front end 'jax'; use one of numpy, torch, dali"):
        make("jax", source)
    with pytest.raises(ValueError, match="not on cuda:0"):
        make("numpy", source, device="cuda:0")
