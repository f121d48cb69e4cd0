"""Features of recordings, as a session would cut them."""

from __future__ import annotations

from functools import cache

from streaming.audio import decode
from streaming.decoding import Float32Array
from streaming.features import FeatureStore
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
