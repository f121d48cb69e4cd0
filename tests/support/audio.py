"""Sound to test with, and the ways to cut it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pytest
import soundfile
from hypothesis import strategies as st

from streaming.decoding import Float32Array

SPEECH: Final = Path(__file__).parents[3] / "shared" / "speech"
"""Clips that are not part of the repository."""


def noise(count: int, seed: int = 0) -> Float32Array:
    """White noise within [-1, 1), shape ``(count,)``."""
    return np.random.default_rng(seed).uniform(-1, 1, count).astype(np.float32)


def sine(hz: float, count: int, rate: int, amplitude: float = 0.5) -> Float32Array:
    """A tone that starts at phase 0, shape ``(count,)``."""
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(count) / rate)).astype(np.float32)


def chunk_sizes(largest: int) -> st.SearchStrategy[list[int]]:
    """Lists of chunk sizes, empty chunks among them."""
    return st.lists(st.integers(0, largest), min_size=1, max_size=12).filter(any)


def cut(samples: Float32Array, sizes: list[int]) -> Iterator[Float32Array]:
    """Cut samples into chunks of these sizes, round and round until none are left."""
    start = 0
    while start < samples.size:
        for size in sizes:
            yield samples[start : start + size]
            start += size


def speech_clip(name: str) -> tuple[Float32Array, int]:
    """A clip, its channels averaged, as samples and Hz; skips the test where the clips are not there."""
    path = SPEECH / name
    if not path.is_file():
        pytest.skip(f"needs the speech clip {name} beside the repository")
    samples, rate = cast("Any", soundfile).read(path, dtype="float32", always_2d=True)
    return samples.mean(axis=1), rate
