"""Runs a command of the operator's whenever the number of shards that should be changes: where there is no Kubernetes.

When it changes, and by how much, is the policy's decision alone; the command only carries it out.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

from scaler.autoscaling.desired import Source
from scaler.autoscaling.errors import NoAnswer

log: FilteringBoundLogger = structlog.get_logger()

DESIRED: Final = "TRUNKLINE_DESIRED_SHARDS"
PREVIOUS: Final = "TRUNKLINE_PREVIOUS_SHARDS"


class Hook:
    """Keeps a command told.

    The command learns the number from ``TRUNKLINE_DESIRED_SHARDS``, and what it last carried out from
    ``TRUNKLINE_PREVIOUS_SHARDS``, which is empty the first time. It must bear being told the same number twice: one
    that fails is run again at the next look, with whatever the number is by then. Two never run at once.

    Args:
        source: Knows the number.
        command: What is run, without a shell.
        limit_s: Seconds it may take; then it is ended, and counts as failed.
    """

    def __init__(self, source: Source, command: Sequence[str], limit_s: float) -> None:
        self._source = source
        self._command = tuple(command)
        self._limit_s = limit_s
        self.done: int | None = None
        """The number that was last carried out."""

    async def look(self) -> None:
        """Run the command if the number is another than the one last carried out."""
        try:
            desired = await self._source.read()
        except NoAnswer as problem:
            log.warning("hook.unknown", problem=str(problem))
            return
        if desired != self.done and await self._carry_out(desired):
            self.done = desired

    async def _carry_out(self, desired: int) -> bool:
        previous = "" if self.done is None else str(self.done)
        told = {**os.environ, DESIRED: str(desired), PREVIOUS: previous}
        try:
            process = await asyncio.create_subprocess_exec(*self._command, env=told, stdin=asyncio.subprocess.DEVNULL)
        except OSError as problem:
            log.warning("hook.cannot_run", command=self._command[0], problem=problem.strerror)
            return False
        try:
            async with asyncio.timeout(self._limit_s):
                status = await process.wait()
        except TimeoutError:
            log.warning("hook.too_slow", desired=desired, limit_s=self._limit_s)
            return False
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        log.info("hook.ran", desired=desired, previous=previous, status=status)
        return status == 0

    async def run(self, poll_s: float, stop: asyncio.Event) -> None:
        """Look every so often until told to stop; a command under way is waited for."""
        while not stop.is_set():
            await self.look()
            with suppress(TimeoutError):
                async with asyncio.timeout(poll_s):
                    await stop.wait()
