"""What one side of a call still has to say: audio and requests, in order, over as many connections as it takes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from trunkline.messages import Audio
from trunkline.ring import Ring

FRAME_BYTES: Final = 65_536
"""Longest frame sent; longer audio goes in several. Servers take 256 KiB unless told otherwise."""


@dataclass(eq=False, slots=True)
class Asked:
    """A request, with its place among the audio."""

    place: int
    text: str
    again: bool
    """Whether it is sent again on another connection, as long as it is not answered."""
    sent: bool = False


class Outgoing:
    """Sends what it is given, and sends again what a lost connection may have swallowed.

    Args:
        audio: What the audio is.
        longest_s: Most unacknowledged audio, in seconds.
    """

    def __init__(self, audio: Audio, longest_s: float) -> None:
        self.ring = Ring(audio, longest_s)
        self._frame = FRAME_BYTES - FRAME_BYTES % audio.frame_bytes
        self._asked: list[Asked] = []
        self._at = 0  # place of the next byte to be sent
        self._changed = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether there is nobody to send to, or nothing to send."""
        return self._pump is None or self._pump.done() or (self._at >= self.ring.end and self._next() is None)

    async def audio(self, audio: bytes, over: asyncio.Event) -> None:
        """Give it audio: waits while too much is unacknowledged, and until the connection, if there is one, has it.

        Args:
            audio: Whole samples.
            over: Set when nothing more can be sent.
        """
        view = memoryview(audio)
        while view and not over.is_set():
            fits = view[: self.ring.room]
            self.ring.append(bytes(fits))
            view = view[len(fits) :]
            self._notify()
            if view:
                await self._change(over)
        while not (self.idle or over.is_set()):
            await self._change(over)

    async def ask(self, text: str, over: asyncio.Event, *, again: bool = True) -> Asked:
        """Give it a request, behind the audio so far; waits until the connection, if there is one, has it."""
        asked = self.put(text, again=again)
        await self.sent(asked, over)
        return asked

    def put(self, text: str, *, again: bool = True) -> Asked:
        """Give it a request, behind the audio so far, and do not wait."""
        asked = Asked(self.ring.end, text, again)
        self._asked.append(asked)
        self._notify()
        return asked

    async def sent(self, asked: Asked, over: asyncio.Event) -> None:
        """Wait until the connection, if there is one, has a request."""
        while not (asked.sent or over.is_set() or self._pump is None):
            await self._change(over)

    def answered(self, asked: Asked) -> None:
        """Take note that a request need not be sent again; one that was answered before is fine."""
        if asked in self._asked:
            self._asked.remove(asked)

    def acknowledge(self, audio_s: float) -> None:
        """Take note of what the server has for good."""
        self.ring.acknowledge(min(audio_s, self._at / self.ring.second_bytes))
        self._notify()

    def start(self, socket: ClientConnection, place: int = 0) -> int:
        """Send to a connection, from a place on, until ``stop``.

        Returns:
            Bytes that are lost: silence is sent in their place.
        """
        lost = self.ring.rewind(place)
        self.ring.release(place)
        self._at = place
        for asked in self._asked:
            asked.sent = False
        self._asked = [asked for asked in self._asked if asked.again]
        self._pump = asyncio.create_task(self._send_all(socket), name="trunkline-sender")
        return lost

    async def stop(self) -> None:
        """Send no more to the connection there was."""
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.cancel()
            await asyncio.wait((pump,))
        self._notify()

    async def _send_all(self, socket: ClientConnection) -> None:
        try:
            while True:
                asked = self._next()
                if asked is not None and asked.place <= self._at:
                    await socket.send(asked.text)
                    asked.sent = True
                    if not asked.again:
                        self.answered(asked)
                elif self._at < self.ring.end:
                    end = min(self.ring.end, self._at + self._frame, self.ring.end if asked is None else asked.place)
                    await socket.send(self.ring.read(self._at, end))
                    self._at = end
                else:
                    await self._changed.wait()
                    continue
                self._notify()
        except ConnectionClosed:
            self._pump = None
            self._notify()

    def _next(self) -> Asked | None:
        return next((asked for asked in self._asked if not asked.sent), None)

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _change(self, over: asyncio.Event) -> None:
        """Wait for anything to change, or for the end."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._changed, over)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
