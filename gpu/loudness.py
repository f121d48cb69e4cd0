"""Voice activity without a model: whatever is loud is speech. For the scripted engine, whose words are tones."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Final, TypeVar

import numpy as np

from streaming.decoding import Float32Array

__all__ = ["LOUD", "LoudnessVad"]

LOUD: Final = 0.01
"""Root mean square, of samples in [-1, 1], from which a frame is speech: 40 dB below a full-scale square wave."""

Key = TypeVar("Key", bound=Hashable)


class LoudnessVad:
    """Scores frames by their loudness alone; keeps nothing of a channel."""

    def open(self, key: Hashable) -> None:
        """Nothing to do."""

    def close(self, key: Hashable) -> None:
        """Nothing to do."""

    def score(self, frames: Mapping[Key, Float32Array]) -> dict[Key, Float32Array]:
        """Score frames.

        Args:
            frames: Per channel float32, shape ``(k, n)``, in [-1, 1].

        Returns:
            Per channel 1 for each loud frame and 0 for each other, float32, shape ``(k,)``.
        """
        return {
            key: (np.sqrt(np.mean(np.square(heard), axis=1)) >= LOUD).astype(np.float32)
            for key, heard in frames.items()
        }
