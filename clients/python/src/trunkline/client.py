"""One live call over the native protocol, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final as Constant

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from trunkline import messages
from trunkline.errors import CallFailed, ConnectionLost, Refused, TrunklineError
from trunkline.link import address, authorization, connect_socket
from trunkline.messages import (
    Ack,
    Audio,
    Close,
    Closed,
    Error,
    Final,
    Finalize,
    Finalized,
    GoAway,
    KeepAlive,
    Pause,
    Paused,
    Ready,
    Reconnecting,
    Resume,
    Resumed,
    Start,
    Unpause,
    Unpaused,
)
from trunkline.outgoing import Asked, Outgoing
from trunkline.reconnecting import NEVER, Absence
from trunkline.ring import silence
from trunkline.stream import EventStream

UNACKNOWLEDGED_S: Constant = 60.0
"""Most audio, in seconds, that is kept to be sent again; ``send`` waits beyond it."""

HAND_OVER_S: Constant = 20.0
"""Seconds a server has to hand a call over; one that lost the shard of the call needs up to 10."""


@asynccontextmanager
async def connect(
    url: str,
    *,
    audio: Audio,
    call: str | None = None,
    labels: Sequence[str] = (),
    language: str | None = None,
    hotwords: Sequence[str] = (),
    model: str | None = None,
    interim: bool = True,
    endpoint_ms: int | None = None,
    utterance_end_ms: int | None = None,
    metadata: Mapping[str, str] | None = None,
    key: str | None = None,
    open_timeout_s: float = 10.0,
    resume: bool = True,
) -> AsyncGenerator[Call]:
    """Start a call; leaving the context without an error closes it and waits for the last finals.

    A connection that breaks is made again, by itself, at this address: the server keeps the call for a minute, audio it
    has not acknowledged is sent again, and finals that were missed come first. ``Reconnecting`` and ``Resumed`` are
    among the call's events.

    Args:
        url: Address of the server, such as ``ws://127.0.0.1:8080``.
        audio: What will be sent.
        call: Id of the call, or None to have one made up.
        labels: Names of the channels, such as ``["customer", "agent"]``: one for each, or none.
        language: ISO 639-1 code, or None to have it detected.
        hotwords: Words to expect.
        model: Name of a model the server has, or None for its own choice.
        interim: Whether to send partials.
        endpoint_ms: Pause that ends an utterance, in milliseconds; None for the server's own.
        utterance_end_ms: Gap after the last word that is worth an ``UtteranceEnd``, in milliseconds; None for none.
        metadata: Kept with the call.
        key: API key.
        open_timeout_s: How long connecting and starting may each take, in seconds.
        resume: Whether to go on after a connection broke; else the call ends with it.

    Raises:
        Refused: If the server does not take the call.
        Unreachable: If there is no server.
        ConnectionLost: If the connection breaks, and the call cannot be resumed in time.
        CallFailed: If the server gives up the call.
        ValueError: If the address is none, or there are labels and not one for each channel.
    """
    if labels and len(labels) != audio.channels:
        raise ValueError(f"{audio.channels} channels need as many labels, or none; {len(labels)} were given")
    start = Start(
        audio=audio,
        call=call,
        labels=tuple(labels),
        language=language,
        hotwords=tuple(hotwords),
        model=model,
        interim=interim,
        endpoint_ms=endpoint_ms,
        utterance_end_ms=utterance_end_ms,
        metadata=dict(metadata or {}),
        resumable=resume,
    )
    server = Server(url, authorization(key), open_timeout_s)
    live = Call(await server.connect("/v1/stream"), start, server)
    async with live.running(open_timeout_s):
        yield live
        await live.finish()


@dataclass(frozen=True, slots=True)
class Server:
    """Where calls are made, and gone on with."""

    url: str
    headers: Mapping[str, str]
    open_timeout_s: float = 10.0

    async def connect(self, path: str) -> ClientConnection:
        """Connect to a path; see ``trunkline.link.connect_socket``."""
        where = address(self.url.removesuffix("/v1/stream"), path)
        return await connect_socket(where, self.headers, open_timeout_s=self.open_timeout_s)


class Call(EventStream):
    """A call in progress; made by ``connect``.

    Iterating over it gives every message of the server after ``ready``.

    Args:
        socket: An open connection.
        start: What the call is.
        server: Where to connect again.
    """

    def __init__(self, socket: ClientConnection, start: Start, server: Server) -> None:
        super().__init__(socket)
        self._start = start
        self._server = server
        self._outgoing = Outgoing(start.audio, UNACKNOWLEDGED_S)
        self._arrived = [0] * start.audio.channels  # finals of each channel
        self._resumed: Resumed | None = None  # what the newest connection began with
        self._leaving = False  # whether the server asked to be left
        self._silent = False  # whether silence is sent in place of what is given
        self._marks: list[tuple[type[Paused | Unpaused], Asked, asyncio.Event]] = []
        self._ready = asyncio.Event()
        self._accepted: Ready | None = None
        self._rest = b""  # the beginning of a sample whose end is in the next send
        self._asked = 0
        self._finalized: dict[str, asyncio.Event] = {}
        self._closing = False

    @property
    def ready(self) -> Ready:
        """What the server said to the call: its id, labels and model.

        Raises:
            RuntimeError: If the call has not been accepted.
        """
        if self._accepted is None:
            raise RuntimeError("the call has not been accepted; use it inside 'async with connect(...)'")
        return self._accepted

    @property
    def id(self) -> str:
        """The call's id."""
        return self.ready.call

    @asynccontextmanager
    async def running(self, timeout_s: float) -> AsyncGenerator[None]:
        """Start the call, and read its events while the context lasts.

        Args:
            timeout_s: How long the server may take to accept, in seconds.

        Raises:
            Refused: If the server does not take the call.
            ConnectionLost: If the connection breaks.
        """
        try:
            async with self._reading():
                await self._begin(timeout_s)
                try:
                    yield
                except BaseException:
                    await self._break_off()
                    raise
        finally:
            await self._outgoing.stop()
            await self._socket.close()

    async def _begin(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                with suppress(ConnectionClosed):  # the reader knows why
                    await self._socket.send(messages.dump(self._start))
                await self._unless_over(self._ready)
        except TimeoutError as problem:
            raise Refused("no_answer", f"the server did not accept the call within {timeout_s:g} s") from problem
        except CallFailed as failure:
            raise Refused(failure.code, failure.message, retry_after_s=failure.retry_after_s) from failure
        self._outgoing.start(self._socket)

    async def _break_off(self) -> None:
        """Leave nothing behind: a call that this side breaks off is not to be kept for a minute."""
        await self._outgoing.stop()
        if self._may_resume and not (self._closing or self.over):
            with suppress(ConnectionClosed):
                await self._socket.send(messages.dump(Close()))

    async def send(self, audio: bytes | bytearray | memoryview) -> None:
        """Send samples, channels interleaved; a sample may be split over two sends.

        While the connection is being made again, audio is kept; beyond a minute of it this waits.

        Raises:
            CallFailed: If the server has ended the call.
            ConnectionLost: If the connection broke.
            RuntimeError: If the call was closed by this side.
        """
        if self._closing:
            raise RuntimeError("the call was closed; no more audio can be sent")
        given = self._rest + bytes(audio)
        whole = len(given) - len(given) % self._start.audio.frame_bytes
        self._rest = given[whole:]
        self._check_open()
        audio_given = silence(whole, self._start.audio) if self._silent else given[:whole]
        await self._outgoing.audio(audio_given, self._over)
        if self.over:
            self._check_open()

    async def keepalive(self) -> None:
        """Tell the server that the call goes on though no audio comes, as on hold.

        Raises:
            CallFailed: If the server has ended the call.
            ConnectionLost: If the connection broke.
        """
        await self._ask(KeepAlive(), again=False)

    async def pause(self) -> None:
        """Have nothing heard of what is sent from here on; returns once that is marked in the transcript.

        Silence is sent in its place: not even the server gets to hear it.

        Raises:
            CallFailed: If the server has ended the call.
            ConnectionLost: If the connection broke.
        """
        self._silent = True
        await self._mark(Pause(), Paused)

    async def unpause(self) -> None:
        """Have what is sent heard again; see ``pause``."""
        await self._mark(Unpause(), Unpaused)

    async def _mark(self, request: Pause | Unpause, answer: type[Paused | Unpaused]) -> None:
        happened = asyncio.Event()
        self._check_open()
        asked = self._outgoing.put(messages.dump(request))
        self._marks.append((answer, asked, happened))  # before it is sent: the answer may come first
        await self._outgoing.sent(asked, self._over)
        if answer is Unpaused:
            self._silent = False
        await self._unless_over(happened)

    async def finalize(self, channel: int | None = None) -> None:
        """Make everything sent so far final; returns once all those finals are in ``transcript``.

        Args:
            channel: One channel, or None for all.

        Raises:
            CallFailed: If the server has ended the call.
            ConnectionLost: If the connection broke.
            ValueError: If there is no such channel.
        """
        if channel is not None and not 0 <= channel < self._start.audio.channels:
            raise ValueError(f"the call has channels 0 to {self._start.audio.channels - 1}, not {channel}")
        self._asked += 1
        marker = f"f{self._asked}"
        answered = self._finalized[marker] = asyncio.Event()
        asked: Asked | None = None
        try:
            asked = await self._ask(Finalize(marker, channel))
            await self._unless_over(answered)
        finally:
            del self._finalized[marker]
            if asked is not None:
                self._outgoing.answered(asked)

    async def close(self) -> Closed:
        """Say that no more audio comes, and wait for the last finals; events can still be read afterwards.

        Returns:
            How the call ended.

        Raises:
            CallFailed: If the server gave up the call.
            ConnectionLost: If the connection broke.
        """
        if not self._closing and not self.over:
            self._closing = True
            await self._outgoing.ask(messages.dump(Close()), self._over)
        await self._over.wait()
        self._check()
        assert self.closed is not None
        return self.closed

    async def finish(self) -> None:
        """Close the call unless its end was seen already."""
        if not self._told:
            await self.close()

    def _take(self, event: messages.ServerMessage) -> None:
        match event:
            case Ready():
                self._accepted = event
                self.transcript.add(event)
                self._ready.set()
                return
            case Finalized(id=marker) if marker in self._finalized:
                self._finalized[marker].set()
            case Ack(audio_s):
                self._outgoing.acknowledge(audio_s)
            case Final(channel=channel, number=number):
                if number < self._arrived[channel]:
                    return  # of before the break, and here already
                self._arrived[channel] = number + 1
            case Paused() | Unpaused():
                self._marked(type(event))
            case _:
                pass
        super()._take(event)

    def _ended_well(self) -> bool:
        """A server that drains while the call ends has still sent all of it."""
        return self.closed is not None and (self._fatal is None or self._closing)

    def _marked(self, kind: type[Paused | Unpaused]) -> None:
        """Wake whoever asked first for such a mark."""
        for mark in self._marks:
            if mark[0] is kind:
                self._marks.remove(mark)
                self._outgoing.answered(mark[1])
                mark[2].set()
                return

    async def _ask(self, request: messages.ClientMessage, *, again: bool = True) -> Asked:
        self._check_open()
        return await self._outgoing.ask(messages.dump(request), self._over, again=again)

    def _check_open(self) -> None:
        """Raise if nothing more can be sent."""
        if self.over:
            self._check()
            raise CallFailed("call_ended", "the server has ended the call; start another one")

    # --- another connection ---

    @property
    def _may_resume(self) -> bool:
        return self._accepted is not None and self._accepted.resume_token is not None

    async def _listen(self) -> None:
        """Take every event of the connection, to its end or until the server asks to be left."""
        with suppress(ConnectionClosed):
            async for frame in self._socket:
                event = messages.parse(frame if isinstance(frame, str) else frame.decode("utf-8", "replace"))
                if event is not None:
                    self._take(event)
                if isinstance(event, GoAway) and self._may_resume:
                    self._leaving = True
                    return

    async def _go_on(self) -> bool:
        """Go on with the call on another connection, if it is not over."""
        code = self._socket.close_code
        lost = self.closed is None and self._fatal is None and (self._leaving or code not in NEVER)
        if not (self._may_resume and lost):
            return False
        reason = "the server is about to stop" if self._leaving else f"the connection broke (close code {code})"
        await self._outgoing.stop()
        await self._socket.close(1001 if self._leaving else 1000)
        self._leaving = False
        absence = Absence(self.ready.resume_s or 0.0, self._server.url, reason)
        while True:
            wait_s = absence.next_s()
            self._inbox.put(Reconnecting(absence.tries, wait_s, absence.reason))
            await asyncio.sleep(wait_s)
            try:
                await self._resume()
            except (Refused, ConnectionLost) as problem:
                absence.failed(problem)
            else:
                absence.succeeded()
                return True

    async def _resume(self) -> None:
        """Take the call back; missed finals come in on the way.

        Raises:
            Refused: If the server does not hand it over.
            ConnectionLost: If that connection breaks, too, or cannot be made.
        """
        socket = await self._server.connect("/v1/resume")
        token = self.ready.resume_token or ""
        self._resumed = None
        self._socket = socket
        try:
            async with asyncio.timeout(HAND_OVER_S):
                await socket.send(messages.dump(Resume(self.id, token, tuple(self._arrived))))
                while self._resumed is None and self.closed is None:
                    self._take_back(await socket.recv())
        except TimeoutError as problem:
            await socket.close()
            raise ConnectionLost(f"the server did not hand the call over within {HAND_OVER_S:g} s") from problem
        except ConnectionClosed as problem:
            raise ConnectionLost("the connection broke while the call was handed over") from problem
        except TrunklineError:
            await socket.close()
            raise
        if self._resumed is not None:
            self._outgoing.start(socket, self._resumed.samples * self._start.audio.frame_bytes)

    def _take_back(self, frame: str | bytes) -> None:
        event = messages.parse(frame if isinstance(frame, str) else frame.decode("utf-8", "replace"))
        match event:
            case Error(fatal=True):
                raise Refused(event.code, event.message, retry_after_s=event.retry_after_s)
            case Resumed():
                self._resumed = event
                self._take(event)
            case None:
                pass
            case _:
                self._take(event)

    async def _unless_over(self, happened: asyncio.Event) -> None:
        """Wait for something that the end of the call would prevent."""
        waits = [asyncio.create_task(event.wait()) for event in (happened, self._over)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not happened.is_set():
            self._check()
            raise CallFailed("call_ended", "the server has ended the call before it answered")
