"""Recordings as samples."""

from __future__ import annotations

import numpy as np
import pytest

from server.errors import Refusal
from server.recordings import Recording
from tests.support.dice import dice
from tests.support.sound import tone


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG"])
def test_whatever_the_rate_as_much_sound_comes_out(rate: int, container: str) -> None:
    """Times in transcripts are counted in these samples."""
    recording = Recording(tone(1.3, rate, 2, container), apart=False, max_s=60)
    samples = np.frombuffer(b"".join(recording.pieces()), "<i2")
    assert recording.channels == 1
    assert len(samples) == pytest.approx(1.3 * 16_000, abs=2)
    assert recording.seconds == len(samples) / 16_000
    loud = np.sqrt(np.mean(np.square(samples[1600:-1600] / 32_768)))
    assert loud == pytest.approx(0.1 / np.sqrt(2), rel=0.05)


def test_channels_may_stay_apart() -> None:
    """Then they come interleaved."""
    recording = Recording(tone(1.0, 8000, 2), apart=True, max_s=60)
    samples = np.frombuffer(b"".join(recording.pieces()), "<i2").reshape(-1, 2)
    assert recording.channels == 2
    assert len(samples) == 16_000
    assert np.array_equal(samples[:, 0], samples[:, 1])


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"RIFFxxxx", 400),
        (tone(0.1, 44_056), 400),
        (tone(0.01, 400_000), 400),
        (tone(0.1, 8000, 21), 400),
        (tone(2.0), 413),
    ],
)
def test_what_cannot_be_taken_is_refused_at_once(data: bytes, status: int) -> None:
    """Before anything was given to the log."""
    with pytest.raises(Refusal) as refused:
        Recording(data, apart=False, max_s=1.0)
    assert refused.value.status == status


def test_damaged_files_are_refused_or_read() -> None:
    """Whatever comes, nothing else is raised."""
    chance = dice()
    sources = [tone(0.3, 8000, 1, container) for container in ("WAV", "FLAC", "OGG", "MP3")]
    for _ in range(200):
        data = bytearray(chance.choice(sources))
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(min(len(data), 400))] = chance.randrange(256)
        try:
            for _ in Recording(bytes(data), apart=False, max_s=10.0).pieces():
                pass
        except Refusal as refused:
            assert refused.status in (400, 413)  # noqa: PT017 - it may as well be read
