"""One ownership of one slot: from the claim to the newer fence. Pure; the shard carries out what is said here.

What a shard does for a claim of its own, at offset ``epoch`` of the control topic:

1. ``SlotOwner(slot, epoch, name, snapshot)``; append ``fence`` to ``out[slot]``.
2. Tail ``out[slot]`` from ``read_out_from`` and hand every record to ``read``, from now until it stops.
3. At ``Serve``: open sessions for its calls, tail ``audio[slot]`` from its offset, publish what the sessions say.
4. At ``Stop``, or when a record of it could not be written (``stop``): close its sessions and write nothing more.

Safety rests on the reducer alone, which all readers share: whatever a former owner still writes lies behind the newer
fence and does not count. Stopping only saves work, so a shard whose heartbeats do not reach the log does not stop: it
hears no audio then either, and when the log is back it reads a newer fence first, or nobody has taken over and it goes
on without a replay.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from streaming.call import SAMPLE_RATE
from streaming.records import CallClosed, CallStarted, CallState, Fence, OutRecord, Snapshot
from streaming.reducer import Reducer

MARKS_KEPT: Final = 120
"""Places a snapshot may begin at; noted once a second, they reach back well past the longest utterance."""


CLOSED_TOLD: Final = 64
"""Newest closed calls that a snapshot names: its reader hears no audio from before it, and so meets a closed call only
in records that were written again lately."""


class Phase(StrEnum):
    """Where an ownership stands."""

    RECOVERING = "recovering"
    """The fence is on its way; what is final so far is being read."""
    SERVING = "serving"
    """The slot's calls are heard and written."""
    STOPPED = "stopped"
    """Over; nothing is written any more."""


TRANSITIONS: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.RECOVERING: frozenset({Phase.SERVING, Phase.STOPPED}),
    Phase.SERVING: frozenset({Phase.STOPPED}),
    Phase.STOPPED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Serve:
    """Our fence is in the log, and all that was final before it is known."""

    audio_offset: int
    """Where to begin reading the slot's audio; the oldest kept if it is gone."""
    calls: tuple[CallState, ...]
    """Calls open at that place, with their clocks there. How far they are final, the reducer knows."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The slot is somebody else's."""

    epoch: int
    """Of the new owner."""


@dataclass(frozen=True, slots=True)
class _Mark:
    audio_offset: int
    calls: tuple[CallState, ...]
    owing: tuple[str, ...]


class SlotOwner:
    """One ownership of a slot.

    Args:
        slot: Owned from now on.
        epoch: Offset of the claim.
        owner: Our name.
        snapshot: The one of the slot that reaches furthest, or None to begin at the oldest record kept.
    """

    def __init__(self, slot: int, epoch: int, owner: str, snapshot: Snapshot | None = None) -> None:
        self.slot = slot
        self.epoch = epoch
        self.phase = Phase.RECOVERING
        self.fence = Fence(epoch, owner)
        """To be appended to ``out`` before anything else."""
        self.reducer = Reducer()
        """What is final, as far as ``out`` was read; sessions begin from it."""
        self._snapshot = snapshot
        self._next_out = 0
        self._began: dict[
            str, tuple[int, int]
        ] = {}  # call that is open -> where its output begins, and the epoch there
        self._marks: deque[_Mark] = deque(maxlen=MARKS_KEPT)
        if snapshot is not None:
            self.reducer = Reducer.resumed(snapshot.epoch, snapshot.progress, snapshot.closed)
            self._next_out = snapshot.out_offset
            self._marks.append(_Mark(snapshot.audio_offset, snapshot.calls, ()))
            still_open = {side.call for side in snapshot.progress} | {call.spec.call for call in snapshot.calls}
            self._began = dict.fromkeys(still_open, (snapshot.began, snapshot.began_epoch))

    @property
    def read_out_from(self) -> int:
        """Offset of ``out`` to be read next."""
        return self._next_out

    def read(self, offset: int, record: OutRecord) -> Serve | Stop | None:
        """Take a record of ``out``, in offset order, our own among them.

        Returns:
            What the shard must do now, if anything.
        """
        self._next_out = offset + 1
        if self.reducer.accept(record):
            self._follow_calls(offset, record)
        if self.phase is Phase.STOPPED:
            return None
        if self.reducer.epoch > self.epoch:
            self.phase = Phase.STOPPED
            return Stop(self.reducer.epoch)
        if self.phase is Phase.RECOVERING and record == self.fence:
            self.phase = Phase.SERVING
            return self._serve()
        return None

    def stop(self) -> None:
        """Give up: an append failed, or a newer claim is ours. The next claim of the slot begins anew."""
        self.phase = Phase.STOPPED

    def note(self, audio_offset: int, calls: Iterable[CallState], owing: Iterable[str] = ()) -> None:
        """Remember a place in the audio that a snapshot may begin at; to be told about once a second.

        Args:
            audio_offset: Offset behind the last audio record the sessions were told.
            calls: All calls open there.
            owing: Calls that owe something a replay from there would not ask for again: that were told to end, or to
                finalize, and have not yet said that they did. A call that has ended owes until it is closed.
        """
        self._marks.append(_Mark(audio_offset, tuple(calls), tuple(owing)))

    def snapshot(self) -> Snapshot | None:
        """Return the best place a new owner could begin at, or None if there is none yet."""
        best = next((mark for mark in reversed(self._marks) if self._all_final(mark)), None)
        if best is None:
            return None
        while self._marks[0] is not best:
            self._marks.popleft()
        began, began_epoch = min(self._began.values(), default=(self._next_out, self.reducer.epoch))
        return Snapshot(
            slot=self.slot,
            out_offset=self._next_out,
            epoch=self.reducer.epoch,
            progress=self.reducer.progress_of_all,
            closed=self.reducer.closed[-CLOSED_TOLD:],
            audio_offset=best.audio_offset,
            calls=tuple(call for call in best.calls if not self.reducer.is_closed(call.spec.call)),
            began=began,
            began_epoch=began_epoch,
        )

    def _follow_calls(self, offset: int, record: OutRecord) -> None:
        match record:
            case CallStarted(epoch, call):
                self._began.setdefault(call, (offset, epoch))
            case CallClosed(_, call):
                self._began.pop(call, None)
            case _:
                pass

    def _serve(self) -> Serve:
        if self._snapshot is None:
            return Serve(0, ())
        return Serve(
            self._snapshot.audio_offset,
            tuple(call for call in self._snapshot.calls if not self.reducer.is_closed(call.spec.call)),
        )

    def _all_final(self, mark: _Mark) -> bool:
        """Tell whether nothing before a mark is still to become text."""
        return all(self.reducer.is_closed(call) for call in mark.owing) and all(
            clock.position * SAMPLE_RATE <= self.reducer.progress(call.spec.call, side).done_to * call.spec.audio.rate
            for call in mark.calls
            if not self.reducer.is_closed(call.spec.call)
            for side, clock in enumerate(call.clocks)
        )
