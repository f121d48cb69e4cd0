"""One live call over the native protocol, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from trunkline import messages
from trunkline.errors import CallFailed, Refused
from trunkline.link import address, authorization, open_socket
from trunkline.messages import Audio, Close, Closed, Finalize, Finalized, KeepAlive, Ready, Start
from trunkline.stream import EventStream

FRAME_BYTES: Final = 65_536
"""Longest frame sent; longer audio goes in several. Servers take 256 KiB unless told otherwise."""


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
) -> AsyncGenerator[Call]:
    """Start a call; leaving the context without an error closes it and waits for the last finals.

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

    Raises:
        Refused: If the server does not take the call.
        Unreachable: If there is no server.
        ConnectionLost: If the connection breaks.
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
    )
    where = address(url, "/v1/stream")
    async with open_socket(where, authorization(key), open_timeout_s=open_timeout_s) as socket:
        live = Call(socket, start)
        async with live.running(open_timeout_s):
            yield live
            await live.finish()


class Call(EventStream):
    """A call in progress; made by ``connect``.

    Iterating over it gives every message of the server after ``ready``.

    Args:
        socket: An open connection.
        start: What the call is.
    """

    def __init__(self, socket: ClientConnection, start: Start) -> None:
        super().__init__(socket)
        self._start = start
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
        async with self._reading():
            try:
                async with asyncio.timeout(timeout_s):
                    await self._send(messages.dump(self._start))
                    await self._unless_over(self._ready)
            except TimeoutError as problem:
                raise Refused("no_answer", f"the server did not accept the call within {timeout_s:g} s") from problem
            except CallFailed as failure:
                raise Refused(failure.code, failure.message, retry_after_s=failure.retry_after_s) from failure
            yield

    async def send(self, audio: bytes | bytearray | memoryview) -> None:
        """Send samples, channels interleaved; a sample may be split over two sends.

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
        step = FRAME_BYTES - FRAME_BYTES % self._start.audio.frame_bytes
        for begin in range(0, whole, step):
            await self._send(given[begin : min(begin + step, whole)])

    async def keepalive(self) -> None:
        """Tell the server that the call goes on though no audio comes, as on hold.

        Raises:
            CallFailed: If the server has ended the call.
            ConnectionLost: If the connection broke.
        """
        await self._send(messages.dump(KeepAlive()))

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
        try:
            await self._send(messages.dump(Finalize(marker, channel)))
            await self._unless_over(answered)
        finally:
            del self._finalized[marker]

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
            await self._send(messages.dump(Close()))
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
            case _:
                pass
        super()._take(event)

    def _ended_well(self) -> bool:
        """A server that drains while the call ends has still sent all of it."""
        return self.closed is not None and (self._fatal is None or self._closing)

    async def _send(self, frame: str | bytes) -> None:
        if not self.over:
            try:
                await self._socket.send(frame)
            except ConnectionClosed:
                await self._over.wait()
            else:
                return
        self._check()
        raise CallFailed("call_ended", "the server has ended the call; start another one")

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
