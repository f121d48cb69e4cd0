"""A call that a new owner goes on with: from its beginning, or from a place behind which nothing is owed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.call import SAMPLE_RATE
from streaming.records import AudioChunk, CallEnded, CallState, FinalizeRequested, Progress
from streaming.records import Final as FinalRecord
from streaming.reducer import Reducer
from streaming.session import Rested
from tests.support.conversation import CALL, Conversation, Fate, Outcome
from tests.support.scene import Scene, Turn


def scenes() -> list[Scene]:
    """Two sides that speak in turn, and both at once."""
    return [
        Scene([Turn(0.5, 4), Turn(6.0, 3), Turn(9.2, 5)], seconds=14.0, name="a"),
        Scene([Turn(3.0, 5), Turn(9.0, 4)], seconds=14.0, name="b"),
    ]


def all_final(heard: CallState, reducer: Reducer) -> bool:
    """Tell whether nothing heard before a place is still to become text."""
    return all(
        clock.position * SAMPLE_RATE <= reducer.progress(CALL, side).done_to * heard.spec.audio.rate
        for side, clock in enumerate(heard.clocks)
    )


def check(said: list[Scene], *owners: Conversation) -> None:
    """Everything that was said is final, once and in order, whoever wrote it."""
    for side, scene in enumerate(said):
        finals = [final for owner in owners for final in owner.finals(side)]
        assert [word.text for final in finals for word in final.words] == scene.text
        assert [final.number for final in finals] == list(range(len(finals)))
        assert all(before.to_sample <= after.from_sample for before, after in pairwise(finals))


@settings(max_examples=25)
@given(stopped_s=st.floats(0.5, 13.5), late_s=st.floats(0.0, 0.6))
def test_a_call_goes_on_wherever_its_owner_stopped(stopped_s: float, late_s: float) -> None:
    """The first owner is gone in the middle of whatever it was doing; the second begins as late as it may."""
    said = scenes()
    first = Conversation(*said, fate=lambda _: Fate(delay_s=late_s))
    marks = [first.session.heard()]
    at = 0.0
    while at < stopped_s:
        at = min(stopped_s, at + 0.5)
        first.listen(at)
        marks.append(first.session.heard())
    mark = next(heard for heard in reversed(marks) if all_final(heard, first.reducer))

    second = Conversation(*said, reducer=first.reducer, heard=mark)
    second.listen().hang_up()

    check(said, first, second)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_times_of_words_are_the_calls_own_after_a_change_of_owner(rate: int) -> None:
    said = [Scene([Turn(0.5, 3), Turn(4.0, 3)], rate=rate)]
    first = Conversation(*said)
    first.listen(3.5)
    second = Conversation(*said, reducer=first.reducer, heard=CallStateAt(first, said[0]).nearest())
    second.listen().hang_up()

    check(said, first, second)
    words = second.finals()[-1].words
    for word, true in zip(words, said[0].words[3:], strict=True):
        assert word.start == pytest.approx(true.start, abs=0.02)


class CallStateAt:
    """Where a second owner may begin after a first: as far as all is final."""

    def __init__(self, owner: Conversation, scene: Scene) -> None:
        self._done_s = owner.reducer.progress(CALL, 0).done_to / SAMPLE_RATE
        self._scene = scene

    def nearest(self) -> CallState:
        """Return what an owner that stopped there had heard."""
        again = Conversation(self._scene)
        again.listen(self._done_s - 0.02)
        return again.session.heard()


def test_a_language_that_was_detected_stays_after_a_change_of_owner() -> None:
    """A model that guesses anew may guess differently."""
    said = [Scene([Turn(0.5, 3), Turn(4.0, 3)])]
    first = Conversation(*said)
    first.listen(3.5)
    assert first.finals()

    second = Conversation(*said, reducer=first.reducer)
    second.listen().hang_up()

    assert {asked.window.language for asked in second.windows} == {"en"}


def test_what_is_owed_is_known() -> None:
    """A snapshot must not begin behind a request that is not answered."""
    talk = Conversation(Scene([Turn(0.5, 4)], seconds=4.0), fate=lambda _: Fate(delay_s=0.5))
    talk.listen(1.0)
    assert not talk.session.owes

    talk.tell(FinalizeRequested(CALL, None, "m"))
    assert talk.session.owes
    talk.drain()
    assert not talk.session.owes

    talk.tell(CallEnded(CALL, "hangup"))
    assert talk.session.owes


def test_a_chunk_that_was_heard_is_not_heard_again() -> None:
    said = Scene([Turn(0.5, 3)])
    talk = Conversation(said)
    talk.listen(1.0)
    before = talk.session.heard()

    talk.tell(AudioChunk(CALL, 3, 0, -1, said.payload[:320]))

    assert talk.session.heard() == before
    talk.listen().hang_up()
    assert talk.text() == said.text


def test_a_window_that_failed_at_the_first_owner_is_decoded_by_the_second() -> None:
    said = [Scene([Turn(0.5, 3)], seconds=4.0)]
    first = Conversation(*said, fate=lambda _: Fate(Outcome.ANSWERED, delay_s=60.0))
    first.listen()
    assert not first.of_kind(FinalRecord)

    second = Conversation(*said, reducer=first.reducer)
    second.listen().hang_up()

    check(said, first, second)


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_when_audio_stops_coming_what_was_silent_is_done_with(rate: int) -> None:
    """A call on hold for an hour must not keep its next owner reading from before it."""
    said = Scene([Turn(0.5, 3), Turn(5.0, 3)], rate=rate)
    talk = Conversation(said)
    talk.listen(4.0)
    assert not all_final(talk.session.heard(), talk.reducer)

    talk.tell(Rested())
    assert all_final(talk.session.heard(), talk.reducer)
    written = len(talk.records)
    talk.tell(Rested())
    assert len(talk.records) == written

    talk.listen().hang_up()
    assert talk.text() == said.text


def test_what_somebody_is_saying_when_audio_stops_coming_waits_for_the_rest_of_it() -> None:
    said = Scene([Turn(0.5, 3)])
    talk = Conversation(said)
    talk.listen(1.0)

    talk.tell(Rested())

    assert not talk.of_kind(Progress)
    talk.listen().hang_up()
    talk.tell(Rested())
    assert talk.text() == said.text
