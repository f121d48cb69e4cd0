"""A real server in a process of its own, with its devices, for tests that kill things."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from tests.support.ports import free_port

ROOT: Final = Path(__file__).parents[2]
READY_S: Final = 60.0
"""Seconds until a server must take calls; loading a model on a busy machine takes a while."""
STOP_S: Final = 30.0
POLL_S: Final = 0.05

SCRIPTED: Final = ("--set", "devices.engine=scripted")
"""Flags of a server whose words are tones, and which needs no model."""


@dataclass(slots=True)
class ServerProcess:
    """A server that was started."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    """What it wrote to stdout and stderr."""

    @property
    def url(self) -> str:
        """Its address."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def metrics_url(self) -> str:
        """Where it says how it fares."""
        return f"http://127.0.0.1:{self.port}/metrics"

    @property
    def is_ready(self) -> bool:
        """Whether it takes calls."""
        with contextlib.suppress(httpx.TransportError), httpx.Client(trust_env=False) as client:
            return client.get(f"http://127.0.0.1:{self.port}/readyz").is_success
        return False

    def device_pids(self) -> list[int]:
        """Return the processes of its devices."""
        return [pid for pid in children_of(self.process.pid) if "gpu.device" in command_of(pid)]

    def metric(self, line: str) -> float:
        """Return the value of a metric by the beginning of its line, labels and all."""
        with httpx.Client(trust_env=False) as client:
            text = client.get(self.metrics_url).text
        values = [float(each.rsplit(" ", 1)[1]) for each in text.splitlines() if each.startswith(line)]
        assert values, f"there is no metric {line}"
        return sum(values)

    def written(self) -> str:
        """Return its log so far."""
        return self.log.read_text("utf-8", "replace")

    def stop(self) -> int:
        """Ask it to stop, and return its exit code."""
        self.process.terminate()
        return self.process.wait(STOP_S)


def launch(
    command: Sequence[str], port: int, log: Path, env: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> ServerProcess:
    """Start a server; it may not be ready yet."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - our own
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**clean, **(env or {})}
        )
    return ServerProcess(process, port, log)


def standalone(*flags: str, port: int) -> list[str]:
    """Return the command line of a server."""
    return [sys.executable, "-m", "server", "standalone", "--host", "127.0.0.1", "--port", str(port), *flags]


@contextmanager
def serving(*flags: str, log: Path) -> Generator[ServerProcess]:
    """Serve while the context lasts; a server that still runs then is stopped and must have nothing to complain of."""
    port = free_port()
    server = launch(standalone(*flags, port=port), port, log)
    try:
        until(lambda: server.is_ready, READY_S, f"the server to be ready; its log: {log}", server.process)
        yield server
    finally:
        if server.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.stop()
            server.process.kill()
        server.process.wait()


def until(true: Callable[[], bool], limit_s: float, what: str, process: subprocess.Popen[bytes] | None = None) -> float:
    """Wait for something outside this process, and return how long it took in seconds.

    Raises:
        AssertionError: If it takes too long, or the process has ended.
    """
    began = time.monotonic()
    while not true():
        waited_s = time.monotonic() - began
        assert waited_s < limit_s, f"waited {limit_s:g} s for {what}"
        assert process is None or process.poll() is None, f"the process ended while waiting for {what}"
        time.sleep(POLL_S)
    return time.monotonic() - began


def children_of(pid: int) -> list[int]:
    """Return the processes that a process started."""
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]
    return []


def command_of(pid: int) -> str:
    """Return the command line of a process; empty for one that is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace").replace("\0", " ")
    return ""


def is_running(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process."""
    os.kill(pid, number)
