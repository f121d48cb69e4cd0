"""Which records of a slot count: one pure function shared by gateways, recovering owners and archivers.

All readers see one total order and apply these rules, so all agree on what a call's transcript is, whatever a former
owner of the slot still wrote after it had lost it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Final as Constant

from streaming.records import (
    UNMARKED,
    CallClosed,
    Dtmf,
    Fence,
    Final,
    Finalized,
    OutRecord,
    Partial,
    Paused,
    Progress,
    QualityChanged,
    SideProgress,
    SpeechEnded,
    SpeechStarted,
    UtteranceEnded,
)

CLOSED_KEPT: Constant = 4096
"""Calls of a slot remembered as over. A record of one can only come late, from a retry or a former owner."""


SAME: Constant = 0.1
"""How near to the newest of its kind, in seconds, an event is the same one heard again: who hears a call from its
middle on may find the edges of speech a frame or three elsewhere, and no two of them lie so close."""


@dataclass(slots=True)
class ChannelProgress:
    """How far one channel of a call is final."""

    next_number: int = 0
    """Number the next final must have."""
    done_to: int = 0
    """Samples at 16 kHz that are done with: where the next final or progress must start."""
    context: str = ""
    """Text of the last final."""
    language: str = ""
    """Of the last final."""
    language_confidence: float = 0.0


@dataclass(slots=True)
class _Told:
    """The events of one kind and channel of a call, as far as they were told."""

    epoch: int
    newest: float = -inf
    """Seconds, or a number."""
    before: float = -inf
    """Where owners before this one had come."""

    def take(self, epoch: int, place: float) -> bool:
        """Tell whether an event is news: its owner says nothing twice, but again what those before it had said."""
        if epoch != self.epoch:
            self.epoch, self.before = epoch, self.newest
        if place <= self.before + SAME:
            return False
        self.newest = max(self.newest, place)
        return True


class Reducer:
    """Folds one slot's ``out`` records, in offset order."""

    def __init__(self) -> None:
        self.epoch = -1
        """Newest epoch fenced so far."""
        self.dropped = 0
        """Records that did not count."""
        self._channels: dict[tuple[str, int], ChannelProgress] = {}
        self._told: defaultdict[str, dict[tuple[type[OutRecord], int | None], _Told]] = defaultdict(dict)
        self._served: dict[str, tuple[str, str]] = {}  # model that a call was last said to have, and why
        self._closed: dict[str, None] = {}  # the longest closed first

    @classmethod
    def resumed(cls, epoch: int, progress: Iterable[SideProgress], closed: Iterable[str]) -> Reducer:
        """Return a reducer that has folded what ``epoch``, ``progress_of_all`` and ``closed`` of another tell."""
        reducer = cls()
        reducer.epoch = epoch
        reducer._closed = dict.fromkeys(closed)
        for side in progress:
            at = ChannelProgress(side.next_number, side.done_to, side.context, side.language, side.language_confidence)
            reducer._channels[side.call, side.channel] = at
        return reducer

    @property
    def progress_of_all(self) -> tuple[SideProgress, ...]:
        """How far each channel of each call is final that has a final or progress and is not over."""
        return tuple(
            SideProgress(call, channel, at.next_number, at.done_to, at.context, at.language, at.language_confidence)
            for (call, channel), at in self._channels.items()
        )

    @property
    def closed(self) -> tuple[str, ...]:
        """Calls that are over, the longest closed first; only the last ``CLOSED_KEPT``."""
        return tuple(self._closed)

    def is_closed(self, call: str) -> bool:
        """Tell whether a call is over."""
        return call in self._closed

    def accept(self, record: OutRecord) -> bool:
        """Fold one record in.

        Returns:
            Whether it counts. A final counts only if its epoch is the newest, its number is the next of its channel,
            and its audio continues the last; an event does not count that an owner before had told already. Nothing
            counts of a call that is over.
        """
        if isinstance(record, Fence):
            newer = record.epoch > self.epoch
            self.epoch = max(self.epoch, record.epoch)
            return newer
        counts = record.epoch == self.epoch and record.call not in self._closed and self._continues(record)
        self.dropped += not counts
        return counts

    def accept_partial(self, partial: Partial) -> bool:
        """Tell whether a partial is of the newest owner and of text that is not final yet."""
        return (
            partial.epoch == self.epoch and partial.number == self.progress(partial.call, partial.channel).next_number
        )

    def progress(self, call: str, channel: int) -> ChannelProgress:
        """Return how far a channel is final; a channel not seen yet is at its start."""
        return self._channels.get((call, channel), ChannelProgress())

    def forget(self, call: str) -> None:
        """Drop what is known of a call that is over."""
        for key in [key for key in self._channels if key[0] == call]:
            del self._channels[key]
        self._told.pop(call, None)
        self._served.pop(call, None)

    def _continues(self, record: OutRecord) -> bool:
        if isinstance(record, CallClosed):
            self._close(record.call)
            return True
        if not isinstance(record, Final | Progress):
            return self._is_news(record)
        at = self._channels.setdefault((record.call, record.channel), ChannelProgress())
        if record.from_sample != at.done_to or record.to_sample < record.from_sample:
            return False
        if isinstance(record, Final):
            if record.number != at.next_number:
                return False
            at.next_number += 1
            at.context = " ".join(word.text for word in record.words)
            at.language, at.language_confidence = record.language, record.language_confidence
        at.done_to = record.to_sample
        return True

    def _is_news(self, record: OutRecord) -> bool:
        match record:
            case SpeechStarted(channel=channel, at=place) | SpeechEnded(channel=channel, at=place):
                pass
            case UtteranceEnded(channel=channel, last_word_end=place):
                pass
            case Dtmf(channel=channel, mark=place) | Finalized(channel=channel, mark=place) if place != UNMARKED:
                pass
            case Paused(mark=place) if place != UNMARKED:
                channel = None
            case QualityChanged(call=call, model=model, reason=reason) if model:
                before, self._served[call] = self._served.get(call), (model, reason)
                return before != (model, reason)
            case _:
                return True
        told = self._told[record.call].setdefault((type(record), channel), _Told(record.epoch))
        return told.take(record.epoch, place)

    def _close(self, call: str) -> None:
        self.forget(call)
        self._closed[call] = None
        if len(self._closed) > CLOSED_KEPT:
            del self._closed[next(iter(self._closed))]
