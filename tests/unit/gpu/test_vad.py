"""Voice activity: the real model, many channels at once, each as if it were alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gpu.vad import VAD_FRAME, VAD_RATE, SileroVad, installed_model
from streaming.decoding import Float32Array
from streaming.resample import Resampler
from tests.support.audio import noise, sine, speech_clip


def framed(samples: Float32Array) -> Float32Array:
    """Whole frames, shape ``(k, 256)``."""
    return samples[: samples.size // VAD_FRAME * VAD_FRAME].reshape(-1, VAD_FRAME)


def speech_at_8k() -> Float32Array:
    samples, rate = speech_clip("jfk/jfk.flac")
    resampler = Resampler(rate, VAD_RATE)
    return np.concatenate([resampler.push(samples), resampler.flush()])


def bursts(seed: int) -> Float32Array:
    """Noise that comes and goes, so that the recurrent state matters; shape ``(40, 256)``."""
    loudness = np.random.default_rng(seed).uniform(0, 0.5, (40, 1)).astype(np.float32)
    return framed(noise(40 * VAD_FRAME, seed)) * loudness


def scored_alone(frames: Float32Array) -> Float32Array:
    vad = SileroVad()
    vad.open("alone")
    return vad.score({"alone": frames})["alone"]


def test_a_batch_scores_every_channel_as_if_it_were_alone() -> None:
    """One caller's voice must never count as another's. Channels are many and bring different numbers of frames."""
    channels = {number: bursts(number)[: 5 + number] for number in range(20)}
    vad = SileroVad()
    for number in channels:
        vad.open(number)

    together = vad.score(channels)

    for number, frames in channels.items():
        np.testing.assert_allclose(together[number], scored_alone(frames), atol=1e-5)


def test_frames_may_come_one_by_one() -> None:
    """State and context are carried over: streaming equals batch."""
    frames = bursts(1)
    vad = SileroVad()
    vad.open("a")

    one_by_one = [vad.score({"a": frame[None]})["a"] for frame in frames]

    np.testing.assert_allclose(np.concatenate(one_by_one), scored_alone(frames), atol=1e-5)


def test_later_frames_change_no_earlier_score() -> None:
    frames = bursts(2)

    np.testing.assert_allclose(scored_alone(frames)[:10], scored_alone(frames[:10]), atol=1e-6)


def test_a_channel_without_frames_gets_no_scores() -> None:
    vad = SileroVad()
    vad.open("a")
    vad.open("b")

    scores = vad.score({"a": bursts(1)[:0], "b": bursts(1)[:2]})

    assert scores["a"].shape == (0,)
    assert scores["b"].shape == (2,)
    assert vad.score({}) == {}


def test_a_new_channel_inherits_nothing_from_a_closed_one() -> None:
    """Rows are used again; what the last caller said must be gone."""
    vad = SileroVad()
    for number in range(16):
        vad.open(number)
        vad.score({number: bursts(number)})
    for number in range(16):
        vad.close(number)

    vad.open("next")

    np.testing.assert_allclose(vad.score({"next": bursts(3)})["next"], scored_alone(bursts(3)), atol=1e-6)


def test_opening_again_starts_anew() -> None:
    vad = SileroVad()
    vad.open("a")
    vad.score({"a": bursts(1)})

    vad.open("a")

    np.testing.assert_allclose(vad.score({"a": bursts(3)})["a"], scored_alone(bursts(3)), atol=1e-6)


def test_a_channel_that_is_not_open_is_refused() -> None:
    vad = SileroVad()

    with pytest.raises(KeyError):
        vad.score({"nobody": bursts(1)})
    with pytest.raises(KeyError):
        vad.close("nobody")


def test_speech_scores_high() -> None:
    """The words of the clip begin at 0.3 s; well over half of it is speech."""
    scores = scored_alone(framed(speech_at_8k()))

    assert scores.max() > 0.95
    assert np.mean(scores > 0.5) > 0.6


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(5 * VAD_RATE, np.float32),
        sine(425, 5 * VAD_RATE, VAD_RATE),
        sine(350, 5 * VAD_RATE, VAD_RATE, 0.25) + sine(440, 5 * VAD_RATE, VAD_RATE, 0.25),
        0.01 * noise(5 * VAD_RATE),
    ],
    ids=["silence", "ringback", "dial tone", "comfort noise"],
)
def test_what_a_telephone_line_sounds_like_without_a_speaker_scores_low(samples: Float32Array) -> None:
    """Every frame taken for speech costs a decode, and may become an invented word."""
    assert np.mean(scored_alone(framed(samples)) > 0.5) < 0.02


def test_a_missing_wheel_is_named_with_the_fix() -> None:
    with pytest.raises(FileNotFoundError, match="pip install --no-deps silero-vad"):
        installed_model("a_package_nobody_has")


def test_a_wheel_without_the_model_is_named_with_the_fix() -> None:
    with pytest.raises(FileNotFoundError, match="pip install --no-deps silero-vad"):
        installed_model("numpy")


def test_a_named_model_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.onnx does not exist"):
        SileroVad(tmp_path / "absent.onnx")


def test_loading_the_model_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Its graph has parts that onnxruntime warns about, once per process and device."""
    SileroVad(installed_model())

    assert capfd.readouterr() == ("", "")
