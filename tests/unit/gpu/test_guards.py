"""The guards on sentences as Whisper wrote them of short windows, spelled out."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from gpu import guards
from gpu.guards import Reading, Symbols

EOT = 1000
TIMESTAMPS = 2000


class Speller:
    """Turns `<0.00> so written<1.00>` into tokens: one a word, one a timestamp."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self.symbols = Symbols(EOT, TIMESTAMPS, self.text)

    def text(self, tokens: Sequence[int]) -> str:
        return "".join(self._words[token] for token in tokens)

    def tokens(self, written: str) -> list[int]:
        return [self._token(piece) for piece in re.findall(r"<[\d.]+>| *[^ <]+", written)]

    def _token(self, piece: str) -> int:
        if piece.startswith("<"):
            return TIMESTAMPS + round(float(piece[1:-1]) / guards.STEP_S)
        if piece not in self._words:
            self._words.append(piece)
        return self._words.index(piece)


def read(written: str, audio_s: float, *, finished: bool = True) -> tuple[str, Reading]:
    speller = Speller()
    reading = guards.read(speller.tokens(written), speller.symbols, audio_s=audio_s, finished=finished)
    return speller.text(reading.tokens).strip(), reading


def test_segments_have_the_times_the_model_gave_them() -> None:
    _, reading = read("<0.00> But she said,<1.52><1.60> he is the reciter.<6.60>", 6.74)
    times = [time for segment in reading.segments for time in (segment.start, segment.end)]
    assert times == pytest.approx([0.0, 1.52, 1.6, 6.6])
    assert reading.sound
    assert reading.unread_from is None


def test_text_behind_the_end_of_the_audio_is_not_read() -> None:
    """The words are right, and then they come again with later times."""
    assert read("<0.00> 4 7 64<2.00><2.00> 4 7 64<3.00><3.00> 4 7 64<4.00>", 2.0)[0] == "4 7 64"


def test_a_segment_that_ends_behind_the_audio_ends_with_it() -> None:
    _, reading = read("<0.00> The surely thing is known there.<7.00>", 4.5)
    assert reading.segments[-1].end == 4.5
    assert reading.sound


def test_a_word_said_over_and_over_until_it_was_stopped_was_said_once() -> None:
    """The most frequent error of all: short windows loop until they are stopped."""
    text, reading = read("<0.00> Delta Delta Delta Delta Delta Delta", 0.9, finished=False)
    assert text == "Delta"
    assert reading.sound


def test_an_ellipsis_between_repeats_goes_with_them() -> None:
    assert read("<0.00> Four ... Four ... Four ... Four", 0.8, finished=False)[0] == "Four"


def test_a_sign_that_is_spoken_is_a_word_and_punctuation_is_none() -> None:
    """Percent is written as one; an ellipsis is what a model writes where it heard nothing."""
    assert read("<0.00> %", 0.8, finished=False)[0] == "%"
    assert not read("<0.00> ...", 0.8, finished=False)[0]


def test_a_last_word_cut_short_does_not_hide_a_loop() -> None:
    assert read("<0.00> Colon Colon Colon Col", 0.9, finished=False)[0] == "Colon"


def test_a_sentence_said_again_until_it_was_stopped_was_said_once() -> None:
    text, reading = read(
        "<0.00> Press 1 to enter. Press 2 to leave. Press 1 to enter. Press 2 to leave. Press 1", 2.5, finished=False
    )
    assert text == "Press 1 to enter. Press 2 to leave."
    assert reading.sound


def test_an_echo_that_begins_within_a_sentence_takes_its_beginning_along() -> None:
    written = "<0.00> has joined the conference. Join the conference. Join the conference. Join the"
    assert read(written, 1.7, finished=False)[0] == "has joined the conference."


def test_what_is_said_twice_in_the_time_it_takes_stays() -> None:
    """People do say things twice; digits above all."""
    assert read("<0.00> one one one one four<2.00>", 2.0)[0] == "one one one one four"
    assert read("<0.00> Hello there.<1.00><1.00> Hello there.<2.00>", 2.0)[0] == "Hello there. Hello there."


def test_a_segment_said_again_faster_than_it_can_be_said_is_dropped() -> None:
    text, reading = read("<0.00> has never been surpassed.<1.00><1.00> has never been surpassed.<1.78>", 1.79)
    assert text == "has never been surpassed."
    assert reading.sound


def test_a_loop_over_segments_is_sound_once_its_echoes_are_gone() -> None:
    text, reading = read(
        "<0.00> Please try your call again later.<1.00><1.00> Please try your call again later.<1.60><1.60> Please try",
        2.1,
        finished=False,
    )
    assert text == "Please try your call again later."
    assert reading.sound


def test_a_decode_stopped_in_the_middle_of_new_words_is_not_sound() -> None:
    _, reading = read("<0.00> Fizzed sizzed sizzled and more", 1.0, finished=False)
    assert not reading.sound


def test_a_loop_that_leaves_too_little_of_a_long_window_is_not_sound() -> None:
    """Ten seconds of speech are more than one word: the rest was lost to the loop."""
    text, reading = read("<0.00> Beep Beep Beep Beep Beep Beep", 10.0, finished=False)
    assert text == "Beep"
    assert not reading.sound


def test_text_that_repeats_itself_in_time_is_not_sound_either() -> None:
    _, reading = read("<0.00>" + " la la la la" * 30 + "<20.00>", 20.0)
    assert not reading.sound


def test_where_the_model_says_that_more_follows_the_rest_is_to_be_read() -> None:
    """Whisper's own loop goes on from there; so must we, or the end of long utterances is lost."""
    assert read("<0.00> and said to him,<15.80><15.80>", 17.3)[1].unread_from == pytest.approx(15.8)
    assert read("<0.00> and said to him,<15.80>", 17.3)[1].unread_from is None
    assert read("<0.00> and said to him,<15.80><15.80>", 16.1)[1].unread_from is None


def test_nothing_written_is_nothing_said() -> None:
    for written in ("", "<0.00>", "<0.00><30.00>"):
        text, reading = read(written, 2.0)
        assert text == ""
        assert reading.sound


def test_other_special_tokens_are_no_text() -> None:
    speller = Speller()
    tokens = [*speller.tokens("<0.00> so"), EOT + 5, *speller.tokens(" it is<1.00>")]
    assert speller.text(guards.read(tokens, speller.symbols, audio_s=1.0, finished=True).tokens) == " so it is"


def test_nothing_but_marks_is_nothing_said_over_and_over() -> None:
    text, reading = read("<0.00> ... ... ... ... ...", 2.0, finished=False)
    assert text == ""
    assert not reading.sound


def test_text_that_begins_behind_the_audio_is_not_read() -> None:
    assert read("<3.00> you", 2.0)[0] == ""


def test_longer_windows_may_have_more_tokens() -> None:
    assert guards.cap(1.0) < guards.cap(10.0) <= 224


def test_silence_must_be_argued_away_by_sure_text() -> None:
    assert guards.is_speech(0.05, -0.4, [0.2], 0.8)
    assert guards.is_speech(0.05, -1.5, [0.2], 0.8)
    assert guards.is_speech(0.7, -0.3, [0.2], 0.8)
    assert not guards.is_speech(0.7, -0.9, [0.9], 0.8)
    assert not guards.is_speech(0.05, -2.3, [0.9], 0.8)
    assert not guards.is_speech(0.97, -0.5, [0.9], 0.8)


def test_where_nobody_seems_to_speak_words_must_be_likely_by_themselves() -> None:
    """Of one word in a cry most tokens are timestamps, of which the model is sure."""
    assert not guards.is_speech(0.85, -0.3, [0.04], 0.8)
    assert guards.is_speech(0.85, -0.3, [0.9, 0.4], 0.8)
    assert guards.is_speech(0.85, -0.3, [], 0.8)


def test_a_clear_voice_makes_the_models_silence_count_half() -> None:
    """Of a word alone a model often says that nobody speaks; voice activity heard many frames of it."""
    assert guards.is_speech(0.75, -1.1, [0.3], 0.95)
    assert not guards.is_speech(0.75, -1.1, [0.3], 0.8)
    assert not guards.is_speech(0.75, -1.6, [0.3], 0.95)


def test_a_word_or_two_in_a_voice_that_is_not_clear_must_be_likely_each() -> None:
    """A sneeze is heard as "Thank you!", and voice activity takes it for somebody; what one says in short is surer."""
    assert not guards.is_speech(0.35, -0.99, [0.46, 0.64], 0.86)
    assert guards.is_speech(0.5, -1.05, [0.58], 0.88)
    assert guards.is_speech(0.35, -0.99, [0.46, 0.64], 0.95)
    assert guards.is_speech(0.35, -0.7, [0.46, 0.64], 0.86)
    assert guards.is_speech(0.35, -0.99, [0.46, 0.64, 0.7], 0.86)
    assert guards.is_speech(0.15, -0.99, [0.46, 0.64], 0.86)


def test_words_without_any_time_that_were_said_before_were_not_said_again() -> None:
    """A model that goes on with digits behind the audio has no audio left to align them with."""
    digits = ["5,", "5,", "6,", "1,", "5,", "6,", "1"]
    times = [(0.0, 0.4), (0.4, 0.9), (0.9, 1.5), (1.5, 1.8), (1.8, 1.8), (1.8, 1.8), (1.8, 1.8)]

    assert guards.spoken(digits, times) == 4
    assert guards.spoken(digits[:6], times[:6]) == 6  # two may be the model's haste at the end
    assert guards.spoken([*digits[:6], "7"], times) == 7  # nobody said it before
    assert guards.spoken(digits[:4], times[:4]) == 4
    assert guards.spoken([], []) == 0
    assert guards.spoken(digits[:3], times[4:]) == 3


def test_a_digit_that_is_said_over_and_over_takes_its_time_and_stays() -> None:
    """Numbers hold the same digit three times in a row."""
    assert guards.spoken(["5", "5", "5", "5"], [(0.0, 0.3), (0.3, 0.6), (0.6, 0.9), (0.9, 1.2)]) == 4


def test_text_of_nothing_but_hotwords_may_be_a_leak() -> None:
    hotwords = ("Trunkline", "pound key")
    assert guards.is_leak(" Trunkline, the".replace(", the", "."), hotwords)
    assert guards.is_leak(" pound key trunkline", hotwords)
    assert not guards.is_leak(" press the pound key", hotwords)
    assert not guards.is_leak(" ...", hotwords)


def test_words_share_their_segment_by_length() -> None:
    assert guards.spread(["a", "bbb"], 1.0, 3.0) == [(1.0, 1.5), (1.5, 3.0)]
    assert guards.spread([], 1.0, 3.0) == []
