"""What still has to be sent on one connection: bounded, and the newest partial of a channel is the only one kept."""

from __future__ import annotations

from server.dialect import Close, Send


class Outbox:
    """Frames in sending order.

    Args:
        max_bytes: Unsent characters or bytes beyond which the reader counts as too slow.
    """

    __slots__ = ("_frames", "_max_bytes", "_next", "size")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._frames: dict[int | str, Send | Close] = {}
        self._next = 0
        self.size = 0
        """Characters or bytes unsent."""

    def put(self, frame: Send | Close) -> bool:
        """Add a frame at the end, in place of an unsent one of the same ``replaces``.

        Returns:
            Whether the outbox is within its bound.
        """
        key: int | str = self._next
        self._next += 1
        if isinstance(frame, Send):
            if frame.replaces is not None:
                key = frame.replaces
                replaced = self._frames.pop(key, None)
                if isinstance(replaced, Send):
                    self.size -= len(replaced.payload)
            self.size += len(frame.payload)
        self._frames[key] = frame
        return self.size <= self._max_bytes

    def take(self) -> Send | Close | None:
        """Take the oldest frame out, or return None where there is none."""
        if not self._frames:
            return None
        frame = self._frames.pop(next(iter(self._frames)))
        if isinstance(frame, Send):
            self.size -= len(frame.payload)
        return frame
