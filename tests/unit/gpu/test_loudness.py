"""Voice activity for tones."""

from __future__ import annotations

import numpy as np

from gpu.loudness import LoudnessVad
from tests.support.audio import sine


def test_what_is_loud_is_speech_on_each_channel_by_itself() -> None:
    """Its verdicts must be certain: tests count words by them."""
    tone = sine(440.0, 512, 8_000).reshape(2, 256)
    line_noise = np.full((3, 256), 0.001, np.float32)
    detector = LoudnessVad()
    for ear in (("a", 0), ("a", 1), ("b", 0)):
        detector.open(ear)

    scores = detector.score({("a", 0): tone, ("a", 1): line_noise, ("b", 0): np.zeros((0, 256), np.float32)})
    detector.close(("a", 0))

    assert {ear: probabilities.tolist() for ear, probabilities in scores.items()} == {
        ("a", 0): [1.0, 1.0],
        ("a", 1): [0.0, 0.0, 0.0],
        ("b", 0): [],
    }
    assert scores["a", 0].dtype == np.float32
