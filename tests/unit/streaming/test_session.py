"""A whole call on a virtual clock, with a model that hears exactly what was said; no model, no waiting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.agreement import normalise
from streaming.call import SAMPLE_RATE, AudioFormat, CallSpec, Encoding
from streaming.decoding import Audio, Hypothesis, Kind, Window, Word
from streaming.effects import Decode
from streaming.endpoint import FRAME_SAMPLES
from streaming.errors import BadAudio, BadMessage, InvalidTransition
from streaming.ladder import Rung
from streaming.records import (
    AudioChunk,
    CallClosed,
    CallEnded,
    CallResumed,
    Dtmf,
    DtmfReceived,
    EndReason,
    Finalized,
    FinalizeRequested,
    OutRecord,
    Partial,
    PauseChanged,
    Paused,
    Progress,
    QualityChanged,
    Resumed,
    SpeechEnded,
    SpeechStarted,
    UtteranceEnded,
)
from streaming.records import Final as FinalRecord
from streaming.session import (
    TRANSITIONS,
    Decoded,
    DecodeFailed,
    Event,
    Paced,
    Rested,
    Served,
    Session,
    SpeechScored,
    State,
)
from streaming.utterance import WindowSettings
from tests.support.conversation import (
    AT_ONCE,
    CALL,
    EPOCH,
    Conversation,
    Fate,
    Outcome,
    settings_for_tests,
    spec_for,
)
from tests.support.scene import Scene, Turn, turns_of

SHORT_WINDOWS: Final = replace(settings_for_tests(), windows=WindowSettings(longest_s=4.0, cut_search_s=2.0))
"""Utterances are cut after 4 s, so that short tests see cuts."""


def check_promises(talk: Conversation) -> None:
    """What holds for every call, whatever happened to it."""
    for channel in range(talk.spec.sides):
        check_finals(talk, channel)
        check_partials(talk, channel)
    assert isinstance(talk.records[-1], CallClosed)
    assert len(talk.of_kind(CallClosed)) == 1


def check_finals(talk: Conversation, channel: int) -> None:
    finals = talk.finals(channel)
    assert [final.number for final in finals] == list(range(len(finals)))
    done = [record for record in talk.records if isinstance(record, FinalRecord | Progress)]
    done = [record for record in done if record.channel == channel]
    assert all(before.to_sample == after.from_sample for before, after in pairwise(done))
    for final in finals:
        assert all(before.end <= after.start for before, after in pairwise(final.words))
        assert final.words[-1].end <= final.to_sample / SAMPLE_RATE
        assert final.latency_s >= 0
        heard = talk.scenes[channel].heard_between(final.from_sample / SAMPLE_RATE, final.to_sample / SAMPLE_RATE)
        assert [word.text.rstrip("-") for word in final.words] == heard


def check_partials(talk: Conversation, channel: int) -> None:
    done_to = 0.0
    before: Partial | None = None
    for record in talk.records:
        if isinstance(record, FinalRecord) and record.channel == channel:
            done_to = record.to_sample / SAMPLE_RATE
        if not isinstance(record, Partial) or record.channel != channel:
            continue
        assert record.start >= done_to, "a partial is of speech that is not final yet"
        if before is not None and before.number == record.number:
            assert record.revision == before.revision + 1
            assert record.end >= before.end, "a partial never goes back"
            assert record.words[: before.stable] == before.words[: before.stable], "stable words do not change"
            assert record.stable >= before.stable
        else:
            assert record.revision == 0
        before = record


Talk = list[tuple[float, int]]
"""Pauses in seconds, and the words said after each."""

talks = st.lists(st.tuples(st.floats(0.05, 1.2), st.integers(1, 12)), min_size=1, max_size=3)
chunkings = st.lists(st.floats(0.04, 1.5), min_size=1, max_size=6)


class Fates:
    """Fates from a list, round and round; no window fails so often that it is given up."""

    def __init__(self, fates: list[Fate]) -> None:
        self._fates = fates
        self._count = 0
        self._failed: dict[int, int] = {}

    def __call__(self, asked: Decode) -> Fate:
        fate = self._fates[self._count % len(self._fates)]
        self._count += 1
        if fate.outcome is Outcome.LOST and asked.window.kind is Kind.FINAL:
            return Fate(Outcome.ANSWERED, fate.delay_s)
        if fate.outcome is Outcome.FAILED:
            times = self._failed[id(asked.window)] = self._failed.get(id(asked.window), 0) + 1
            return fate if times < 3 else Fate(Outcome.ANSWERED, fate.delay_s)
        return fate


fates = st.lists(st.builds(Fate, st.sampled_from(Outcome), st.floats(0, 4)), min_size=1, max_size=8).map(Fates)


# --- the promises, whatever happens ----------------------------------------------------------------------------------


@given(talk=talks, chunks_s=chunkings, fate=fates, score_delay_s=st.floats(0, 0.5))
@settings(max_examples=25)
def test_every_word_is_in_exactly_one_final_whatever_becomes_of_the_answers(
    talk: Talk, chunks_s: list[float], fate: Fates, score_delay_s: float
) -> None:
    """Delayed, reordered, failed and lost answers, and any chunks: the transcript is the same."""
    scene = Scene(turns_of(talk))

    call = Conversation(scene, settings=SHORT_WINDOWS, fate=fate, score_delay_s=score_delay_s)
    call.listen(chunks_s=chunks_s).hang_up()

    assert call.text() == scene.text
    check_promises(call)


@given(talk=talks, fate=fates, asked_at=st.lists(st.floats(0.1, 10), min_size=1, max_size=4))
@settings(max_examples=25)
def test_finalize_requests_at_any_moment_lose_and_repeat_nothing(
    talk: Talk, fate: Fates, asked_at: list[float]
) -> None:
    """Asking in the middle of a word, of a pause, or while finals are owed moves borders, never words."""
    scene = Scene(turns_of(talk))
    call = Conversation(scene, settings=SHORT_WINDOWS, fate=fate)

    asked = sorted(moment for moment in asked_at if moment < scene.seconds)
    for moment in asked:
        call.listen(moment).finalize()
    call.listen().hang_up()

    assert [word.rstrip("-") for word in call.text()] == scene.text
    assert len(call.of_kind(Finalized)) == len(asked)
    check_promises(call)


@given(talk=talks, chunks_s=chunkings)
@settings(max_examples=12)
def test_finals_do_not_depend_on_the_chunks(talk: Talk, chunks_s: list[float]) -> None:
    """Streaming equals batch: one chunk for the whole call gives the same finals, within the front end's lookahead."""
    scene = Scene(turns_of(talk))

    at_once = Conversation(scene, settings=SHORT_WINDOWS).listen(chunks_s=[scene.seconds]).hang_up()
    in_chunks = Conversation(scene, settings=SHORT_WINDOWS).listen(chunks_s=chunks_s).hang_up()

    assert [(f.number, f.words, f.reason, f.speech_end) for f in at_once.finals()] == [
        (f.number, f.words, f.reason, f.speech_end) for f in in_chunks.finals()
    ]
    for batch, streamed in zip(at_once.finals(), in_chunks.finals(), strict=True):
        assert abs(batch.to_sample - streamed.to_sample) <= FRAME_SAMPLES
    check_promises(in_chunks)


@given(talks=st.tuples(talks, talks), fate=fates)
@settings(max_examples=12)
def test_the_sides_of_a_call_are_apart(
    talks: tuple[list[tuple[float, int]], list[tuple[float, int]]], fate: Fates
) -> None:
    """Each side has its own words, numbers and order, also where both speak at once."""
    customer, agent = Scene(turns_of(talks[0]), name="c"), Scene(turns_of(talks[1]), name="a")

    call = Conversation(customer, agent, fate=fate, settings=SHORT_WINDOWS).listen().hang_up()

    assert call.text(0) == customer.text
    assert call.text(1) == agent.text
    check_promises(call)


@given(talk=talks, stopped_at=st.floats(0.5, 8))
@settings(max_examples=12)
def test_a_call_replayed_by_a_new_owner_goes_on_where_it_was_final(talk: Talk, stopped_at: float) -> None:
    """The former owner's finals stand; the rest is heard again, under the next numbers, and nothing twice."""
    scene = Scene(turns_of(talk))
    former = Conversation(scene, settings=SHORT_WINDOWS).listen(min(stopped_at, scene.seconds))
    numbers = len(former.finals())

    successor = Conversation(scene, settings=SHORT_WINDOWS, reducer=former.reducer).listen().hang_up()

    assert former.text() + successor.text() == scene.text
    assert [final.number for final in successor.finals()] == list(range(numbers, numbers + len(successor.finals())))


# --- one utterance ---------------------------------------------------------------------------------------------------


def test_speech_is_reported_as_it_starts_shown_as_it_goes_on_and_final_when_it_ends() -> None:
    """The order a reader relies on."""
    call = Conversation(Scene([Turn(1.0, 3)], seconds=4.0)).listen()

    kinds = [type(record) for record in call.records if not isinstance(record, Partial)]

    assert kinds == [SpeechStarted, SpeechEnded, FinalRecord]
    assert [len(partial.words) for partial in call.partials()] == [1, 3]
    assert call.finals()[0].reason is EndReason.ENDPOINT


def test_the_first_partial_comes_after_four_tenths_of_a_second_of_speech_and_the_next_a_second_later() -> None:
    """The cadence decides both what people see and what the devices pay."""
    call = Conversation(Scene([Turn(1.0, 12)])).listen()

    moments = call.moments(Partial)

    assert moments[0] == pytest.approx(1.4, abs=0.05)
    assert moments[1] - moments[0] == pytest.approx(1.0, abs=0.05)


def test_a_slower_pace_makes_partials_rarer() -> None:
    """Under load the partials give first."""
    call = Conversation(Scene([Turn(1.0, 12)]))
    call.tell(Paced(Rung("m", "m", cadence_s=2.0)))
    call.listen()

    moments = call.moments(Partial)

    assert moments[1] - moments[0] == pytest.approx(2.0, abs=0.05)


def test_a_caller_who_wants_no_partials_gets_none_and_pays_for_none() -> None:
    scene = Scene([Turn(1.0, 6)])
    call = Conversation(scene, spec=replace(spec_for([scene]), interim=False)).listen().hang_up()

    assert call.partials() == []
    assert call.windows_of(Kind.PARTIAL) == []
    assert call.text() == scene.text


def test_silence_costs_no_decode() -> None:
    """The largest saving there is, and the only sure way to invent no words."""
    call = Conversation(Scene([], seconds=60.0)).listen().hang_up()

    assert call.windows == []
    assert call.finals() == []


def test_every_ten_seconds_of_silence_are_written_off() -> None:
    """A new owner of the slot need not replay them."""
    call = Conversation(Scene([], seconds=45.0)).listen().hang_up()

    progress = call.of_kind(Progress)

    assert len(progress) == 4
    assert all(p.to_sample - p.from_sample >= 10 * SAMPLE_RATE for p in progress)


def test_a_click_is_not_decoded() -> None:
    """Two frames of sound are reported as speech, and hold too little to ask a model."""
    click = Scene([Turn(1.0, 1)], seconds=4.0)
    settings_ = replace(settings_for_tests(), min_voiced_ms=400)

    call = Conversation(click, settings=settings_).listen().hang_up()

    assert call.windows == []
    assert len(call.of_kind(SpeechEnded)) == 1


def test_a_final_is_begun_at_the_hesitation_and_used_when_the_silence_goes_on() -> None:
    """The decode runs while the endpointer still waits: the final costs no decode after the endpoint."""
    asked: list[float] = []
    call = Conversation(Scene([Turn(1.0, 3)], seconds=4.0))

    def fate(decode: Decode) -> Fate:
        if decode.window.kind is Kind.FINAL:
            asked.append(call.now)
        return AT_ONCE

    call.fate = fate
    call.listen()

    silent_from = call.scenes[0].turns[0].end

    assert len(asked) == 1
    assert asked[0] - silent_from < 0.2
    assert call.moments(FinalRecord)[0] - silent_from > 0.35
    assert len(call.windows_of(Kind.FINAL)) == 1


def test_a_hesitation_that_resumes_throws_the_guess_away() -> None:
    """Nothing is final because somebody drew breath."""
    call = Conversation(Scene(turns_of([(0.5, 3), (0.25, 3)]), seconds=6.0)).listen()

    assert len(call.windows_of(Kind.FINAL)) == 2
    assert len(call.finals()) == 1
    assert call.finals()[0].from_sample == 0
    assert call.text() == call.scenes[0].text


def test_a_guess_that_was_thrown_away_still_serves_as_a_partial() -> None:
    """Its words are right as far as they go, and were paid for."""
    late = Fate(delay_s=0.4)
    scene = Scene(turns_of([(0.5, 3), (0.25, 3)]))
    call = Conversation(scene, fate=lambda asked: late if asked.window.kind is Kind.FINAL else AT_ONCE)
    call.listen(scene.turns[0].end + 0.16)
    guess = call.windows[-1]
    assert guess.window.kind is Kind.FINAL

    call.listen(scene.turns[0].end + 0.6)

    assert len(call.partials()[-1].words) == 3
    assert call.finals() == []


def test_a_guess_answered_after_the_speaker_resumed_is_not_a_final_and_its_failure_harms_nothing() -> None:
    scene = Scene(turns_of([(0.5, 3), (0.25, 3)]))
    failing = Fate(Outcome.FAILED, 0.3)
    first = True

    def fate(asked: Decode) -> Fate:
        nonlocal first
        if asked.window.kind is Kind.PARTIAL or not first:
            return AT_ONCE
        first = False
        return failing

    call = Conversation(scene, fate=fate).listen().hang_up()

    assert call.text() == scene.text
    check_promises(call)


def test_without_speculation_a_final_is_asked_for_at_the_endpoint() -> None:
    """Under heavy load guesses that may be thrown away are too dear."""
    scene = Scene(turns_of([(0.5, 3), (0.25, 3)]))
    call = Conversation(scene)
    call.tell(Paced(Rung("m", "m", speculate=False)))
    call.listen().hang_up()

    assert len(call.windows_of(Kind.FINAL)) == 1
    assert call.text() == scene.text


def test_an_older_partial_that_is_answered_after_the_guess_is_not_shown() -> None:
    """Devices answer finals first; text that people see never goes back."""
    scene = Scene([Turn(1.0, 4)], seconds=5.0)
    call = Conversation(
        scene, fate=lambda asked: Fate(delay_s=0.5) if asked.window.kind is Kind.PARTIAL else Fate(delay_s=0.05)
    ).listen()

    ends = [partial.end for partial in call.partials()]

    assert ends == sorted(ends)
    assert call.text() == scene.text


# --- order -----------------------------------------------------------------------------------------------------------


def test_partials_wait_until_earlier_speech_is_final() -> None:
    """A reader never sees the second sentence before the first is settled."""
    scene = Scene([Turn(1.0, 3), Turn(3.5, 6)])
    first_final = True

    def fate(asked: Decode) -> Fate:
        nonlocal first_final
        if asked.window.kind is Kind.FINAL and first_final:
            first_final = False
            return Fate(delay_s=2.5)
        return AT_ONCE

    call = Conversation(scene, fate=fate).listen().hang_up()

    first = call.moments(FinalRecord)[0]
    of_second = [
        written.at for written in call.written if isinstance(written.record, Partial) and written.record.number
    ]
    assert first > 4.5
    assert min(of_second) >= first
    check_promises(call)


def test_finals_answered_in_reverse_come_out_in_order() -> None:
    scene = Scene([Turn(1.0, 2), Turn(3.0, 2), Turn(5.0, 2)])
    delays = iter([6.0, 3.0, 0.0])
    call = Conversation(
        scene, fate=lambda asked: Fate(delay_s=next(delays)) if asked.window.kind is Kind.FINAL else AT_ONCE
    )
    call.listen().hang_up()

    assert call.text() == scene.text
    check_promises(call)


# --- long speech -----------------------------------------------------------------------------------------------------


def test_speech_without_a_pause_is_cut_at_its_quietest_place_and_no_window_is_longer_than_the_bound() -> None:
    """The cost per second of audio never grows with how long somebody speaks."""
    scene = Scene([Turn(1.0, 60)])
    call = Conversation(scene, settings=SHORT_WINDOWS).listen().hang_up()

    reasons = [final.reason for final in call.finals()]

    assert reasons[:-1] == [EndReason.CUT] * (len(reasons) - 1)
    assert len(reasons) >= 7
    assert max(asked.window.seconds for asked in call.windows) <= 4.0 + 2 * FRAME_SAMPLES / SAMPLE_RATE
    assert call.text() == scene.text
    check_promises(call)


def test_a_cut_in_the_pause_that_ends_the_speech_leaves_nothing_to_decode() -> None:
    """The quietest place near the bound may be the pause itself; silence behind it is not asked about."""
    scene = Scene([Turn(0.5, 9)], seconds=8.0)
    settings_ = replace(
        settings_for_tests(),
        endpoint=replace(settings_for_tests().endpoint, endpoint_ms=900, hesitation_ms=800),
        windows=WindowSettings(longest_s=4.5, cut_search_s=1.0),
    )

    call = Conversation(scene, settings=settings_).listen().hang_up()

    assert [final.reason for final in call.finals()] == [EndReason.CUT]
    assert len(call.windows_of(Kind.FINAL)) == 1
    assert call.text() == scene.text


def test_speech_behind_a_short_pause_is_not_heard_twice() -> None:
    """With a short endpoint the audio kept behind the speech may reach into what is said next."""
    scene = Scene(turns_of([(0.5, 3), (0.12, 3), (0.12, 3)]))
    spec = replace(spec_for([scene]), endpoint_ms=64)

    call = Conversation(scene, spec=spec).listen(chunks_s=[2.0]).hang_up()

    assert len(call.finals()) == 3
    for final, following in zip(call.finals(), scene.turns[1:], strict=False):
        assert final.to_sample / SAMPLE_RATE < following.at
    assert call.text() == scene.text
    check_promises(call)


def test_the_caller_chooses_the_silence_that_ends_an_utterance() -> None:
    scene = Scene(turns_of([(0.5, 2), (0.8, 2)]))
    spec = replace(spec_for([scene]), endpoint_ms=1000)

    assert len(Conversation(scene).listen().hang_up().finals()) == 2
    assert len(Conversation(scene, spec=spec).listen().hang_up().finals()) == 1


# --- requests --------------------------------------------------------------------------------------------------------


def test_finalize_is_answered_behind_its_finals_and_for_all_sides_at_once() -> None:
    """The caller reads the transcript when the answer comes: it must be complete."""
    customer, agent = Scene([Turn(0.5, 10)], name="c"), Scene([Turn(0.5, 10)], name="a")
    call = Conversation(customer, agent, fate=lambda asked: Fate(delay_s=0.3 if asked.channel else 0.1))

    call.listen(2.5).finalize(marker="now")
    call.drain()

    assert [type(record) for record in call.records[-3:]] == [FinalRecord, FinalRecord, Finalized]
    assert call.records[-1] == Finalized(EPOCH, CALL, None, "now", 0)
    assert [final.reason for final in call.of_kind(FinalRecord)] == [EndReason.FINALIZE] * 2


def test_finalize_for_one_side_leaves_the_other_alone() -> None:
    customer, agent = Scene([Turn(0.5, 10)], name="c"), Scene([Turn(0.5, 10)], name="a")
    call = Conversation(customer, agent)

    call.listen(2.5).finalize(channel=1, marker="agent")

    assert call.records[-1] == Finalized(EPOCH, CALL, 1, "agent", 0)
    assert call.finals(0) == []
    assert len(call.finals(1)) == 1


def test_finalize_in_silence_is_answered_at_once() -> None:
    call = Conversation(Scene([], seconds=2.0)).listen()

    call.finalize(marker="quiet")

    assert call.records == [Finalized(EPOCH, CALL, None, "quiet", 0)]


def test_one_marker_used_twice_is_answered_twice() -> None:
    """Some protocols have no markers, so all their requests look alike."""
    customer, agent = Scene([Turn(0.5, 10)], name="c"), Scene([Turn(0.5, 10)], name="a")
    call = Conversation(customer, agent, fate=lambda _: Fate(delay_s=1.0))

    call.listen(2.0).finalize()
    call.finalize()
    call.drain()

    assert call.of_kind(Finalized) == [Finalized(EPOCH, CALL, None, "m", mark) for mark in range(2)]


def test_speech_that_goes_on_while_a_finalize_waits_for_slow_devices_is_not_chopped() -> None:
    """The request ends the speech before it, once; what follows is an utterance like any other."""
    scene = Scene([Turn(0.5, 8)])
    call = Conversation(scene, fate=lambda _: Fate(delay_s=2.5))

    call.listen(1.7).finalize()
    call.listen().hang_up()

    assert len(call.windows_of(Kind.FINAL)) == 2
    assert [word.rstrip("-") for word in call.text()] == scene.text


def test_a_finalize_for_a_channel_that_is_not_there_is_refused() -> None:
    """It came from outside; the call and its neighbours go on."""
    call = Conversation(Scene([Turn(0.5, 2)]))

    with pytest.raises(BadMessage, match="channel 1; the call has 1") as refused:
        call.finalize(channel=1)
    assert refused.value.code == "unknown_channel"
    with pytest.raises(BadMessage):
        call.finalize(channel=-1)

    assert call.listen().hang_up().text() == call.scenes[0].text


def test_the_end_of_a_call_makes_the_last_word_final_in_the_middle() -> None:
    """People hang up while they speak."""
    scene = Scene([Turn(0.5, 10)])
    call = Conversation(scene, fate=lambda _: Fate(delay_s=0.2)).listen(2.6).hang_up()

    final = call.finals()[-1]

    assert final.reason is EndReason.END
    assert [word.text for word in final.words] == scene.heard_between(0, 2.6)
    assert call.of_kind(CallClosed)[0].audio_s == pytest.approx(2.6, abs=0.01)


def test_the_end_of_a_call_waits_for_voice_activity_and_finals() -> None:
    """Closed means that everything is out."""
    scene = Scene([Turn(0.5, 3)], seconds=1.9)
    call = Conversation(scene, fate=lambda _: Fate(delay_s=0.5), score_delay_s=0.3).listen()

    call.hang_up(drain=False)
    states = [call.session.state]
    call.drain()

    assert [*states, call.session.state] == [State.ENDING, State.CLOSED]
    assert call.text() == scene.text


def test_a_call_without_audio_closes_at_once() -> None:
    call = Conversation(Scene([], seconds=1.0)).hang_up()

    assert call.records == [CallClosed(EPOCH, CALL, "hangup", 0.0, 0.0)]


# --- the end of an utterance -----------------------------------------------------------------------------------------


def ends_of_utterances(call: Conversation) -> list[float]:
    return [record.last_word_end for record in call.of_kind(UtteranceEnded)]


def test_the_end_of_an_utterance_is_reported_once_after_the_gap_the_caller_chose() -> None:
    scene = Scene([Turn(0.5, 3)], seconds=8.0)
    call = Conversation(scene, spec=replace(spec_for([scene]), utterance_end_ms=1500)).listen()

    assert ends_of_utterances(call) == [pytest.approx(scene.words[-1].end, abs=0.02)]
    assert call.now > scene.words[-1].end + 1.5


def test_a_noise_behind_the_last_word_does_not_swallow_the_utterances_end() -> None:
    """The gap is measured from words; a click is not one."""
    scene = Scene([Turn(0.5, 3), Turn(2.5, 1)], seconds=8.0)
    settings_ = replace(settings_for_tests(), min_voiced_ms=400)

    call = Conversation(scene, settings=settings_, spec=replace(spec_for([scene]), utterance_end_ms=1500)).listen()

    assert ends_of_utterances(call) == [pytest.approx(scene.words[2].end, abs=0.02)]


def test_speech_within_the_gap_puts_the_utterances_end_off() -> None:
    scene = Scene([Turn(0.5, 3), Turn(2.8, 2)], seconds=8.0)
    call = Conversation(scene, spec=replace(spec_for([scene]), utterance_end_ms=1500)).listen()

    assert ends_of_utterances(call) == [pytest.approx(scene.words[-1].end, abs=0.02)]


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_final_that_fails_is_asked_for_again_with_a_new_deadline() -> None:
    scene = Scene([Turn(0.5, 3)])
    failures = iter([True, True])
    call = Conversation(
        scene,
        fate=lambda asked: (
            Fate(Outcome.FAILED, 0.3) if asked.window.kind is Kind.FINAL and next(failures, False) else AT_ONCE
        ),
    )
    call.listen().hang_up()

    tries = [asked for asked in call.windows if asked.window.kind is Kind.FINAL]

    assert len(tries) == 3
    assert len({asked.request for asked in tries}) == 3
    assert tries[0].deadline < tries[1].deadline < tries[2].deadline
    assert call.text() == scene.text


def failing_finals(asked: Decode) -> Fate:
    return Fate(Outcome.FAILED, 0.2) if asked.window.kind is Kind.FINAL else AT_ONCE


def test_a_call_that_is_given_up_is_closed_as_it_stands() -> None:
    """A fault of ours ends it; what it heard is told, what it owed is not waited for."""
    call = Conversation(Scene([Turn(0.5, 5)]), fate=lambda _: Fate(Outcome.ANSWERED, 60.0))
    call.listen(2.0)

    closed = call.session.give_up("internal")

    assert (closed.call, closed.reason) == (CALL, "internal")
    assert closed.audio_s == pytest.approx(2.0, abs=0.01)
    assert call.session.state is State.CLOSED
    call.drain()
    assert not call.finals()


def test_where_a_final_fails_for_good_the_newest_partial_stands_in() -> None:
    """The words people saw are better than none, and the call goes on."""
    scene = Scene([Turn(0.5, 5)])
    call = Conversation(scene, fate=failing_finals)
    call.listen().hang_up()

    assert [final.words for final in call.finals()] == [call.partials()[-1].words]
    assert len(call.finals()[0].words) >= 3


def test_a_partial_that_stands_in_for_a_cut_leaves_the_words_behind_the_cut_to_the_next_final() -> None:
    """A partial may have reached beyond the place that was cut later; no word may come twice."""
    scene = Scene([Turn(0.5, 30)])
    call = Conversation(scene, settings=SHORT_WINDOWS, fate=failing_finals)
    call.tell(Paced(Rung("m", "m", cadence_s=0.3, longest_s=SHORT_WINDOWS.windows.longest_s)))
    call.listen().hang_up()

    said = [normalise(word) for word in call.text()]

    assert len(call.finals()) > 3
    assert len(said) == len(set(said))


def test_where_there_is_no_partial_either_the_audio_is_written_off() -> None:
    """Nothing can be said about it, but what follows must not wait for ever."""
    scene = Scene([Turn(0.5, 3), Turn(4.0, 2)])
    call = Conversation(scene, spec=replace(spec_for([scene]), interim=False))
    call.fate = lambda asked: Fate(Outcome.FAILED) if call.now < 3 else AT_ONCE
    call.listen().hang_up()

    assert call.text() == scene.text[3:]
    assert call.finals()[0].number == 0


def test_partials_that_the_final_does_not_confirm_are_withdrawn_with_the_next_revision() -> None:
    """Readers keep the newest revision of a number: the blank one must be newer than what it withdraws."""
    scene = Scene([Turn(0.5, 4), Turn(4.0, 4)])

    def hear(channel: int, window: Window) -> Hypothesis:
        heard = scene.hear(window)
        first = any(word.text == "w0" for word in heard.words)
        return replace(heard, words=()) if first and window.kind is Kind.FINAL else heard

    call = Conversation(scene, hear=hear).listen().hang_up()

    assert {partial.number for partial in call.partials()} == {0}
    assert [partial.revision for partial in call.partials()] == list(range(len(call.partials())))
    blank = [partial for partial in call.partials() if not partial.words]
    assert len(blank) == 1
    assert blank[0].stable == 0
    assert call.text() == scene.text[4:]


def test_noise_a_model_hears_nothing_in_leaves_progress_and_no_text() -> None:
    """Hold music that passes voice activity: no final, no partial, and no replay of it either."""
    scene = Scene([Turn(0.5, 6)], seconds=6.0)
    call = Conversation(
        scene, hear=lambda _, window: Hypothesis((), "en", 0.9, 0.99, "scripted", aligned=True)
    ).listen()

    assert call.finals() == []
    assert call.partials() == []
    assert len(call.of_kind(Progress)) == 1


# --- what the model is told ------------------------------------------------------------------------------------------


def heard_in(language: str, confidence: float) -> Callable[[int, Window], Hypothesis]:
    def hear(_: int, window: Window) -> Hypothesis:
        word = Word("word", 0.0, 0.1, 0.9)
        return Hypothesis((word,), window.language or language, confidence, 0.1, "scripted", aligned=True)

    return hear


def test_a_language_detected_surely_on_a_final_is_kept_for_the_side() -> None:
    """A language that changes with every window makes nonsense of short answers."""
    scene = Scene([Turn(0.5, 4), Turn(4.0, 4)])
    call = Conversation(scene, hear=heard_in("nl", 0.8)).listen()

    assert [window.language for window in call.windows_of(Kind.FINAL)] == [None, "nl"]


def test_a_language_detected_unsurely_is_not_kept() -> None:
    scene = Scene([Turn(0.5, 4), Turn(4.0, 4)])
    call = Conversation(scene, hear=heard_in("nl", 0.3)).listen()

    assert [window.language for window in call.windows_of(Kind.FINAL)] == [None, None]


def test_a_language_the_caller_gave_stays() -> None:
    scene = Scene([Turn(0.5, 4), Turn(4.0, 4)])
    call = Conversation(scene, spec=replace(spec_for([scene]), language="de"), hear=heard_in("nl", 0.9)).listen()

    assert {asked.window.language for asked in call.windows} == {"de"}


def test_the_callers_hotwords_and_model_reach_the_model_and_context_only_where_it_is_wanted_and_recent() -> None:
    scene = Scene([Turn(0.5, 2), Turn(2.2, 2), Turn(9.0, 2)])
    spec = replace(spec_for([scene]), hotwords=("Trunkline",), model="large")

    plain = Conversation(scene, spec=spec).listen()
    told = replace(settings_for_tests(), context_s=3.0, windows=WindowSettings(lead_s=0.0))  # a lead needs no telling
    prompted = Conversation(scene, spec=spec, settings=told).listen()

    assert {(asked.window.hotwords, asked.window.model) for asked in plain.windows} == {(("Trunkline",), "large")}
    assert {asked.window.context for asked in plain.windows} == {""}
    assert [window.context for window in prompted.windows_of(Kind.FINAL)] == ["", "w0 w1", ""]


def test_finals_are_more_urgent_than_partials() -> None:
    call = Conversation(Scene([Turn(0.5, 3)]))
    moments: list[float] = []

    def fate(_: Decode) -> Fate:
        moments.append(call.now)
        return AT_ONCE

    call.fate = fate
    call.listen()

    patience = {asked.window.kind: asked.deadline - at for asked, at in zip(call.windows, moments, strict=True)}

    assert patience == {Kind.PARTIAL: pytest.approx(1.5), Kind.FINAL: pytest.approx(1.0)}


def test_latency_is_measured_from_the_arrival_of_the_end_of_speech() -> None:
    """What the owner's alarm is set on: waiting for silence counts, waiting for the model counts."""
    scene = Scene([Turn(0.5, 3)], seconds=5.0)
    call = Conversation(scene, fate=lambda asked: Fate(delay_s=0.7)).listen()

    (final,) = call.finals()
    (written,) = call.moments(FinalRecord)

    assert final.latency_s == pytest.approx(written - final.speech_end, abs=0.02)
    assert final.latency_s > 0.7


# --- audio in --------------------------------------------------------------------------------------------------------


def test_interleaved_channels_are_heard_apart() -> None:
    left, right = Scene([Turn(0.5, 3)], seconds=4.0, name="l"), Scene([Turn(1.5, 3)], seconds=4.0, name="r")
    call = Conversation(left, right)
    both = np.stack([np.frombuffer(side.payload, np.int16) for side in (left, right)], axis=1)

    for at in range(0, len(both), 800):
        call.now += 0.1
        call.interleaved(both[at : at + 800].tobytes(), position=at)
    call.hang_up()

    assert (call.text(0), call.text(1)) == (left.text, right.text)


def test_a_call_mixed_down_has_one_side_with_everybodys_words() -> None:
    """What is on either channel is heard; the average of both is transcribed once."""
    quiet, speaking = Scene([], seconds=4.0), Scene([Turn(1.0, 3)], seconds=4.0)
    spec = CallSpec(CALL, "tenant", AudioFormat(Encoding.L16, 8000, 2), ("everybody",), mixed=True)
    both = np.stack([np.frombuffer(side.payload, np.int16) for side in (quiet, speaking)], axis=1)
    call = Conversation(speaking, spec=spec, hear=heard_in("en", 0.9))

    call.interleaved(both.tobytes())
    call.hang_up()

    assert len(call.finals(0)) == 1
    assert call.of_kind(CallClosed)[0].audio_s == pytest.approx(4.0, abs=0.01)


@pytest.mark.parametrize("encoding", [Encoding.MULAW, Encoding.ALAW, Encoding.L16BE])
@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_every_codec_and_rate_gives_the_same_words(encoding: Encoding, rate: int) -> None:
    scene = Scene([Turn(0.5, 3), Turn(3.0, 2)], rate=rate, encoding=encoding)

    assert Conversation(scene).listen().hang_up().text() == scene.text


def test_a_gap_on_the_media_clock_is_filled_and_counted() -> None:
    """Times in the transcript are times of the call, whatever was lost on the way."""
    scene = Scene([Turn(0.5, 3)], seconds=3.0)
    call = Conversation(scene)

    call.chunk(0, scene.payload, position=0)
    call.chunk(0, scene.payload[:1600], position=40_000)
    call.hang_up()

    closed = call.of_kind(CallClosed)[0]
    assert closed.padded_s == pytest.approx(2.0)
    assert closed.audio_s == pytest.approx(5.1, abs=0.01)


@pytest.mark.parametrize(
    ("channel", "payload", "problem"),
    [(0, b"\0\0\0", "2 bytes a sample"), (1, b"\0\0", "audio for channel 1"), (255, b"\0", "2 bytes a sample")],
)
def test_a_chunk_that_cannot_be_is_refused_without_harm(channel: int, payload: bytes, problem: str) -> None:
    scene = Scene([Turn(0.5, 3)])
    call = Conversation(scene).listen(1.0)

    with pytest.raises(BadAudio, match=problem):
        call.chunk(channel, payload)

    assert call.session.state is State.OPEN
    assert call.listen().hang_up().text() == scene.text


def test_a_key_pressed_is_written_with_its_time_and_refused_for_a_side_that_is_not_there() -> None:
    """Its place among the words is the place of its record among the audio."""
    call = Conversation(Scene([], seconds=4.0)).listen(2.0)
    call.tell(DtmfReceived(CALL, 0, "5"))

    (dtmf,) = call.of_kind(Dtmf)
    assert (dtmf.channel, dtmf.digit, dtmf.mark) == (0, "5", 0)
    assert dtmf.at == pytest.approx(2.0, abs=0.05)
    with pytest.raises(BadMessage):
        call.tell(DtmfReceived(CALL, 1, "5"))


# --- connections ------------------------------------------------------------------------------------------------------


def test_a_connection_that_takes_a_call_over_is_told_where_it_goes_on() -> None:
    """Its number marks what it writes; a call that is over has nothing to be taken over."""
    call = Conversation(Scene([], seconds=2.0)).listen(1.0, chunks_s=(0.5,))
    call.tell(CallResumed(CALL, "first"))
    call.tell(CallResumed(CALL, "first"))
    call.tell(PauseChanged(CALL, paused=True, connection=1))
    call.tell(CallResumed(CALL, "second"))
    first, again, second = call.of_kind(Resumed)
    assert first == again == Resumed(EPOCH, CALL, "first", 1, 2, (call.scenes[0].rate,), paused=False)
    assert (second.connection, second.next_sequence, second.paused) == (2, 2, True)

    call.tell(CallEnded(CALL, "hangup", connection=2))
    call.drain()
    call.tell(CallResumed(CALL, "third"))
    assert len(call.of_kind(Resumed)) == 3


def test_what_a_connection_writes_after_another_took_the_call_over_does_not_count() -> None:
    """A gateway that was only asleep writes its audio, and the end of the call, when it wakes up."""
    call = Conversation(Scene([Turn(0.1, 2)])).listen(0.5)
    call.tell(CallResumed(CALL, "n"))
    (resumed,) = call.of_kind(Resumed)
    late = call.scenes[0].payload
    call.tell(AudioChunk(CALL, resumed.next_sequence, 0, -1, late))
    call.tell(FinalizeRequested(CALL, None, "m"))
    call.tell(DtmfReceived(CALL, 0, "5"))
    call.tell(PauseChanged(CALL, paused=True))
    call.tell(CallEnded(CALL, "disconnected"))

    assert call.session.state is State.OPEN
    assert not call.of_kind(Finalized)
    assert not call.of_kind(Dtmf)
    assert not call.of_kind(Paused)
    call.tell(CallResumed(CALL, "o"))
    assert call.of_kind(Resumed)[-1].heard == resumed.heard


def test_a_chunk_that_is_written_twice_is_heard_once() -> None:
    """A retry of a write that had gone through."""
    call = Conversation(Scene([], seconds=1.0))
    for _ in range(2):
        call.tell(AudioChunk(CALL, 0, 0, -1, call.scenes[0].payload[:8000]))
    call.tell(CallResumed(CALL, "n"))
    assert call.of_kind(Resumed)[0].heard == (4000,)


def test_a_pause_is_marked_where_it_begins_and_where_it_ends() -> None:
    """Whoever reads the transcript must see that something is left out."""
    call = Conversation(Scene([], seconds=2.0)).listen(1.0)
    call.tell(PauseChanged(CALL, paused=True))
    call.listen(2.0)
    call.tell(PauseChanged(CALL, paused=False))
    marks = [(mark.paused, round(mark.at, 1), mark.mark) for mark in call.of_kind(Paused)]
    assert marks == [(True, 1.0, 0), (False, 2.0, 1)]


# --- states ----------------------------------------------------------------------------------------------------------

EVENTS: Final[list[Event]] = [
    AudioChunk(CALL, 0, 0, 0, b""),
    FinalizeRequested(CALL, None, "m"),
    DtmfReceived(CALL, 0, "5"),
    PauseChanged(CALL, paused=True),
    CallResumed(CALL, "n"),
    CallEnded(CALL, "hangup"),
    SpeechScored(0, np.zeros(0, np.float32)),
    Decoded(0, 99, Hypothesis((), "en", 1.0, 1.0, "scripted", aligned=True)),
    DecodeFailed(0, 99),
    Paced(Rung("m", "m")),
    Rested(),
    Served("tiny", "load"),
]


def session_in(state: State) -> Session:
    call = Conversation(Scene([Turn(0.1, 2)]), fate=lambda _: Fate(delay_s=1.0))
    if state is not State.OPEN:
        call.listen(0.8).hang_up(drain=state is State.CLOSED)
    assert call.session.state is state
    return call.session


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("state", State)
def test_a_session_takes_what_its_table_says_and_refuses_the_rest(state: State, event: Event) -> None:
    """The table is data, so that this test and the docs can read it; it must be true."""
    session = session_in(state)
    leads_to = TRANSITIONS[state].get(type(event))

    if leads_to is None:
        with pytest.raises(InvalidTransition, match=f"{state.value} cannot take {type(event).__name__}"):
            session.handle(event, now=2.0)
        assert session.state is state
    else:
        session.handle(event, now=2.0)
        closes = leads_to is State.ENDING and isinstance(event, CallEnded)
        assert session.state is (State.CLOSED if closes else leads_to)


def test_the_table_has_a_row_for_every_state_and_only_the_end_leads_away() -> None:
    """Audio and requests only while the call is open; answers always, because they come when they come."""
    answers = {CallResumed, SpeechScored, Decoded, DecodeFailed, Paced, Rested, Served}

    assert set(TRANSITIONS) == set(State)
    assert set(TRANSITIONS[State.OPEN]) == {type(event) for event in EVENTS}
    assert set(TRANSITIONS[State.ENDING]) == set(TRANSITIONS[State.CLOSED]) == answers
    moves = {(came, to) for came, row in TRANSITIONS.items() for to in row.values() if to is not came}
    assert moves == {(State.OPEN, State.ENDING)}


def test_a_caller_is_told_who_serves_the_call_but_nothing_follows_its_end() -> None:
    """``CallClosed`` is the last record of a call: readers let go of it there."""
    call = Conversation(Scene([], seconds=1.0)).listen()
    call.tell(Served("tiny", "load"))
    assert call.records == [QualityChanged(EPOCH, CALL, "tiny", "load")]

    call.hang_up()
    call.tell(Served("base", "calm"))

    assert isinstance(call.records[-1], CallClosed)


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(90)
def test_memory_in_minute_ten_is_what_it_was_in_minute_two() -> None:
    """A shard holds thousands of calls, some of them for hours."""
    minute = Scene([Turn(at, 9) for at in range(1, 55, 9)], seconds=60.0)
    call = Conversation(minute, hear=heard_in("en", 0.9), settings=settings_for_tests())
    held: list[int] = []

    for _ in range(10):
        for at in range(0, 480_000, 8_000):
            call.now += 1.0
            call.chunk(0, minute.payload[at * 2 : (at + 8_000) * 2])
        held.append(call.session.memory_bytes)

    assert len(call.finals()) == 10 * 6
    assert max(held[2:]) <= max(held[:2]) * 1.05
    assert max(held) < 2_500_000


# --- windows that carry audio ----------------------------------------------------------------------------------------

AS_SENT: Final = replace(settings_for_tests(), n_mels=None)


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_a_call_goes_the_same_whether_its_windows_carry_features_or_audio(encoding: Encoding, rate: int) -> None:
    """With a gap, leads, failures and finals on demand: who makes the features must not show in what is written."""
    scene = Scene([Turn(0.5, 4), Turn(3.6, 2), Turn(5.0, 9)], rate=rate, encoding=encoding)
    written: list[list[OutRecord | Partial]] = []
    for settings_ in (settings_for_tests(), AS_SENT):
        call = Conversation(scene, settings=settings_)
        call.fate = lambda asked: Fate(Outcome.FAILED) if asked.request % 5 == 1 else AT_ONCE
        call.listen(2.0).chunk(0, b"", 2 * rate + rate // 5)
        call.listen(6.5).finalize()
        call.listen().hang_up()
        written.append(call.records)

    assert any(isinstance(window.sound, Audio) for window in call.windows_of(Kind.FINAL))
    assert written[0] == written[1]


def test_a_new_owner_goes_on_with_windows_of_audio_as_with_features() -> None:
    """The journal holds the audio as it was sent; what is made of it is made again."""
    scene = Scene([Turn(0.5, 4), Turn(4.0, 6)])
    texts: list[list[str]] = []
    for settings_ in (settings_for_tests(), AS_SENT):
        before = Conversation(scene, settings=settings_).listen(3.5)
        after = Conversation(scene, settings=settings_, reducer=before.reducer, heard=before.session.heard())
        after.listen().hang_up()
        texts.append(before.text() + after.text())

    assert texts[0] == texts[1] == scene.text


def test_sides_mixed_into_one_are_given_to_devices_as_one() -> None:
    """No codec of the call has the mean of two samples; linear ones have it nearly."""
    scene = Scene([Turn(0.5, 4)], encoding=Encoding.MULAW)
    audio = AudioFormat(Encoding.MULAW, 8_000, 2)
    spec = CallSpec("call", "tenant", audio, ("both",), mixed=True)
    call = Conversation(scene, spec=replace(spec, call=CALL), settings=AS_SENT)
    call.interleaved(bytes(code for code in scene.payload for _ in range(2)))
    call.hang_up()

    (window,) = call.windows_of(Kind.FINAL)
    assert isinstance(window.sound, Audio)
    assert (window.sound.encoding, call.text()) == (Encoding.L16, scene.text)


def test_features_that_are_still_to_be_made_are_not_to_be_had() -> None:
    window = Window(Audio(b"\xff" * 80, Encoding.MULAW, 8_000, 1), Kind.FINAL)
    with pytest.raises(TypeError, match="carries audio"):
        _ = window.features
    features = np.zeros((80, 1), np.float32)
    assert replace(window, sound=features).features is features
