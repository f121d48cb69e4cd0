"""Events that were received and not yet read: newer partials replace older ones, nothing else is ever dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from trunkline.messages import Ack, Event, Partial


class Inbox:
    """A queue between the task that reads the socket and whoever iterates over a call.

    The socket is always read, however slowly the events are: a server closes connections that are not.
    """

    def __init__(self) -> None:
        self._events: dict[Hashable, Event] = {}
        self._count = 0
        self._changed = asyncio.Event()
        self._ended = False

    def put(self, event: Event) -> None:
        """Add an event; one it makes pointless goes."""
        key = self._key(event)
        self._events.pop(key, None)
        self._events[key] = event
        self._changed.set()

    def end(self) -> None:
        """Say that no event follows."""
        self._ended = True
        self._changed.set()

    async def get(self) -> Event | None:
        """Return the oldest event, or None after the last one."""
        while not self._events:
            if self._ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._events.pop(next(iter(self._events)))

    def _key(self, event: Event) -> Hashable:
        match event:
            case Partial():
                return ("partial", event.channel)
            case Ack():
                return "ack"
            case _:
                self._count += 1
                return self._count
