"""Codecs: what a bridge sends is what the model hears."""

from __future__ import annotations

import io
from typing import Any, cast

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streaming.audio import decode, deinterleave, encode, levels, silence
from streaming.call import Encoding
from streaming.errors import BadAudio
from tests.support.audio import noise

ALL_CODES = bytes(range(256))
G711 = [(Encoding.MULAW, "ULAW"), (Encoding.ALAW, "ALAW")]


def decoded_by_libsndfile(payload: bytes, subtype: str) -> NDArray[np.int16]:
    samples, _ = cast("Any", soundfile).read(
        io.BytesIO(payload), dtype="int16", format="RAW", subtype=subtype, samplerate=8_000, channels=1
    )
    return cast("NDArray[np.int16]", samples)


@pytest.mark.parametrize(("encoding", "subtype"), G711)
def test_every_g711_code_decodes_as_libsndfile_decodes_it(encoding: Encoding, subtype: str) -> None:
    """An independent implementation of the standard, over all there is to know."""
    ours = decode(ALL_CODES, encoding) * 32_768

    np.testing.assert_array_equal(ours, decoded_by_libsndfile(ALL_CODES, subtype))


@pytest.mark.parametrize("encoding", [encoding for encoding, _ in G711])
def test_the_level_of_a_code_is_the_sample_it_is_decoded_to(encoding: Encoding) -> None:
    """Who only wants to know how loud a call is looks codes up instead of decoding them."""
    np.testing.assert_array_equal(levels(encoding), decode(ALL_CODES, encoding))


def test_codes_of_two_bytes_have_no_table_of_levels() -> None:
    """A byte of a 16-bit sample says nothing of how loud it is."""
    with pytest.raises(KeyError):
        levels(Encoding.L16)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_decoded_samples_are_float32_within_full_scale(encoding: Encoding) -> None:
    """Everything behind the codec counts on the range."""
    samples = decode(ALL_CODES, encoding)

    assert samples.dtype == np.float32
    assert samples.shape == (256 // encoding.sample_bytes,)
    assert np.all((samples >= -1) & (samples < 1))


@pytest.mark.parametrize(
    ("encoding", "payload"), [(Encoding.L16, b"\x00\x40\x00\x80"), (Encoding.L16BE, b"\x40\x00\x80\x00")]
)
def test_l16_is_read_in_its_declared_byte_order(encoding: Encoding, payload: bytes) -> None:
    """The classic fault of telephony: the wrong order is loud noise."""
    np.testing.assert_array_equal(decode(payload, encoding), [0.5, -1.0])


@pytest.mark.parametrize("encoding", [Encoding.L16, Encoding.L16BE])
def test_half_a_sample_is_the_callers_fault(encoding: Encoding) -> None:
    with pytest.raises(BadAudio, match="2 bytes a sample, got 3 bytes"):
        decode(b"abc", encoding)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_an_empty_payload_is_no_samples(encoding: Encoding) -> None:
    assert decode(b"", encoding).shape == (0,)
    assert encode(decode(b"", encoding), encoding) == b""


@pytest.mark.parametrize("encoding", list(Encoding))
def test_decoding_then_encoding_changes_no_sample(encoding: Encoding) -> None:
    """Mu-law has two codes for zero, so samples are compared, not codes."""
    samples = decode(ALL_CODES, encoding)

    np.testing.assert_array_equal(decode(encode(samples, encoding), encoding), samples)


@pytest.mark.parametrize(("encoding", "subtype"), G711)
def test_g711_encoding_picks_the_nearest_level(encoding: Encoding, subtype: str) -> None:
    samples = noise(1_000)
    levels = decoded_by_libsndfile(ALL_CODES, subtype) / 32_768

    nearest = np.abs(samples[:, None] - levels).min(axis=1)

    np.testing.assert_allclose(np.abs(decode(encode(samples, encoding), encoding) - samples), nearest, atol=1e-7)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_what_is_too_loud_is_clipped(encoding: Encoding) -> None:
    """Wrapping round instead would turn a shout into a crackle."""
    low, high = decode(encode(np.array([-3.0, 3.0], np.float32), encoding), encoding)

    assert low < -0.98
    assert high > 0.98


def test_interleaved_channels_come_apart() -> None:
    samples = np.arange(6, dtype=np.float32)

    channels = deinterleave(samples, 2)

    np.testing.assert_array_equal(channels, [[0, 2, 4], [1, 3, 5]])
    assert channels.flags.c_contiguous


def test_samples_that_do_not_divide_into_channels_are_the_callers_fault() -> None:
    with pytest.raises(BadAudio, match="5 samples do not divide into 2 channels"):
        deinterleave(np.zeros(5, np.float32), 2)


@given(payload=st.binary(max_size=400), border=st.integers(0, 200), encoding=st.sampled_from(Encoding))
def test_decoding_piece_by_piece_is_decoding_at_once(payload: bytes, border: int, encoding: Encoding) -> None:
    """Streaming equals batch, and every sample that goes in comes out."""
    whole = payload[: len(payload) // encoding.sample_bytes * encoding.sample_bytes]
    at = border * encoding.sample_bytes

    pieces = np.concatenate([decode(whole[:at], encoding), decode(whole[at:], encoding)])

    np.testing.assert_array_equal(pieces, decode(whole, encoding))
    assert pieces.size == len(whole) // encoding.sample_bytes


@pytest.mark.parametrize("encoding", Encoding)
def test_silence_is_heard_as_nothing_and_is_as_long_as_asked(encoding: Encoding) -> None:
    """It stands where a card number was read out: zero bytes would be the loudest sample there is in mu-law."""
    payload = silence(320, encoding)

    assert len(payload) == 320
    assert np.abs(decode(payload, encoding)).max() < 0.001
