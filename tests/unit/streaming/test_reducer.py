"""The rules by which all readers of a slot agree; each test fails without its rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streaming.decoding import Word
from streaming.records import (
    FINAL_LOST,
    CallClosed,
    Dtmf,
    EndReason,
    Fence,
    Final,
    Finalized,
    OutRecord,
    Partial,
    Paused,
    Progress,
    QualityChanged,
    SpeechEnded,
    SpeechStarted,
    UtteranceEnded,
)
from streaming.reducer import CLOSED_KEPT, ChannelProgress, Reducer


def final(number: int, from_sample: int, to_sample: int, *, epoch: int = 1, call: str = "a", channel: int = 0) -> Final:
    words = (Word(f"w{number}", 0.0, 0.1, 0.9), Word("end", 0.1, 0.2, 0.9))
    return Final(
        epoch, call, channel, number, from_sample, to_sample, words, "en", 0.9, "tiny", EndReason.ENDPOINT, 0.1, 0.1
    )


def partial(number: int, *, epoch: int = 1, call: str = "a") -> Partial:
    return Partial(epoch, call, 0, number, 0, (), 0, 0.0, 0.1, "en", "tiny")


@pytest.fixture
def reducer() -> Reducer:
    """One whose owner is of epoch 1."""
    reducer = Reducer()
    assert reducer.accept(Fence(1, "one"))
    return reducer


def test_finals_and_progress_that_continue_one_another_count(reducer: Reducer) -> None:
    assert reducer.accept(final(0, 0, 100))
    assert reducer.accept(Progress(1, "a", 0, 100, 250))
    assert reducer.accept(final(1, 250, 300))
    assert reducer.progress("a", 0) == ChannelProgress(2, 300, "w1 end", "en", 0.9)
    assert reducer.dropped == 0


def test_nothing_counts_before_the_first_fence() -> None:
    """Without a fence nobody is known to own the slot."""
    reducer = Reducer()

    assert not reducer.accept(final(0, 0, 100, epoch=0))
    assert reducer.dropped == 1


def test_a_newer_fence_silences_the_former_owner_and_an_older_one_changes_nothing(reducer: Reducer) -> None:
    """A process that lost its slot and does not know it may go on writing."""
    assert reducer.accept(Fence(5, "two"))
    assert not reducer.accept(Fence(3, "zombie"))
    assert not reducer.accept(Fence(5, "two"))

    assert not reducer.accept(final(0, 0, 100, epoch=3))
    assert not reducer.accept(final(0, 0, 100, epoch=1))
    assert reducer.accept(final(0, 0, 100, epoch=5))
    assert (reducer.epoch, reducer.dropped) == (5, 2)


def test_a_record_of_an_epoch_that_was_never_fenced_does_not_count(reducer: Reducer) -> None:
    """The fence is what others wait for: a writer that skipped it has not replayed."""
    assert not reducer.accept(final(0, 0, 100, epoch=2))


@pytest.mark.parametrize(
    "record",
    [SpeechStarted(0, "a", 0, 1.0), Finalized(0, "a", None, "m"), CallClosed(0, "a", "hangup", 1.0, 0.0)],
    ids=lambda record: type(record).__name__,
)
def test_events_count_by_their_epoch_alone(reducer: Reducer, record: OutRecord) -> None:
    assert not reducer.accept(record)
    assert reducer.accept(replace(record, epoch=1))


@pytest.mark.parametrize("number", [0, 2])
def test_a_final_with_another_number_than_the_next_does_not_count(reducer: Reducer, number: int) -> None:
    """Repeated or skipped: either would break the promise of numbers without gaps."""
    assert reducer.accept(final(0, 0, 100))

    assert not reducer.accept(final(number, 100, 200))
    assert reducer.progress("a", 0).done_to == 100
    assert reducer.accept(final(1, 100, 200))


@pytest.mark.parametrize("from_sample", [0, 99, 101])
def test_a_final_that_does_not_continue_the_audio_does_not_count(reducer: Reducer, from_sample: int) -> None:
    """Overlapping audio is text said twice, a gap is text lost."""
    assert reducer.accept(final(0, 0, 100))

    assert not reducer.accept(final(1, from_sample, 200))
    assert not reducer.accept(Progress(1, "a", 0, from_sample, 200))


def test_audio_that_ends_before_it_begins_does_not_count(reducer: Reducer) -> None:
    assert reducer.accept(final(0, 0, 100))

    assert not reducer.accept(Progress(1, "a", 0, 100, 99))
    assert reducer.accept(Progress(1, "a", 0, 100, 100))


def test_channels_and_calls_go_on_independently(reducer: Reducer) -> None:
    assert reducer.accept(final(0, 0, 100))
    assert reducer.accept(final(0, 0, 50, channel=1))
    assert reducer.accept(final(0, 0, 70, call="b"))

    assert reducer.progress("a", 1).done_to == 50
    assert reducer.progress("b", 0).done_to == 70
    assert reducer.progress("c", 0) == ChannelProgress()


def test_a_partial_counts_if_it_is_of_the_owner_and_of_text_that_is_not_final(reducer: Reducer) -> None:
    """Partials travel beside the finals and may be overtaken by them."""
    assert reducer.accept(final(0, 0, 100))

    assert reducer.accept_partial(partial(1))
    assert not reducer.accept_partial(partial(0))
    assert not reducer.accept_partial(partial(2))
    assert not reducer.accept_partial(partial(1, epoch=0))


def test_a_call_that_is_over_can_be_forgotten_alone(reducer: Reducer) -> None:
    """A slot lives for weeks, its calls for minutes."""
    for call in "ab":
        assert reducer.accept(final(0, 0, 100, call=call))
        assert reducer.accept(final(0, 0, 100, call=call, channel=1))

    reducer.forget("a")

    assert reducer.progress("a", 0) == reducer.progress("a", 1) == ChannelProgress()
    assert reducer.progress("b", 1).done_to == 100


def test_nothing_counts_of_a_call_that_is_over(reducer: Reducer) -> None:
    """A retried batch writes a call's finals again behind its end: they would look like those of a new call."""
    assert reducer.accept(final(0, 0, 100))
    assert reducer.accept(CallClosed(1, "a", "hangup", 1.0, 0.0))

    assert not reducer.accept(final(0, 0, 100))
    assert not reducer.accept(CallClosed(1, "a", "hangup", 1.0, 0.0))
    assert reducer.is_closed("a")
    assert reducer.closed == ("a",)
    assert reducer.accept(final(0, 0, 100, call="b"))


def test_the_calls_longest_over_are_forgotten(reducer: Reducer) -> None:
    """A slot lives for months."""
    for number in range(CLOSED_KEPT + 1):
        reducer.accept(CallClosed(1, str(number), "hangup", 1.0, 0.0))

    assert len(reducer.closed) == CLOSED_KEPT
    assert not reducer.is_closed("0")
    assert reducer.is_closed("1")


def test_a_resumed_reducer_goes_on_like_the_one_it_was_taken_from(reducer: Reducer) -> None:
    reducer.accept(final(0, 0, 100))
    reducer.accept(final(0, 0, 50, channel=1))
    reducer.accept(CallClosed(1, "b", "hangup", 1.0, 0.0))

    heir = Reducer.resumed(reducer.epoch, reducer.progress_of_all, reducer.closed)

    assert heir.progress("a", 0) == reducer.progress("a", 0)
    assert heir.accept(final(1, 100, 200))
    assert not heir.accept(final(0, 0, 50, channel=1))
    assert heir.is_closed("b")


TOLD: list[OutRecord] = [
    SpeechStarted(1, "a", 0, 0.0),
    Dtmf(1, "a", 0, "5", 0.4, 0),
    SpeechEnded(1, "a", 0, 1.5),
    Finalized(1, "a", None, "m", 1),
    Finalized(1, "a", 0, "m", 2),
    Paused(1, "a", True, 2.0, 3),
    UtteranceEnded(1, "a", 0, 1.4),
    QualityChanged(1, "a", "large", "model_gone"),
]


@pytest.mark.parametrize("record", TOLD, ids=lambda record: type(record).__name__)
def test_what_a_new_owner_says_again_does_not_count_again(reducer: Reducer, record: OutRecord) -> None:
    """It hears the last seconds of the call anew, with the keys that were pressed in them."""
    assert reducer.accept(record)
    assert reducer.accept(Fence(2, "two"))
    assert not reducer.accept(replace(record, epoch=2))


def test_what_is_behind_the_last_of_its_kind_and_channel_counts(reducer: Reducer) -> None:
    """Keys of two sides, and requests for one side and for all, are answered each for itself."""
    assert all(reducer.accept(record) for record in TOLD)
    assert reducer.accept(Fence(2, "two"))
    assert reducer.accept(Dtmf(2, "a", 0, "5", 0.4, 4))
    assert reducer.accept(Dtmf(2, "a", 1, "5", 0.4, 3))
    assert reducer.accept(Finalized(2, "a", 1, "m", 0))
    assert reducer.accept(SpeechStarted(2, "a", 0, 2.0))


def test_a_model_counts_again_once_another_has_served_the_call(reducer: Reducer) -> None:
    """Each owner that lacks the model which a call chose says which it has instead; another one is news."""
    assert reducer.accept(QualityChanged(1, "a", "large", "model_gone"))
    assert reducer.accept(QualityChanged(1, "b", "large", "model_gone"))
    assert reducer.accept(QualityChanged(1, "a", "", FINAL_LOST))
    assert reducer.accept(QualityChanged(1, "a", "", FINAL_LOST))
    assert reducer.accept(Fence(2, "two"))
    assert not reducer.accept(QualityChanged(2, "a", "large", "model_gone"))
    assert reducer.accept(QualityChanged(2, "a", "small", "load"))
    assert reducer.accept(Fence(3, "three"))
    assert reducer.accept(QualityChanged(3, "a", "large", "model_gone"))


def test_an_edge_of_speech_that_is_found_a_frame_later_is_the_same_one(reducer: Reducer) -> None:
    """A detector that begins in the middle of a call judges its first frames a little differently."""
    assert reducer.accept(SpeechStarted(1, "a", 0, 1.0))
    assert reducer.accept(Fence(2, "two"))
    assert not reducer.accept(SpeechStarted(2, "a", 0, 1.032))
    assert not reducer.accept(SpeechStarted(2, "a", 0, 0.968))
    assert reducer.accept(SpeechStarted(2, "a", 0, 1.2))


def test_all_that_one_owner_says_counts_however_close(reducer: Reducer) -> None:
    """A request in the middle of a word ends an utterance, and the next begins at once."""
    assert reducer.accept(SpeechStarted(1, "a", 0, 1.0))
    assert reducer.accept(SpeechStarted(1, "a", 0, 1.05))
    assert reducer.accept(SpeechStarted(1, "a", 0, 1.0))


def test_keys_of_an_owner_that_does_not_number_them_all_count(reducer: Reducer) -> None:
    """It is of an older version, in a cluster that is being replaced process by process."""
    assert reducer.accept(Dtmf(1, "a", 0, "5", 0.4))
    assert reducer.accept(Dtmf(1, "a", 0, "5", 0.6))
    assert reducer.accept(Paused(1, "a", True, 2.0))
    assert reducer.accept(Paused(1, "a", False, 3.0))
