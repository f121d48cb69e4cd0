"""A recorded call, played to a server as a telephony bridge would, with every word timed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from trunkline.audio import Recording
from trunkline.errors import CallFailed, ConnectionLost, Refused, TrunklineError
from trunkline.framing import Framing
from trunkline.link import open_socket
from trunkline.messages import Closed, Error, Event, Ready
from trunkline.pacing import paced
from trunkline.timing import CallTiming, Latencies, Turn
from trunkline.watch import watch

END_S: Final = 30.0
"""Seconds that accepting a call, and the last finals after its end, may take."""

WATCH_S: Final = 10.0
"""Seconds until a server must know a call that it is sent."""


@dataclass(frozen=True, slots=True)
class Played:
    """What came of one call; everything in seconds."""

    latencies: Latencies
    setup_s: float
    """From connecting to when audio could be sent."""
    sent_s: float
    """Audio sent."""
    took_s: float
    """From the first audio to the last answer."""
    late_s: float
    """The most that this machine itself sent audio too late; over 0.1 it is too slow for the test."""


def _ignore(_event: Event) -> None:
    pass


async def play(
    framing: Framing,
    server: str,
    recording: Recording,
    *,
    turns: Iterable[Turn] | None = None,
    duration_s: float | None = None,
    key: str | None = None,
    on_event: Callable[[Event], None] = _ignore,
) -> Played:
    """Play a call in real time and wait for its last final.

    Args:
        framing: A wire format, fresh for this call.
        server: Address of the server.
        recording: What is said.
        turns: When it is said, or None to go by what the server says.
        duration_s: When to hang up, in seconds; a shorter recording is played again. None for the recording's end.
        key: API key for watching the call, where its text comes back that way.
        on_event: Gets everything the server says, as it comes.

    Raises:
        Refused: If the server does not take the call.
        CallFailed: If it gives the call up, or the last finals do not come.
        ConnectionLost: If the connection breaks, or there is none.
    """
    length_s = recording.seconds if duration_s is None else duration_s
    timing = CallTiming(None if turns is None else _repeated(turns, recording.seconds, length_s))
    connecting = time.monotonic()
    async with open_socket(framing.url(server), framing.headers()) as socket:
        line = _Line(socket, framing, timing, on_event)
        async with _alongside(line.read()):
            await line.send(framing.opening())
            if framing.greets:
                await line.until(line.ready)
            talking = time.monotonic()
            async with _alongside(line.watch(server, key)):
                sent_s, late_s = await line.speak(recording, length_s)
                await line.send(framing.closing())
                await line.until(line.closed)
    return Played(timing.latencies(), talking - connecting, sent_s, time.monotonic() - talking, late_s)


def _repeated(turns: Iterable[Turn], seconds: float, length_s: float) -> list[Turn]:
    """Return the turns of a recording as often as it is played."""
    once = list(turns)
    rounds = max(1, -int(-length_s // seconds))
    return [turn.later(number * seconds) for number in range(rounds) for turn in once]


@asynccontextmanager
async def _alongside(work: Coroutine[object, object, None]) -> AsyncGenerator[None]:
    """Have something done while the context lasts."""
    task = asyncio.create_task(work, name="bridge")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _looped(recording: Recording, length_s: float) -> AsyncGenerator[bytes]:
    """Yield a recording in chunks, again and again, up to a length."""
    left = round(length_s * recording.audio.sample_rate) * recording.audio.frame_bytes
    while left > 0:
        for chunk in recording.chunks():
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return


class _Line:
    """One call on its connection.

    Args:
        socket: The connection.
        framing: What is spoken on it.
        timing: Where times are kept.
        on_event: Gets everything the server says.
    """

    def __init__(
        self, socket: ClientConnection, framing: Framing, timing: CallTiming, on_event: Callable[[Event], None]
    ) -> None:
        self.ready = asyncio.Event()
        """The server took the call."""
        self.closed = asyncio.Event()
        """The server said that the call has ended."""
        self._socket = socket
        self._framing = framing
        self._timing = timing
        self._on_event = on_event
        self._problem: TrunklineError | None = None
        self._broken = asyncio.Event()

    async def read(self) -> None:
        """Take in what comes on the call's own connection."""
        try:
            async for frame in self._socket:
                for event in self._framing.read(frame):
                    self._hear(event)
        except ConnectionClosed:
            pass
        except ValueError as problem:
            self._break(CallFailed("bad_message", f"the server sent what this client cannot read: {problem}"))
        if self._framing.watched is None or not self._hung_up_well():
            code, reason = self._socket.close_code, self._socket.close_reason
            self._break(ConnectionLost(f"the connection was closed with code {code} ({reason})", close_code=code))

    async def watch(self, server: str, key: str | None) -> None:
        """Take in what is said of the call to those who watch it, where the framing needs that."""
        if self._framing.watched is None:
            return
        try:
            async with watch(server, self._framing.watched, key=key, wait_s=WATCH_S) as watched:
                async for event in watched:
                    self._hear(event)
        except TrunklineError as problem:
            self._break(problem)

    async def send(self, frames: Iterable[str | bytes]) -> None:
        """Send frames.

        Raises:
            TrunklineError: What ended the call, if it has ended.
        """
        try:
            for frame in frames:
                await self._socket.send(frame)
        except ConnectionClosed:
            await self.until(self._broken)

    async def speak(self, recording: Recording, length_s: float) -> tuple[float, float]:
        """Send audio in real time.

        Returns:
            Seconds sent, and the most seconds that a chunk was late.

        Raises:
            TrunklineError: What ended the call, if it has ended.
        """
        sent_s = worst_s = 0.0
        async with aclosing(paced(_looped(recording, length_s), recording.audio)) as chunks:
            async for until_s, late_s, chunk in chunks:
                self._raise_problem()
                now = time.monotonic()
                await self.send(self._framing.wrap(chunk))
                self._timing.sent(until_s, now)
                sent_s, worst_s = until_s, max(worst_s, late_s)
        return sent_s, worst_s

    async def until(self, happened: asyncio.Event) -> None:
        """Wait for something.

        Raises:
            TrunklineError: What ended the call before that, or that nothing came.
        """
        waits = [asyncio.create_task(event.wait()) for event in (happened, self._broken)]
        try:
            done, _ = await asyncio.wait(waits, timeout=END_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not done:
            raise CallFailed("no_answer", f"the server said nothing for {END_S:g} s")
        if happened is self._broken or not happened.is_set():
            self._raise_problem()

    def _hear(self, event: Event) -> None:
        self._timing.heard(event, time.monotonic())
        match event:
            case Ready():
                self.ready.set()
            case Closed():
                self.closed.set()
            case Error(fatal=True) if self._framing.greets and not self.ready.is_set():
                self._break(Refused(event.code, event.message, retry_after_s=event.retry_after_s))
            case Error(fatal=True):
                self._break(CallFailed(event.code, event.message, retry_after_s=event.retry_after_s))
            case _:
                pass
        self._on_event(event)

    def _break(self, problem: TrunklineError) -> None:
        """Note what ended the call; only the first reason counts."""
        if self._problem is None and not self.closed.is_set():
            self._problem = problem
        self._broken.set()

    def _hung_up_well(self) -> bool:
        """Tell whether the connection was closed the way it is at the end of a call whose text goes elsewhere."""
        return self._socket.close_code in (1000, 1001)

    def _raise_problem(self) -> None:
        if self._problem is not None:
            raise self._problem
