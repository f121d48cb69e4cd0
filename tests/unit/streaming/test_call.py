"""What a caller may choose."""

from __future__ import annotations

import pytest

from streaming.call import MAX_CHANNELS, SUPPORTED_RATES, AudioFormat, CallSpec, Encoding


@pytest.mark.parametrize("rate", SUPPORTED_RATES)
def test_every_rate_of_telephony_and_studios_is_taken(rate: int) -> None:
    assert AudioFormat(Encoding.L16, rate).rate == rate


def test_another_rate_is_refused_with_those_that_would_do() -> None:
    """The message goes to the developer of a bridge: it must say what to send."""
    with pytest.raises(ValueError, match=r"11025 Hz is not supported; send one of 8000, 16000, 24000, 44100, 48000"):
        AudioFormat(Encoding.L16, 11_025)


@pytest.mark.parametrize("channels", [0, -1, MAX_CHANNELS + 1])
def test_a_number_of_channels_nobody_has_is_refused(channels: int) -> None:
    with pytest.raises(ValueError, match="send 1 to 20"):
        AudioFormat(Encoding.L16, 8_000, channels)


def test_samples_of_telephone_codecs_are_bytes_and_linear_ones_two() -> None:
    sizes = {encoding: encoding.sample_bytes for encoding in Encoding}

    assert sizes == {Encoding.MULAW: 1, Encoding.ALAW: 1, Encoding.L16: 2, Encoding.L16BE: 2}


def test_each_side_needs_a_label() -> None:
    """Text without a speaker is of no use; a missing label would be found only in the transcript."""
    audio = AudioFormat(Encoding.MULAW, 8_000, 2)

    assert CallSpec("c", "t", audio, ("customer", "agent")).sides == 2
    with pytest.raises(ValueError, match="2 sides need as many labels, got 1"):
        CallSpec("c", "t", audio, ("customer",))


def test_channels_mixed_down_are_one_side() -> None:
    audio = AudioFormat(Encoding.MULAW, 8_000, 2)

    assert CallSpec("c", "t", audio, ("everybody",), mixed=True).sides == 1
    with pytest.raises(ValueError, match="1 sides"):
        CallSpec("c", "t", audio, ("customer", "agent"), mixed=True)
