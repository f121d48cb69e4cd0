"""Where turns begin and end, and whose words are whose: what latencies and word errors of the benches rest on."""

from __future__ import annotations

import numpy as np
import pytest

from streaming.decoding import Float32Array
from tests.bench.playing import Heard
from tests.bench.turns import split_by_turn, tightened, turn_errors, voiced
from trunkline import Final, Word
from trunkline.timing import Turn

RATE = 8_000


def sound(seconds: float, loudness: float) -> Float32Array:
    """Noise of one loudness."""
    noise = np.random.default_rng(7).uniform(-1, 1, round(seconds * RATE))
    return (noise * loudness).astype(np.float32)


def word(text: str, start: float) -> Word:
    return Word(text, start, start + 0.2, 1.0)


def final(channel: int, *words: Word) -> Final:
    text = " ".join(each.text for each in words)
    said = (words[0].start, words[-1].end)
    return Final(channel, "side", 0, *said, text, words, 1.0, "en", "tiny.en", "endpoint", said[1], 0.4)


def test_silence_around_speech_is_no_part_of_it() -> None:
    """A clip's trailing silence counted as speech would make every final look early."""
    samples = np.concatenate([sound(0.5, 0.0), sound(2.0, 0.3), sound(1.0, 0.0)])

    assert voiced(samples, RATE) == pytest.approx((0.5, 2.5))


def test_noise_behind_speech_is_told_from_it() -> None:
    """Telephone lines hiss; where they do, speech is what stands out."""
    samples = np.concatenate([sound(0.5, 0.01), sound(2.0, 0.3), sound(1.0, 0.01)])

    assert voiced(samples, RATE) == pytest.approx((0.5, 2.5))


@pytest.mark.parametrize("samples", [sound(0.01, 0.3), sound(0.5, 0.0)])
def test_what_has_no_loud_frame_is_taken_whole(samples: Float32Array) -> None:
    """A clip of silence has no better bounds than its own."""
    assert voiced(samples, RATE) == (0.0, samples.size / RATE)


def test_a_turn_loses_only_the_silence_at_its_ends() -> None:
    """Tables of turns have the clips' bounds, silence and all."""
    samples = np.concatenate([sound(1.3, 0.0), sound(1.0, 0.3), sound(0.7, 0.0)])

    found = tightened(Turn(1, 1.0, 3.0, "hello"), samples, RATE)

    assert (found.channel, found.text) == (1, "hello")
    assert (found.start_s, found.end_s) == pytest.approx((1.3, 2.3), abs=0.021)


def test_words_go_to_the_turn_they_lie_in_or_the_nearest() -> None:
    """Times of words are rough; one that falls between turns still belongs to somebody's sentence."""
    turns = [Turn(0, 1.0, 2.0), Turn(0, 5.0, 6.0), Turn(0, 8.0, 9.0)]

    texts = split_by_turn([word("a", 0.4), word("b", 1.5), word("c", 4.6), word("d", 6.5)], turns)

    assert texts == {0: "a b", 1: "c d"}


def test_word_errors_are_counted_by_turn_and_side() -> None:
    """A lost turn is all deletions, and words of the other side help nobody."""
    turns = [Turn(0, 0.0, 1.0, "good morning"), Turn(1, 2.0, 3.0, "hello"), Turn(0, 4.0, 5.0, "who is there")]
    heard = Heard(finals=[final(0, word("good", 0.1), word("evening", 0.5)), final(1, word("hello", 2.2))])

    first, second, third = turn_errors(turns, heard)

    assert (first.words, first.substituted, first.errors) == (2, 1, 1)
    assert second.errors == 0
    assert (third.words, third.deleted) == (3, 3)
