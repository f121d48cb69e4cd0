"""Windows and what is heard in them."""

from __future__ import annotations

import numpy as np

from streaming.decoding import Hypothesis, Kind, Window, Word


def test_a_window_lasts_ten_milliseconds_a_frame() -> None:
    """What costs and caps are computed from."""
    assert Window(np.zeros((80, 345), np.float32), Kind.PARTIAL).seconds == 3.45


def test_the_text_of_a_hypothesis_is_its_words_joined_by_spaces() -> None:
    words = (Word("Good", 0.0, 0.2, 0.9), Word("morning.", 0.2, 0.6, 0.9))

    assert Hypothesis(words, "en", 1.0, 0.0, "tiny", aligned=True).text == "Good morning."
    assert Hypothesis((), "en", 1.0, 1.0, "tiny", aligned=True).text == ""
