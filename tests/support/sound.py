"""Sound files made on the spot."""

from __future__ import annotations

import io
import math

import numpy as np
import soundfile


def tone(seconds: float = 2.0, rate: int = 16_000, channels: int = 1, container: str = "WAV") -> bytes:
    """Return a file of a quiet 440 Hz tone."""
    at = np.arange(round(seconds * rate)) / rate
    side = (0.1 * np.sin(2 * math.pi * 440 * at)).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, np.stack([side] * channels, axis=1), rate, format=container)
    return file.getvalue()
