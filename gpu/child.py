"""One device process as its parent sees it: started, spoken to, watched for signs of life, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from gpu.wire import FaultKind, FrameProtocol, LoadReport, Message, Ready

__all__ = ["Child"]

ROOT: Final = Path(__file__).resolve().parents[1]
"""Where the packages are; the child finds them there, whatever directory its parent runs in."""

SOCKET_BYTES: Final = 1 << 22
"""Asked for as the socket's buffer: about forty windows of 3 s may be on their way."""

PULSELESS_S: Final = 2.0
"""Seconds without a heartbeat after which a device that was ready is ended: its process is stopped or frozen."""

SILENT_S: Final = 10.0
"""The same without a load report: its heart beats and its loop does not turn, which a busy machine brings about too."""

STARTING_S: Final = 60.0
"""The same without a heartbeat before it is ready: libraries may be loaded from a slow disk, and hold everything up."""

LOOKS: Final = 4
"""Looks for signs of life within each of these times. Only looks that found nothing count, never the time between them:
a parent that was held up itself would take all its devices for dead."""

PATIENCE_S: Final = 2.0
"""Seconds a child that lost its socket has to end by itself."""


def _sockets() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
    return ours, theirs


def _python_path() -> str:
    others = os.environ.get("PYTHONPATH")
    return f"{ROOT}{os.pathsep}{others}" if others else str(ROOT)


class Watch:
    """Counts looks in a row that found no sign of life.

    Args:
        limit_s: Seconds without one after which it is over.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._in_vain = 0

    def sign(self) -> None:
        """There is life."""
        self._in_vain = 0

    def is_over(self) -> bool:
        """Look once more, ``PULSELESS_S / LOOKS`` seconds after the last time, and tell whether that was enough."""
        self._in_vain += 1
        return self._in_vain > self.limit_s * LOOKS / PULSELESS_S


class Child:
    """A device process. ``async with`` starts it and makes sure that it is gone afterwards.

    Jobs and answers have a socket each: on one for both, a job sent to a process that just died would break the
    connection before its last answers, and its reason for dying, are read.

    Args:
        on_message: Called with each of its messages.
    """

    def __init__(self, on_message: Callable[[Message], None]) -> None:
        self._on_message = on_message
        self._jobs = FrameProtocol(self._receive, self._deaf)
        self._answers = FrameProtocol(self._receive, self._cut_off)
        self._cut = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._heart: int | None = None
        self._pulse = Watch(STARTING_S)
        self._reports: Watch | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._silence = ""

    @property
    def fell_silent(self) -> bool:
        """Whether it was given up because it gave no sign of life."""
        return bool(self._silence)

    @property
    def pid(self) -> int | None:
        """Its process id, once it is started."""
        return self._process.pid if self._process else None

    async def __aenter__(self) -> Self:
        jobs, its_jobs = _sockets()
        answers, its_answers = _sockets()
        self._heart, its_heart = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        handles = its_jobs.fileno(), its_answers.fileno(), its_heart
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gpu.device",
                *map(str, handles),
                pass_fds=handles,
                env=os.environ | {"PYTHONPATH": _python_path()},
                start_new_session=True,  # the terminal's Ctrl-C is for the parent to act on
            )
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: self._jobs, sock=jobs)
            await loop.create_connection(lambda: self._answers, sock=answers)
            loop.add_reader(self._heart, self._beat)
            self._look()
        except BaseException:  # cancelled, most likely: the process must not be left behind
            self._jobs.abort()
            self._answers.abort()
            jobs.close()
            answers.close()
            self._stop_watching()
            self._kill()
            await self.ended()
            raise
        finally:
            its_jobs.close()
            its_answers.close()
            os.close(its_heart)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop_watching()
        self._jobs.abort()
        self._answers.abort()
        if self._process is None:
            return
        try:
            await self.ended()
        except asyncio.CancelledError:
            self._kill()
            raise

    def send(self, message: Message) -> None:
        """Send a message; to a child that is gone it goes nowhere, and ``gone`` tells."""
        self._jobs.send(message)

    def leave(self) -> None:
        """Ask the process to finish what it has and end; it says that it does."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    async def gone(self) -> None:
        """Wait until nothing will be heard of it any more: its socket is closed, or it was silent for long."""
        await self._cut.wait()

    async def ended(self) -> tuple[FaultKind, str] | None:
        """Wait until the process has ended; one that takes its time is killed.

        Returns:
            What was wrong and how to say it, or None where it left as it should.
        """
        if self._process is None:
            return None
        if self._silence:
            self._kill()
        try:
            async with asyncio.timeout(PATIENCE_S):
                status = await self._process.wait()
        except TimeoutError:
            self._kill()
            status = await self._process.wait()
        if self._silence:
            return FaultKind.SILENT, self._silence
        if status < 0:
            return FaultKind.CRASH, f"its process was ended by {signal.Signals(-status).name}"
        return (FaultKind.CRASH, f"its process ended with status {status}") if status else None

    def _kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _receive(self, message: Message) -> None:
        match message:
            case Ready():
                self._pulse, self._reports = Watch(PULSELESS_S), Watch(SILENT_S)
            case LoadReport() if self._reports is not None:
                self._reports.sign()
            case _:
                pass
        self._on_message(message)

    def _beat(self) -> None:
        assert self._heart is not None
        if os.read(self._heart, 1 << 16):
            self._pulse.sign()
        else:  # its end is closed: the process is gone, and its sockets tell
            asyncio.get_running_loop().remove_reader(self._heart)

    def _look(self) -> None:
        """Look for signs of life, and look again soon."""
        if self._pulse.is_over():
            self._silence = f"its process gave no heartbeat for {self._pulse.limit_s:g} s"
        elif self._reports is not None and self._reports.is_over():
            self._silence = f"its process lives and said nothing for {self._reports.limit_s:g} s"
        if self._silence:
            self._cut.set()
        else:
            self._looking = asyncio.get_running_loop().call_later(PULSELESS_S / LOOKS, self._look)

    def _stop_watching(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        if self._heart is not None:
            asyncio.get_running_loop().remove_reader(self._heart)
            os.close(self._heart)
            self._heart = None

    def _cut_off(self) -> None:
        self._cut.set()

    def _deaf(self) -> None:
        """It takes no more jobs; its answers end soon, or it is as good as gone."""
        if not self._cut.is_set():
            asyncio.get_running_loop().call_later(PATIENCE_S, self._cut.set)
