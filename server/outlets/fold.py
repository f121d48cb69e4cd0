"""One slot on its way out: which records count, which of their documents are out, where to begin after a restart. Pure.

A restart begins where the oldest call in progress does, so that everything known of it is known again, but tells only
what was not told yet. What was told and not noted as told is told twice, with the same id: nothing is left out.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from server.outlets.documents import Document, Documents
from streaming.records import CallClosed, Fence, OutRecord, Partial
from streaming.reducer import Reducer


@dataclass(frozen=True, slots=True)
class Position:
    """How far an outlet is in one slot's output."""

    read_from: int = 0
    """Offset to begin reading at."""
    epoch: int = -1
    """Of the slot's owner just before ``read_from``."""
    told_to: int = 0
    """What lies before this offset is told."""


@dataclass(slots=True)
class _Call:
    """A call of which something is still to be told, or may come."""

    first: int
    """Offset of its first record."""
    end: int | None = None
    """Offset of its last record; None while more may come."""


class SlotFold:
    """Folds one slot's output, in offset order, from a position on."""

    def __init__(self, position: Position, *, transcripts: bool) -> None:
        self._reducer = Reducer.resumed(position.epoch, (), ())
        self._documents = Documents(transcripts=transcripts)
        self._told_to = position.told_to
        self._calls: dict[str, _Call] = {}
        self._epochs = deque([(-1, position.epoch)])  # offset of a fence and its epoch, oldest first
        self._under_way: dict[int, None] = {}  # offsets of what is not told yet, in order
        self._next = position.read_from

    def take(self, offset: int, record: OutRecord) -> Document | None:
        """Fold one record in.

        Returns:
            Its document if there is something to tell; ``told`` is to be called once it is.
        """
        self._next = offset + 1
        if record.epoch > self._reducer.epoch and not isinstance(record, Fence):
            # Owners fence before they write: this one's fence is older than what the log keeps.
            self._reducer.accept(Fence(record.epoch, ""))
            self._epochs.append((offset, record.epoch))
        counts = self._reducer.accept(record)
        if isinstance(record, Fence):
            if counts:
                self._epochs.append((offset, record.epoch))
            return None
        if not counts:
            return None
        call = self._calls.setdefault(record.call, _Call(offset))
        if isinstance(record, CallClosed):
            call.end = offset
        document = self._documents.of(record)
        if document is None or offset < self._told_to:
            return None
        self._under_way[offset] = None
        return document

    def take_partial(self, partial: Partial) -> Document | None:
        """Return a partial's document if it is of the newest owner and of text that is not final yet."""
        return self._documents.of(partial) if self._reducer.accept_partial(partial) else None

    def told(self, offset: int) -> None:
        """Note that the document of a record is told, or given up."""
        del self._under_way[offset]

    def position(self) -> Position:
        """Return where a successor begins."""
        told_to = max(self._told_to, next(iter(self._under_way), self._next))
        self._calls = {name: call for name, call in self._calls.items() if call.end is None or call.end >= told_to}
        read_from = min((told_to, self._next, *(call.first for call in self._calls.values())))
        while len(self._epochs) > 1 and self._epochs[1][0] < read_from:
            self._epochs.popleft()
        return Position(read_from, self._epochs[0][1], told_to)
