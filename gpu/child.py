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

SILENT_S: Final = 10.0
"""Seconds without a load report after which a device that was ready is ended."""

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
        self._silence: asyncio.TimerHandle | None = None
        self._was_silent = False

    @property
    def pid(self) -> int | None:
        """Its process id, once it is started."""
        return self._process.pid if self._process else None

    async def __aenter__(self) -> Self:
        jobs, its_jobs = _sockets()
        answers, its_answers = _sockets()
        handles = its_jobs.fileno(), its_answers.fileno()
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
        except BaseException:  # cancelled, most likely: the process must not be left behind
            self._jobs.abort()
            self._answers.abort()
            jobs.close()
            answers.close()
            self._kill()
            await self.ended()
            raise
        finally:
            its_jobs.close()
            its_answers.close()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._silence is not None:
            self._silence.cancel()
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
        if self._was_silent:
            self._kill()
        try:
            async with asyncio.timeout(PATIENCE_S):
                status = await self._process.wait()
        except TimeoutError:
            self._kill()
            status = await self._process.wait()
        if self._was_silent:
            return FaultKind.SILENT, f"its process said nothing for {SILENT_S:.0f} s"
        if status < 0:
            return FaultKind.CRASH, f"its process was ended by {signal.Signals(-status).name}"
        return (FaultKind.CRASH, f"its process ended with status {status}") if status else None

    def _kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _receive(self, message: Message) -> None:
        if isinstance(message, Ready | LoadReport):
            if self._silence is not None:
                self._silence.cancel()
            self._silence = asyncio.get_running_loop().call_later(SILENT_S, self._fell_silent)
        self._on_message(message)

    def _fell_silent(self) -> None:
        self._was_silent = True
        self._cut.set()

    def _cut_off(self) -> None:
        self._cut.set()

    def _deaf(self) -> None:
        """It takes no more jobs; its answers end soon, or it is as good as gone."""
        if not self._cut.is_set():
            asyncio.get_running_loop().call_later(PATIENCE_S, self._cut.set)
