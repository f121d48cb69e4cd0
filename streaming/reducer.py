"""Which records of a slot count: one pure function shared by gateways, recovering owners and archivers.

All readers see one total order and apply these rules, so all agree on what a call's transcript is, whatever a former
owner of the slot still wrote after it had lost it.
"""

from __future__ import annotations

from dataclasses import dataclass

from streaming.records import CallClosed, Fence, Final, OutRecord, Partial, Progress


@dataclass(slots=True)
class ChannelProgress:
    """How far one channel of a call is final."""

    next_number: int = 0
    """Number the next final must have."""
    done_to: int = 0
    """Samples at 16 kHz that are done with: where the next final or progress must start."""
    context: str = ""
    """Text of the last final."""


class Reducer:
    """Folds one slot's ``out`` records, in offset order."""

    def __init__(self) -> None:
        self.epoch = -1
        """Newest epoch fenced so far."""
        self.dropped = 0
        """Finals and progress records that did not count."""
        self._channels: dict[tuple[str, int], ChannelProgress] = {}

    def accept(self, record: OutRecord) -> bool:
        """Fold one record in.

        Returns:
            Whether it counts. A final counts only if its epoch is the newest, its number is the next of its channel,
            and its audio continues the last.
        """
        if isinstance(record, Fence):
            newer = record.epoch > self.epoch
            self.epoch = max(self.epoch, record.epoch)
            return newer
        counts = record.epoch == self.epoch and self._continues(record)
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

    def _continues(self, record: OutRecord) -> bool:
        if isinstance(record, CallClosed):
            return True
        if not isinstance(record, Final | Progress):
            return True
        at = self._channels.setdefault((record.call, record.channel), ChannelProgress())
        if record.from_sample != at.done_to or record.to_sample < record.from_sample:
            return False
        if isinstance(record, Final):
            if record.number != at.next_number:
                return False
            at.next_number += 1
            at.context = " ".join(word.text for word in record.words)
        at.done_to = record.to_sample
        return True
