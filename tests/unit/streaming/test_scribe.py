"""What one channel writes: numbers, revisions, positions and times."""

from __future__ import annotations

from streaming.call import AudioFormat, CallSpec, Encoding
from streaming.decoding import Hypothesis, Word
from streaming.records import (
    FINAL_LOST,
    EndReason,
    Final,
    Finalized,
    Partial,
    Progress,
    QualityChanged,
    SpeechEnded,
    SpeechStarted,
    UtteranceEnded,
)
from streaming.reducer import ChannelProgress
from streaming.scribe import PROGRESS_SAMPLES, Scribe, Stretch

SECOND = 16_000


def scribe(progress: ChannelProgress | None = None, utterance_end_ms: int | None = None) -> Scribe:
    audio = AudioFormat(Encoding.MULAW, 8_000)
    spec = CallSpec("call-1", "tenant", audio, ("customer",), utterance_end_ms=utterance_end_ms)
    return Scribe(0, spec, 7, progress or ChannelProgress(), pin_language_from=0.5)


def heard(*texts: str, confidence: float = 0.9) -> Hypothesis:
    words = tuple(Word(text, at / 2, at / 2 + 0.4, 0.8) for at, text in enumerate(texts))
    return Hypothesis(words, "en", confidence, 0.1, "tiny", aligned=True)


def stretch(start_s: int, end_s: int) -> Stretch:
    return Stretch(start_s * SECOND, end_s * SECOND, end_s * SECOND - 3_200)


def test_words_are_timed_from_the_start_of_the_call_and_never_beyond_their_window() -> None:
    """A model sometimes puts the last word behind the audio it was given."""
    (final,) = scribe().conclude(heard("one", "two", "three"), stretch(10, 11), EndReason.ENDPOINT, 0.3)

    assert isinstance(final, Final)
    assert [(word.start, word.end) for word in final.words] == [(10.0, 10.4), (10.5, 10.9), (11.0, 11.0)]
    assert (final.epoch, final.call, final.channel, final.number) == (7, "call-1", 0, 0)
    assert (final.from_sample, final.to_sample, final.speech_end) == (0, 11 * SECOND, 10.8)
    assert (final.reason, final.latency_s, final.model) == (EndReason.ENDPOINT, 0.3, "tiny")


def test_finals_number_on_and_continue_one_another() -> None:
    writer = scribe(ChannelProgress(next_number=4, done_to=2 * SECOND, context="before"))
    assert writer.context == "before"

    first = writer.conclude(heard("one"), stretch(3, 4), EndReason.CUT, 0.1)[0]
    second = writer.conclude(heard("two"), stretch(6, 7), EndReason.ENDPOINT, 0.1)[0]

    assert isinstance(first, Final)
    assert isinstance(second, Final)
    assert (first.number, first.from_sample, first.to_sample) == (4, 2 * SECOND, 4 * SECOND)
    assert (second.number, second.from_sample, second.to_sample) == (5, 4 * SECOND, 7 * SECOND)
    assert writer.context == "two"


def partial_of(writer: Scribe, *texts: str, show: bool = True) -> list[Partial]:
    return writer.partial(heard(*texts), SECOND, 3 * SECOND, show=show)


def test_partials_revise_one_number_and_the_next_final_starts_anew() -> None:
    writer = scribe()
    shown = partial_of(writer, "one") + partial_of(writer, "one", "two")
    writer.conclude(heard("one", "two"), stretch(1, 3), EndReason.ENDPOINT, 0.1)
    writer.open_utterance()
    shown += partial_of(writer, "three")

    assert [(partial.number, partial.revision, partial.stable) for partial in shown] == [
        (0, 0, 0),
        (0, 1, 1),
        (1, 0, 0),
    ]
    assert (shown[0].start, shown[0].end) == (1.0, 3.0)


def test_a_partial_that_may_not_be_seen_yet_still_makes_its_words_stable() -> None:
    """Earlier speech is not final yet; when it is, what two hypotheses agreed on is known."""
    writer = scribe()

    assert partial_of(writer, "one", show=False) == []
    assert [partial.stable for partial in partial_of(writer, "one", "two")] == [1]


def test_a_partial_without_words_is_not_shown() -> None:
    assert partial_of(scribe()) == []


def test_a_final_without_words_is_progress_and_withdraws_what_was_shown() -> None:
    """Number 0 stays free for the next words; readers must not keep text that no final will confirm."""
    writer = scribe()
    partial_of(writer, "one")

    progress, blank = writer.conclude(heard(), stretch(1, 3), EndReason.ENDPOINT, 0.1)
    (again,) = writer.conclude(heard(), stretch(4, 5), EndReason.ENDPOINT, 0.1)

    assert progress == Progress(7, "call-1", 0, 0, 3 * SECOND)
    assert isinstance(blank, Partial)
    assert (blank.number, blank.revision, blank.words, blank.stable) == (0, 1, (), 0)
    assert again == Progress(7, "call-1", 0, 3 * SECOND, 5 * SECOND)


def test_only_a_sure_language_of_a_final_with_words_is_kept_and_only_the_first() -> None:
    writer = scribe()
    writer.conclude(heard(), stretch(0, 1), EndReason.ENDPOINT, 0.1)
    assert writer.language is None
    writer.conclude(heard("one", confidence=0.4), stretch(1, 2), EndReason.ENDPOINT, 0.1)
    assert writer.language is None

    writer.conclude(heard("two"), stretch(2, 3), EndReason.ENDPOINT, 0.1)
    assert writer.language == "en"


def test_silence_is_written_off_in_steps_of_ten_seconds() -> None:
    writer = scribe()

    assert writer.silence(PROGRESS_SAMPLES - 1, PROGRESS_SAMPLES) == []
    assert writer.silence(PROGRESS_SAMPLES, PROGRESS_SAMPLES) == [Progress(7, "call-1", 0, 0, PROGRESS_SAMPLES)]
    assert writer.silence(PROGRESS_SAMPLES + 1, PROGRESS_SAMPLES + 1) == []
    assert writer.done_to == PROGRESS_SAMPLES


def test_the_end_of_an_utterance_is_reported_once_and_only_after_words() -> None:
    """Bots answer on it: it must come, and come once."""
    writer = scribe(utterance_end_ms=1_000)
    assert writer.silence(0, 5 * SECOND) == []
    writer.conclude(heard("one"), stretch(5, 6), EndReason.ENDPOINT, 0.1)

    assert writer.silence(0, int(6.3 * SECOND)) == []
    assert writer.silence(0, int(6.4 * SECOND)) == [UtteranceEnded(7, "call-1", 0, 5.4)]
    assert writer.silence(0, 8 * SECOND) == []


def test_who_did_not_ask_for_it_hears_of_no_utterances_end() -> None:
    writer = scribe()
    writer.conclude(heard("one"), stretch(5, 6), EndReason.ENDPOINT, 0.1)

    assert writer.silence(0, 9 * SECOND) == []


def test_speech_and_requests_are_reported_on_the_calls_clock() -> None:
    writer = scribe()

    assert writer.speech_started(8_000) == SpeechStarted(7, "call-1", 0, 0.5)
    assert writer.speech_ended(24_000) == SpeechEnded(7, "call-1", 0, 1.5)
    assert writer.finalized("m") == Finalized(7, "call-1", 0, "m")


def test_text_that_no_model_could_write_is_told_beside_the_progress() -> None:
    """The caller must be able to tell that nothing was said from that nothing could be understood."""
    writer = scribe()

    written = writer.conclude(Hypothesis((), "", 0.0, 1.0, "", aligned=False), stretch(5, 6), EndReason.ENDPOINT, 0.1)

    assert written == [Progress(7, "call-1", 0, 0, 6 * SECOND), QualityChanged(7, "call-1", "", FINAL_LOST)]
    assert writer.done_to == 6 * SECOND
