"""Recordings through the same way as calls: a client of our own, in the same process, that waits for the words.

Audio goes to the log faster than real time, but not far ahead of what is final: a recording's windows wait in the same
queue as those of live calls, and few of them may be there at a time.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Final as Constant

from server.connection import Connection
from server.dialect import Action, Audio, Close, Dialect, End, Event, Ill, Open, Send, Trouble, Upgrade
from server.errors import Refusal
from server.native import CLOSE_CODES, default_labels
from server.recordings import Recording
from server.services import Services
from streaming.call import SAMPLE_RATE, AudioFormat, CallSpec, Encoding
from streaming.record_codec import decode, encode
from streaming.records import ALL_CHANNELS, UNTIMED, CallClosed, Final, Progress

AHEAD_S: Constant = 20.0
"""Audio given to the log beyond what is final, in seconds: the longest utterance, and some."""

STALL_S: Constant = 1.0
"""Time after which one piece more is given if nothing became final, in seconds: an utterance may be longer by settings,
and a silence is told of every ten seconds only. Under load this is slower than real time."""

MOST_AHEAD_S: Constant = 60.0
"""Audio beyond what is final after which nothing is given for any wait, in seconds: no utterance is that long."""

SPEED: Constant = 1e9
"""Times real time: how far ahead is what counts here."""


class FileDialect(Dialect):
    """A recording on its way; its peer is this process, so records go out as they lie in the log.

    Args:
        spec: The call to make of it.
    """

    name = "file"

    def __init__(self, spec: CallSpec) -> None:
        self._spec = spec

    def begin(self, now: float) -> list[Action]:
        """Open the call: everything is known."""
        del now
        return [Open(self._spec)]

    def receive(self, message: str | bytes, now: float) -> list[Action]:
        """Act on samples; none are the end."""
        del now
        samples = message if isinstance(message, bytes) else b""
        return [Audio(ALL_CHANNELS, UNTIMED, samples)] if samples else [End("hangup")]

    def deliver(self, event: Event, now: float) -> list[Action]:
        """Act on what happened to the call."""
        del now
        match event:
            case Final() | Progress():
                return [Send(encode(event))]
            case CallClosed():
                return [Close()]
            case Trouble(ill, message) if ill is not Ill.DRAINING:  # a drain waits for what is begun
                return [Close(CLOSE_CODES[ill], f"{ill}: {message}"[:120])]
            case _:
                return []


class Transcription:
    """One recording's words, as they come; the socket of a ``FileDialect``.

    Args:
        pieces: The recording; read in a thread, because it computes.
        channels: Of the recording.
        gone: Done once nobody waits for the words any more.
    """

    def __init__(self, pieces: Iterator[bytes], channels: int, gone: asyncio.Future[None]) -> None:
        self._pieces = pieces
        self._channels = channels
        self._gone = gone
        self._done_s = dict.fromkeys(range(channels), 0.0)
        self._changed = asyncio.Event()
        self._finals: asyncio.Queue[Final | None] = asyncio.Queue()
        self._problem: Refusal | None = None
        self._closed = False

    async def finals(self) -> AsyncGenerator[Final]:
        """Give out the finals.

        Raises:
            Refusal: If the recording or the server cannot go on.
        """
        while (final := await self._finals.get()) is not None:
            yield final
        if self._problem is not None:
            raise self._problem

    def stop(self) -> None:
        """End the call: nobody waits any more."""
        self._closed = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Give out the recording as far ahead as it may be, its end, and then nothing until all words came."""
        self._gone.add_done_callback(self._left)
        try:
            given_s = 0.0
            while not self._closed:
                if not await self._may(given_s):
                    continue
                piece = await asyncio.to_thread(next, self._pieces, None)
                if piece is None:
                    yield b""
                    break
                if piece:
                    given_s += len(piece) / (2 * self._channels * SAMPLE_RATE)
                    yield piece
            while not self._closed:
                await self._change()
        except Refusal as problem:
            self._problem = problem
        finally:
            self._gone.remove_done_callback(self._left)

    async def send(self, message: str | bytes) -> None:
        """Take a record."""
        record = decode(message if isinstance(message, bytes) else message.encode())
        if isinstance(record, Final | Progress):
            self._done_s[record.channel] = record.to_sample / SAMPLE_RATE
            self._changed.set()
        if isinstance(record, Final):
            self._finals.put_nowait(record)

    async def close(self, code: int, reason: str) -> None:
        """Take the end."""
        if code != Close().code and self._problem is None:
            overloaded = code == CLOSE_CODES[Ill.OVERLOADED]
            headers = {"Retry-After": "5"} if overloaded else {}
            self._problem = Refusal(503 if overloaded else 500, reason.partition(":")[0], reason, headers)
        self.stop()

    def over(self) -> None:
        """Say that no more words come."""
        self._finals.put_nowait(None)

    async def _may(self, given_s: float) -> bool:
        """Wait while too much is ahead; return False if something changed meanwhile and has to be looked at."""
        ahead_s = given_s - min(self._done_s.values())
        if ahead_s <= AHEAD_S:
            return True
        try:
            async with asyncio.timeout(STALL_S if ahead_s <= MOST_AHEAD_S else None):
                await self._change()
        except TimeoutError:
            return True
        return False

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _left(self, _gone: asyncio.Future[None]) -> None:
        self.stop()


@dataclasses.dataclass(frozen=True, slots=True)
class Wishes:
    """What the sender of a recording asks for."""

    language: str | None = None
    hotwords: tuple[str, ...] = ()
    model: str | None = None
    metadata: dict[str, str] = dataclasses.field(default_factory=dict[str, str])


class Transcriber:
    """Turns recordings into words.

    Args:
        services: What all connections share.
        enter: Called with each connection that begins.
        leave: Called with each that ended.
    """

    def __init__(
        self, services: Services, enter: Callable[[Connection], None], leave: Callable[[Connection], None]
    ) -> None:
        limits = services.limits.model_copy(update={"speed": SPEED})
        self._services = dataclasses.replace(services, limits=limits)
        self._enter = enter
        self._leave = leave

    @asynccontextmanager
    async def transcribe(
        self, recording: Recording, upgrade: Upgrade, wishes: Wishes, gone: asyncio.Future[None]
    ) -> AsyncGenerator[Transcription]:
        """Transcribe while the context lasts.

        Args:
            recording: The sound.
            upgrade: The request that brought it.
            wishes: What it asks for.
            gone: Done once nobody waits any more.
        """
        spec = CallSpec(
            call=upgrade.request_id,
            tenant=upgrade.tenant,
            audio=AudioFormat(Encoding.L16, SAMPLE_RATE, recording.channels),
            labels=default_labels(recording.channels),
            language=wishes.language,
            hotwords=wishes.hotwords,
            model=wishes.model,
            interim=False,
            metadata=wishes.metadata,
        )
        words = Transcription(recording.pieces(), recording.channels, gone)
        running = asyncio.create_task(self._run(words, spec), name="transcription")
        try:
            yield words
        finally:
            words.stop()
            with suppress(asyncio.CancelledError):
                await running

    async def _run(self, words: Transcription, spec: CallSpec) -> None:
        connection = Connection(words, FileDialect(spec), spec.tenant, math.inf, self._services)
        self._enter(connection)
        try:
            await connection.run()
        finally:
            self._leave(connection)
            words.over()
