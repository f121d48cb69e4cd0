"""One ownership of a slot, event by event."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scaler.ownership import TRANSITIONS, Phase, Serve, SlotOwner, Stop
from streaming.call import AudioFormat, CallSpec, Encoding
from streaming.records import CallClosed, CallStarted, CallState, ClockState, Fence, Progress, SideProgress, Snapshot

FORMAT = AudioFormat(Encoding.MULAW, 8_000)


def heard(call: str, samples: int) -> CallState:
    """A call of one side after so many samples at 8 kHz."""
    return CallState(CallSpec(call, "tenant", FORMAT, ("a",)), 1, (ClockState(samples, 0, 0, 0, 0, 0, False),))


def done(call: str, to: int, *, epoch: int = 7, since: int = 0) -> Progress:
    """Samples at 16 kHz that are done with."""
    return Progress(epoch, call, 0, since, to)


@pytest.fixture
def owner() -> SlotOwner:
    """An owner that serves, its fence at offset 0."""
    owner = SlotOwner(3, 7, "me")
    assert owner.read(0, owner.fence) == Serve(0, ())
    return owner


def test_an_owner_serves_once_it_reads_its_own_fence() -> None:
    """Before that, a former owner's record could still count and would be overlooked."""
    owner = SlotOwner(3, 7, "me")

    assert owner.fence == Fence(7, "me")
    assert owner.read(0, Fence(5, "other")) is None
    assert owner.read(1, done("a", 100, epoch=5)) is None
    assert owner.phase == "recovering"
    assert owner.read(2, owner.fence) == Serve(0, ())
    assert owner.phase == "serving"
    assert owner.reducer.progress("a", 0).done_to == 100


def test_a_newer_fence_stops_an_owner(owner: SlotOwner) -> None:
    assert owner.read(1, Fence(9, "other")) == Stop(9)
    assert owner.phase is Phase.STOPPED


def test_an_owner_whose_fence_comes_after_a_newer_one_never_serves() -> None:
    owner = SlotOwner(3, 7, "me")

    assert owner.read(0, Fence(9, "other")) == Stop(9)
    assert owner.read(1, owner.fence) is None
    assert owner.phase is Phase.STOPPED


def test_a_doubled_fence_changes_nothing(owner: SlotOwner) -> None:
    """A retry may write it twice; serving twice would replay twice."""
    assert owner.read(1, owner.fence) is None
    assert owner.phase is Phase.SERVING


def test_an_owner_that_stopped_by_itself_stays_stopped() -> None:
    owner = SlotOwner(3, 7, "me")
    owner.stop()

    assert owner.read(0, owner.fence) is None
    assert owner.phase is Phase.STOPPED


def test_without_a_note_there_is_no_snapshot(owner: SlotOwner) -> None:
    assert owner.snapshot() is None


def test_a_snapshot_begins_at_the_last_place_before_which_all_is_final(owner: SlotOwner) -> None:
    """100 samples at 8 kHz are 200 at 16 kHz."""
    owner.note(10, [heard("a", 100)])
    owner.note(20, [heard("a", 200)])
    owner.note(30, [heard("a", 300)])
    owner.read(1, done("a", 401))

    assert owner.snapshot() == Snapshot(
        slot=3,
        out_offset=2,
        epoch=7,
        progress=(SideProgress("a", 0, 0, 401, ""),),
        closed=(),
        audio_offset=20,
        calls=(heard("a", 200),),
        began=2,
        began_epoch=7,
    )


def test_a_snapshot_tells_where_the_text_of_open_calls_begins(owner: SlotOwner) -> None:
    """A gateway that starts reads from there on, not a day of output."""

    def began(owner: SlotOwner) -> tuple[int, int]:
        owner.note(10, [])
        snapshot = owner.snapshot()
        assert snapshot is not None
        return snapshot.began, snapshot.began_epoch

    def started(call: str, epoch: int) -> CallStarted:
        return CallStarted(epoch, call, "tenant", ("a",), "native", 0.0)

    owner.read(1, started("a", 7))
    owner.read(2, done("a", 400))
    owner.read(3, started("b", 7))
    assert began(owner) == (1, 7)

    heir = SlotOwner(3, 9, "heir", owner.snapshot())
    assert heir.read(4, heir.fence) is not None
    heir.read(5, started("a", 9))
    assert began(heir) == (1, 7)
    heir.read(6, CallClosed(9, "a", "hangup", 1.0, 0.0))
    assert began(heir) == (7, 9)  # nothing was final of b, and its owner announces it anew


def test_a_place_behind_audio_that_is_not_final_is_no_place_to_begin(owner: SlotOwner) -> None:
    owner.note(10, [heard("a", 100)])

    assert owner.snapshot() is None


def test_a_snapshot_waits_for_a_call_that_owes_its_end(owner: SlotOwner) -> None:
    """Its end lies before the place: nobody who begins there would hear of it."""
    owner.note(10, [], owing=["a"])
    assert owner.snapshot() is None

    owner.read(1, CallClosed(7, "a", "hangup", 1.0, 0.0))

    snapshot = owner.snapshot()
    assert snapshot is not None
    assert (snapshot.audio_offset, snapshot.closed) == (10, ("a",))


def test_a_call_that_is_over_is_not_carried_on(owner: SlotOwner) -> None:
    owner.note(10, [heard("a", 100)])
    owner.read(1, CallClosed(7, "a", "hangup", 1.0, 0.0))

    snapshot = owner.snapshot()

    assert snapshot is not None
    assert snapshot.calls == ()


def test_a_new_owner_goes_on_from_a_snapshot(owner: SlotOwner) -> None:
    """It reads what came after, and calls that ended meanwhile stay ended."""
    owner.note(10, [heard("a", 100), heard("b", 0)])
    owner.read(1, done("a", 200))
    snapshot = owner.snapshot()
    assert snapshot is not None

    heir = SlotOwner(3, 9, "heir", snapshot)

    assert heir.read_out_from == 2
    assert heir.read(2, done("a", 300, since=200)) is None
    assert heir.read(3, CallClosed(7, "b", "hangup", 1.0, 0.0)) is None
    assert heir.read(4, heir.fence) == Serve(10, (heard("a", 100),))
    assert heir.reducer.progress("a", 0).done_to == 300
    assert heir.reducer.is_closed("b")
    again = heir.snapshot()
    assert again is not None
    assert again.audio_offset == 10


def test_a_snapshot_of_a_former_owner_is_as_true_as_one_of_the_owner(owner: SlotOwner) -> None:
    """Both fold the same records: who has lost the slot may still save the next owner work."""
    owner.note(10, [heard("a", 100)])
    owner.read(1, done("a", 200))
    before = owner.snapshot()
    assert before is not None

    owner.read(2, Fence(9, "other"))
    after = owner.snapshot()

    assert after == replace(before, out_offset=3, epoch=9, began=3, began_epoch=9)


def test_the_phases_are_those_of_the_table() -> None:
    """Nothing leads out of STOPPED: a slot that comes back comes with a new claim."""
    assert set(TRANSITIONS) == set(Phase)
    assert not TRANSITIONS[Phase.STOPPED]
