"""A single side: what is owed, when it is idle, and answers nobody waits for."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from streaming.audio import codes_of
from streaming.call import AudioFormat, CallSpec, Encoding
from streaming.channel import FINAL_TRIES, Channel, ChannelSettings
from streaming.decoding import Hypothesis, Kind
from streaming.effects import Decode, Effect, Publish, ScoreSpeech
from streaming.ladder import Rung
from streaming.records import (
    FINAL_LOST,
    UNTIMED,
    Final,
    Finalized,
    OutRecord,
    Partial,
    Progress,
    QualityChanged,
)
from streaming.reducer import ChannelProgress
from tests.support.conversation import settings_for_tests
from tests.support.scene import Scene, Turn

NOTHING = Hypothesis((), "en", 1.0, 1.0, "scripted", aligned=True)


class Side:
    """A channel that hears one scene; its answers are given by hand."""

    def __init__(
        self, scene: Scene, progress: ChannelProgress | None = None, settings: ChannelSettings | None = None
    ) -> None:
        spec = CallSpec("call-1", "tenant", AudioFormat(Encoding.L16, 8_000), ("customer",))
        self.scene = scene
        self.channel = Channel(
            0,
            spec,
            settings=settings or settings_for_tests(),
            progress=progress or ChannelProgress(),
            epoch=0,
            next_request=itertools.count().__next__,
        )
        self.asked: list[Decode] = []
        self.records: list[OutRecord | Partial] = []
        self._scored = 0

    def hear_all(self) -> None:
        self.hear(0.0, self.scene.seconds)

    def hear(self, start_s: float, end_s: float) -> None:
        """Hear a part of the scene; parts come in order."""
        heard = codes_of(self.scene.payload, Encoding.L16)[round(8_000 * start_s) : round(8_000 * end_s)]
        self.took(self.channel.hear(heard, UNTIMED, now=1.0))

    def took(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case ScoreSpeech(_, frames):
                    scores = [self.scene.probability(self._scored + index) for index in range(len(frames))]
                    self._scored += len(frames)
                    self.took(self.channel.judge(np.array(scores, np.float32), now=1.0))
                case Decode():
                    self.asked.append(effect)
                case Publish(record):
                    self.records.append(record)

    def of_kind(self, kind: Kind) -> Decode:
        """The newest window of a kind."""
        return next(asked for asked in reversed(self.asked) if asked.window.kind is kind)


def test_a_channel_is_idle_before_anything_is_heard_and_after_everything_is_out() -> None:
    """A call closes when all its channels are."""
    side = Side(Scene([Turn(0.5, 3)], seconds=4.0))
    assert side.channel.idle

    side.hear_all()
    assert not side.channel.idle
    final = side.of_kind(Kind.FINAL)
    side.took(side.channel.answer(final.request, side.scene.hear(final.window), now=2.0))

    assert side.channel.idle
    assert isinstance(side.records[-1], Final)


def test_a_channel_that_waits_for_voice_activity_is_not_idle() -> None:
    side = Side(Scene([], seconds=1.0))

    side.channel.hear(np.zeros((8_000, 2), np.uint8), UNTIMED, now=1.0)

    assert not side.channel.idle


def test_answers_and_failures_nobody_waits_for_are_ignored() -> None:
    """A partial of speech that is over, or a window of another time."""
    side = Side(Scene([Turn(0.5, 3)], seconds=4.0))
    side.hear_all()

    assert side.channel.answer(999, NOTHING, now=2.0) == []
    assert side.channel.fail(999, now=2.0) == []


def test_a_final_that_fails_for_good_without_a_partial_leaves_progress() -> None:
    """Nothing was heard of it; what comes later must not wait."""
    side = Side(Scene([Turn(0.5, 3)], seconds=4.0))
    side.hear_all()

    for tried in range(1, FINAL_TRIES + 1):
        side.took(side.channel.fail(side.of_kind(Kind.FINAL).request, now=1.0 + tried))

    assert sum(asked.window.kind is Kind.FINAL for asked in side.asked) == FINAL_TRIES
    assert isinstance(side.records[-2], Progress)
    assert isinstance(side.records[-1], QualityChanged)
    assert side.records[-1].reason == FINAL_LOST
    assert side.channel.idle


def test_a_guess_that_fails_for_good_is_asked_for_again_at_the_endpoint() -> None:
    """The guess was only early; the utterance has a right to its own tries."""
    side = Side(Scene([Turn(0.5, 3)], seconds=1.85))
    side.hear_all()
    for tried in range(FINAL_TRIES):
        side.took(side.channel.fail(side.of_kind(Kind.FINAL).request, now=1.0 + tried))
    assert len({asked.request for asked in side.asked if asked.window.kind is Kind.FINAL}) == FINAL_TRIES

    side.took(side.channel.end(now=6.0))
    final = side.of_kind(Kind.FINAL)
    side.took(side.channel.answer(final.request, side.scene.hear(final.window), now=6.0))

    assert sum(asked.window.kind is Kind.FINAL for asked in side.asked) == FINAL_TRIES + 1
    assert [
        word.text for record in side.records if isinstance(record, Final) for word in record.words
    ] == side.scene.text


def test_a_partial_that_failed_is_followed_by_the_next_at_its_time() -> None:
    side = Side(Scene([Turn(0.5, 2)], seconds=1.3))
    side.hear_all()
    (partial,) = side.asked

    assert side.channel.fail(partial.request, now=2.0) == []
    assert side.channel.answer(partial.request, side.scene.hear(partial.window), now=2.0) == []


def test_requests_are_answered_in_order_each_behind_its_own_finals() -> None:
    side = Side(Scene([Turn(0.5, 3)], seconds=1.5))
    side.hear_all()
    side.took(side.channel.finalize("first", now=2.0))
    side.took(side.channel.finalize("second", now=2.0))
    assert not any(isinstance(record, Finalized) for record in side.records)

    final = side.of_kind(Kind.FINAL)
    side.took(side.channel.answer(final.request, side.scene.hear(final.window), now=3.0))

    assert [type(record) for record in side.records[-3:]] == [Final, Finalized, Finalized]
    assert [record.marker for record in side.records if isinstance(record, Finalized)] == ["first", "second"]


def test_replayed_audio_that_is_final_already_is_not_decoded_again() -> None:
    """A new owner hears the call from its start, and pays only for what is not final."""
    side = Side(Scene([Turn(0.5, 3), Turn(4.0, 2)]), ChannelProgress(next_number=1, done_to=3 * 16_000))

    side.hear_all()

    assert len(side.asked) == 1
    assert [word.text for word in side.scene.hear(side.asked[0].window).words] == ["w3", "w4"]


def test_a_final_is_decoded_behind_the_speech_before_it_and_writes_only_its_own_words() -> None:
    """A fragment is understood better behind what led to it; what was written before is not written again."""
    side = Side(Scene([Turn(0.5, 3), Turn(2.2, 2)], seconds=5.0))
    side.hear_all()
    first, second = (asked for asked in side.asked if asked.window.kind is Kind.FINAL)
    for asked in (first, second):
        side.took(side.channel.answer(asked.request, side.scene.hear(asked.window), now=2.0))

    finals = [record for record in side.records if isinstance(record, Final)]
    heard_again = side.scene.hear(second.window).words
    assert len(heard_again) == len(finals[0].words) + len(finals[1].words)
    assert [word.text for word in heard_again] == [word.text for final in finals for word in final.words]
    assert finals[1].words[0].start * 16_000 >= finals[0].to_sample


def test_a_word_said_last_before_a_pause_and_first_behind_it_is_written_twice() -> None:
    """ "Yes." "Yes, please.": the second yes is no echo of the first."""
    side = Side(Scene([Turn(0.5, 3), Turn(2.05, 2)], seconds=5.0))
    side.hear_all()
    for asked in [asked for asked in side.asked if asked.window.kind is Kind.FINAL]:
        heard = side.scene.hear(asked.window)
        words = tuple(replace(word, text="yes") if word.text in ("w2", "w3") else word for word in heard.words)
        side.took(side.channel.answer(asked.request, replace(heard, words=words), now=2.0))

    finals = [[word.text for word in record.words] for record in side.records if isinstance(record, Final)]
    assert finals == [["w0", "w1", "yes"], ["yes", "w4"]]


def test_the_last_word_before_a_pause_heard_once_more_in_it_is_not_written_again() -> None:
    """The window begins before the speaker does, and nobody speaks there."""
    side = Side(Scene([Turn(0.5, 3), Turn(2.05, 2)], seconds=5.0))
    side.hear_all()
    first, second = (asked for asked in side.asked if asked.window.kind is Kind.FINAL)
    side.took(side.channel.answer(first.request, side.scene.hear(first.window), now=2.0))
    heard = side.scene.hear(second.window)
    onset_s = heard.words[3].start
    late = replace(heard.words[2], start=onset_s - 0.15, end=onset_s)
    words = (*heard.words[:2], late, *heard.words[3:])
    side.took(side.channel.answer(second.request, replace(heard, words=words), now=3.0))

    finals = [[word.text for word in record.words] for record in side.records if isinstance(record, Final)]
    assert finals == [["w0", "w1", "w2"], ["w3", "w4"]]


def test_a_word_heard_once_where_speech_was_broken_by_a_request_is_written_once() -> None:
    """What goes on behind a request in mid-speech has no onset: its first word may be the last of what went before."""
    side = Side(Scene([Turn(0.5, 6)], seconds=5.0))
    side.hear(0.0, 1.7)
    side.took(side.channel.finalize("now", now=1.0))
    side.hear(1.7, 5.0)
    first, second = (asked for asked in side.asked if asked.window.kind is Kind.FINAL)
    side.took(side.channel.answer(first.request, side.scene.hear(first.window), now=2.0))
    (final,) = (record for record in side.records if isinstance(record, Final))
    cut_s, heard = final.to_sample / 16_000, side.scene.hear(second.window)
    began_s = 5.0 if not heard.words else side.scene.words[0].start - heard.words[0].start
    late = replace(final.words[-1], start=cut_s - began_s + 0.1, end=cut_s - began_s + 0.3)
    known = [word.text for word in final.words[:-1]]
    words = (*(word for word in heard.words if word.text in known), late)
    side.took(side.channel.answer(second.request, replace(heard, words=words), now=3.0))

    again = [asked for asked in side.asked if asked.window.kind is Kind.FINAL]
    assert len(again) == 3  # nothing was its own, so it is asked for alone
    assert again[-1].window.seconds < second.window.seconds


def test_a_final_begun_too_early_shows_only_its_own_words_as_a_partial() -> None:
    """The speaker went on; what was begun as a final, behind earlier speech, still tells what was said so far."""
    side = Side(Scene([Turn(0.5, 3), Turn(2.2, 2), Turn(3.14, 2)], seconds=6.0))
    side.hear_all()
    first, guess, _ = (asked for asked in side.asked if asked.window.kind is Kind.FINAL)
    resumed = Side(Scene([Turn(0.5, 3), Turn(2.2, 2), Turn(3.14, 2)], seconds=3.5))
    resumed.hear_all()
    resumed.took(resumed.channel.answer(first.request, side.scene.hear(first.window), now=2.0))
    resumed.took(resumed.channel.answer(guess.request, side.scene.hear(guess.window), now=3.5))

    shown = resumed.records[-1]
    assert isinstance(shown, Partial)
    assert [word.text for word in shown.words] == ["w3", "w4"]


def test_a_final_of_which_only_its_lead_came_back_is_asked_for_alone() -> None:
    """A model may take a word behind earlier speech for a part of it; it must not be lost for that."""
    side = Side(Scene([Turn(0.5, 3), Turn(2.2, 2)], seconds=5.0))
    side.hear_all()
    first, second = (asked for asked in side.asked if asked.window.kind is Kind.FINAL)
    side.took(side.channel.answer(first.request, side.scene.hear(first.window), now=2.0))
    only_lead = side.scene.hear(first.window)
    side.took(side.channel.answer(second.request, only_lead, now=2.0))

    alone = side.asked[-1]
    assert alone.window.seconds < second.window.seconds
    side.took(side.channel.answer(alone.request, side.scene.hear(alone.window), now=2.0))
    finals = [record for record in side.records if isinstance(record, Final)]
    assert [word.text for final in finals for word in final.words] == ["w0", "w1", "w2", "w3", "w4"]


def test_an_utterance_that_is_never_surely_speech_is_not_decoded() -> None:
    """Cries and ticks pass for a weak voice."""
    side = Side(Scene([Turn(0.5, 3)], seconds=4.0))
    weak = np.array([0.7 if 16 <= frame < 50 else 0.05 for frame in range(124)], np.float32)
    side.channel.hear(codes_of(side.scene.payload, Encoding.L16), UNTIMED, now=1.0)
    side.took(side.channel.judge(weak, now=1.0))

    assert not side.asked


@pytest.mark.parametrize(("mark", "ended"), [(".", True), ("", False), ("...", False)])
def test_a_pause_ends_an_utterance_sooner_where_its_text_ends_as_a_sentence(mark: str, ended: bool) -> None:
    """Who stops in the middle of a sentence goes on, mostly; whoever has finished one waits for an answer."""
    settings = settings_for_tests()
    settings = replace(settings, endpoint=replace(settings.endpoint, unfinished_ms=800))
    side = Side(Scene([Turn(0.5, 3)], seconds=2.2), settings=settings)  # 0.58 s of silence: more than 384 ms
    side.hear_all()
    guess = side.of_kind(Kind.FINAL)
    heard = side.scene.hear(guess.window)
    words = (*heard.words[:-1], replace(heard.words[-1], text=heard.words[-1].text + mark))
    side.took(side.channel.answer(guess.request, replace(heard, words=words), now=2.2))

    assert isinstance(side.records[-1], Final) is ended


def test_speech_before_a_long_pause_is_another_matter_and_does_not_lead() -> None:
    """What was said before a silence says little about what comes after it, and costs time."""
    side = Side(Scene([Turn(0.5, 3), Turn(5.0, 2)], seconds=8.0))
    side.hear_all()
    first, second = (asked for asked in side.asked if asked.window.kind is Kind.FINAL)

    assert second.window.seconds < first.window.seconds


def test_earlier_speech_leads_only_as_far_as_a_window_may_reach() -> None:
    """However long somebody speaks with short pauses, a window costs no more than the longest one allowed."""
    turns = [Turn(0.5 + 1.9 * number, 3) for number in range(12)]
    side = Side(Scene(turns, seconds=25.0))
    side.hear_all()

    finals = [asked.window.seconds for asked in side.asked if asked.window.kind is Kind.FINAL]
    assert len(finals) == len(turns)
    assert max(finals[-6:]) > min(finals)
    assert max(finals) <= 8.0 + 2.0


def test_in_a_hurry_a_final_is_decoded_greedily_and_alone() -> None:
    """Care costs time; under load there is none."""
    side = Side(Scene([Turn(0.5, 3), Turn(2.2, 2)], seconds=5.0))
    careful = Side(Scene([Turn(0.5, 3), Turn(2.2, 2)], seconds=5.0))
    side.channel.pace(Rung("m", "m", beam=1, lead_s=0.0))
    side.hear_all()
    careful.hear_all()

    assert side.of_kind(Kind.FINAL).window.beam == 1
    assert careful.of_kind(Kind.FINAL).window.beam > 1
    alone, led = side.of_kind(Kind.FINAL), careful.of_kind(Kind.FINAL)
    assert alone.window.seconds < led.window.seconds
    assert alone.lead_s == 0.0
    assert led.window.seconds - led.lead_s == pytest.approx(alone.window.seconds, abs=0.02), "what load is counted by"


def test_what_was_heard_last_is_the_draft_of_the_next_window_of_the_utterance_only() -> None:
    """An engine may check what it wrote before instead of writing it again, but only where the same speech leads."""
    side = Side(Scene([Turn(0.5, 3), Turn(3.5, 2)], seconds=6.0))
    side.channel.pace(Rung("m", "m", beam=1, lead_s=0.0))  # no lead in front of the second final

    side.hear(0.0, 1.5)
    first = side.of_kind(Kind.PARTIAL)
    side.took(side.channel.answer(first.request, replace(NOTHING, tokens=(1, 2)), now=1.5))
    side.hear(1.5, 3.0)
    final = side.of_kind(Kind.FINAL)
    side.took(side.channel.answer(final.request, replace(side.scene.hear(final.window), tokens=(1, 2, 3)), now=3.0))
    side.hear(3.0, 6.0)

    assert first.window.draft == ()
    assert final.window.draft == (1, 2)
    assert [asked.window.draft for asked in side.asked if asked.request > final.request] == [()]


def test_a_window_behind_a_lead_has_no_draft() -> None:
    """The model would write the words of the lead first."""
    side = Side(Scene([Turn(0.5, 3), Turn(2.5, 3)], seconds=6.0))

    side.hear(0.0, 2.4)
    first = side.of_kind(Kind.FINAL)
    side.took(side.channel.answer(first.request, side.scene.hear(first.window), now=2.4))
    side.hear(2.4, 3.5)
    partial = side.of_kind(Kind.PARTIAL)
    side.took(side.channel.answer(partial.request, replace(NOTHING, tokens=(1, 2)), now=3.5))
    side.hear(3.5, 6.0)
    final = side.of_kind(Kind.FINAL)

    assert final.window.seconds > partial.window.seconds + 1.0
    assert final.window.draft == ()
