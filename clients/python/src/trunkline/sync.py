"""One live call over the native protocol, without asyncio: the asynchronous client, run in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self, TypeVar

from trunkline import client
from trunkline.messages import Audio, Closed, Event, Ready
from trunkline.transcript import Transcript

_T = TypeVar("_T")


@contextmanager
def connect(
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
) -> Generator[Call]:
    """Start a call; arguments and errors are those of ``trunkline.connect``."""
    opening = client.connect(
        url,
        audio=audio,
        call=call,
        labels=labels,
        language=language,
        hotwords=hotwords,
        model=model,
        interim=interim,
        endpoint_ms=endpoint_ms,
        utterance_end_ms=utterance_end_ms,
        metadata=metadata,
        key=key,
        open_timeout_s=open_timeout_s,
        resume=resume,
    )
    with _loop() as loop:
        live = loop.run(opening.__aenter__())
        try:
            yield Call(live, loop)
        except BaseException as problem:
            loop.run(opening.__aexit__(type(problem), problem, problem.__traceback__))
            raise
        loop.run(opening.__aexit__(None, None, None))


class Call:
    """A call in progress; made by ``connect``. Its methods may be called from any thread.

    Args:
        call: The asynchronous call.
        loop: Where it runs.
    """

    def __init__(self, call: client.Call, loop: _Loop) -> None:
        self._call = call
        self._loop = loop

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = self._loop.run(self._next())
        if event is None:
            raise StopIteration
        return event

    @property
    def ready(self) -> Ready:
        """What the server said to the call: its id, labels and model."""
        return self._call.ready

    @property
    def id(self) -> str:
        """The call's id."""
        return self._call.id

    @property
    def transcript(self) -> Transcript:
        """Finals of every side so far."""
        return self._call.transcript

    @property
    def closed(self) -> Closed | None:
        """How the call ended, once it has."""
        return self._call.closed

    def send(self, audio: bytes | bytearray | memoryview) -> None:
        """Send samples; see ``trunkline.Call.send``."""
        self._loop.run(self._call.send(audio))

    def keepalive(self) -> None:
        """Tell the server that the call goes on though no audio comes; see ``trunkline.Call.keepalive``."""
        self._loop.run(self._call.keepalive())

    def pause(self) -> None:
        """Have nothing heard of what is sent from here on; see ``trunkline.Call.pause``."""
        self._loop.run(self._call.pause())

    def unpause(self) -> None:
        """Have what is sent heard again; see ``trunkline.Call.unpause``."""
        self._loop.run(self._call.unpause())

    def finalize(self, channel: int | None = None) -> None:
        """Make everything sent so far final; see ``trunkline.Call.finalize``."""
        self._loop.run(self._call.finalize(channel))

    def close(self) -> Closed:
        """Say that no more audio comes, and wait for the last finals; see ``trunkline.Call.close``."""
        return self._loop.run(self._call.close())

    async def _next(self) -> Event | None:
        return await anext(self._call, None)


class _Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="trunkline", daemon=True)

    def run(self, work: Coroutine[object, object, _T]) -> _T:
        """Run a coroutine there and wait for it here; an interrupt here cancels it there."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


@contextmanager
def _loop() -> Generator[_Loop]:
    loop = _Loop()
    loop.thread.start()
    try:
        yield loop
    finally:
        loop.loop.call_soon_threadsafe(loop.loop.stop)
        loop.thread.join()
        loop.loop.close()
