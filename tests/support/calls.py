"""One native call against a real server, in real time or at once, with everything that came back and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from trunkline import Audio, Call, Closed, Event, Partial, connect
from trunkline import Final as FinalText

CHUNK_S: Final = 0.02


class Caller:
    """Plays audio into a call and remembers what it hears.

    Args:
        call: In progress.
        bytes_per_s: Of its audio.
    """

    def __init__(self, call: Call, bytes_per_s: int) -> None:
        self.call = call
        self.heard: list[tuple[float, Event]] = []
        """With the monotonic seconds at which each came."""
        self.sent_s = 0.0
        """Seconds of audio sent so far."""
        self.listening = asyncio.create_task(self._listen())
        """Ends when the call does; raises what ended it."""
        self._bytes_per_s = bytes_per_s

    @property
    def finals(self) -> list[FinalText]:
        """All finals, in the order they came."""
        return [message for _, message in self.heard if isinstance(message, FinalText)]

    @property
    def closed(self) -> Closed:
        """How it ended."""
        (closed,) = [message for _, message in self.heard if isinstance(message, Closed)]
        return closed

    def words(self, channel: int = 0) -> list[str]:
        """Return the words of a side's finals."""
        return [word.text for final in self.finals if final.channel == channel for word in final.words]

    def numbers(self, channel: int = 0) -> list[int]:
        """Return the numbers of a side's finals."""
        return [final.number for final in self.finals if final.channel == channel]

    def first_partial_after(self, moment: float, audio_s: float) -> float:
        """Return when the first partial came after a moment that reaches beyond some audio; monotonic seconds."""
        return next(
            at
            for at, message in self.heard
            if at > moment and isinstance(message, Partial) and message.words and message.end > audio_s
        )

    async def play(self, audio: bytes, until_s: float | None = None) -> None:
        """Send audio in real time, from where the last ``play`` stopped."""
        end = len(audio) if until_s is None else int(until_s * self._bytes_per_s)
        size = int(CHUNK_S * self._bytes_per_s)
        at = int(self.sent_s * self._bytes_per_s)
        began = time.monotonic() - self.sent_s
        while at < end:
            chunk = audio[at : min(at + size, end)]
            at += len(chunk)
            self.sent_s = at / self._bytes_per_s
            await asyncio.sleep(max(0.0, began + self.sent_s - time.monotonic()))
            await self.call.send(chunk)

    async def _listen(self) -> None:
        async for message in self.call:
            self.heard.append((time.monotonic(), message))


@asynccontextmanager
async def calling(url: str, audio: Audio, *, call: str | None = None) -> AsyncGenerator[Caller]:
    """Make a call; leaving the context closes it and waits for all that comes."""
    bytes_per_s = audio.sample_rate * audio.frame_bytes
    async with connect(url, audio=audio, call=call) as live:
        caller = Caller(live, bytes_per_s)
        yield caller
        if not caller.listening.done():
            await live.close()
            await caller.listening
