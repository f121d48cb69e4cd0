"""Features of recordings, as a session would cut them."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import pytest

from gpu.front_end.front_end import NumpyFrontEnd, Source
from streaming.audio import codes_of, decode, encode
from streaming.call import Encoding
from streaming.decoding import Audio, Float32Array
from streaming.ear import Ear
from streaming.features import FeatureStore
from streaming.records import UNTIMED
from tests.support.audio_files import WIDEBAND_RATE, resample
from tests.support.samples import bundled_clips


@cache
def clip_features(name: str) -> Float32Array:
    """Features of a bundled recording, shape ``(80, n_frames)``."""
    audio = bundled_clips()[name].audio
    return features(resample(decode(audio.payload, audio.format.encoding), audio.format.rate, WIDEBAND_RATE))


def features(pcm: Float32Array, n_mels: int = 80) -> Float32Array:
    """Features of audio at 16 kHz, all of it."""
    store = FeatureStore(n_mels)
    store.append(pcm)
    store.finish()
    return store.frames(0, store.available_frames)


def features_of(sound: Float32Array | Audio, n_mels: int = 80) -> Float32Array:
    """What a window carries, as features."""
    if not isinstance(sound, Audio):
        return sound
    made = NumpyFrontEnd(Source(sound.encoding, sound.rate), n_mels).batch([sound.payload], normalised=False)
    return made[0, :, sound.before : sound.before + sound.frames]


FRONT_ENDS = ("numpy", "torch", "dali")


def need_front_end(kind: str) -> None:
    """Skip the test where a front end is not installed."""
    needs = {"torch": "torch", "dali": "nvidia"}.get(kind)
    if needs and find_spec(needs) is None:
        pytest.skip(f"{kind} is not installed in this environment; run: make test-torch")


def both_ways(
    pcm: Float32Array, encoding: Encoding, rate: int, *, start_s: float = 0.0, stop_s: float | None = None
) -> tuple[Audio, Float32Array]:
    """One stretch of a call as windows may carry it: its audio, and its features.

    Args:
        pcm: The call, at its own rate.
        encoding: How it travels.
        rate: Hz.
        start_s: Where the stretch begins.
        stop_s: Where it ends; where the call does if not given.
    """
    found: list[Audio | Float32Array] = []
    for n_mels in (None, 80):
        ear = Ear(encoding, rate, n_mels, 30.0)
        ear.hear(codes_of(encode(pcm, encoding), encoding), UNTIMED)
        ear.finish()
        stop = ear.ready if stop_s is None else round(WIDEBAND_RATE * stop_s)
        found.append(ear.window(round(WIDEBAND_RATE * start_s), stop))
    audio, features = found
    assert isinstance(audio, Audio)
    assert not isinstance(features, Audio)
    return audio, features
