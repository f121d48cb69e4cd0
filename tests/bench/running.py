"""The real server as a child process, and what it and its devices use of the machine while they serve."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from rich.console import Console

from tests.bench.scoring import ROOT
from tests.support.ports import free_port

READY_S: Final = 120.0
"""Seconds a server may take to load its model."""
STOP_S: Final = 30.0
"""Seconds it may take to stop."""
LOG_LINES: Final = 20
"""Lines of its log that are shown if it does not become ready."""
PROC: Final = Path("/proc")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
PAGES_PER_MIB: Final = 2**20 // os.sysconf("SC_PAGE_SIZE")


class NotReady(Exception):
    """The server did not become ready."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs."""

    url: str
    pid: int


@contextlib.contextmanager
def running_server(console: Console, log: Path, settings: Sequence[str] = ()) -> Generator[Server]:
    """Run a standalone server on a free port while the context lasts.

    Args:
        console: Where waiting is shown.
        log: File for what the server writes.
        settings: Settings other than the defaults, each as NAME=VALUE.

    Raises:
        NotReady: If it ends or does not become ready in time.
    """
    port = free_port()
    command = [sys.executable, "-m", "server", "standalone", "--host", "127.0.0.1", "--port", str(port)]
    command += [part for setting in settings for part in ("--set", setting)]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output)  # noqa: S603 - ours
        try:
            _await_ready(process, port, console)
            yield Server(f"ws://127.0.0.1:{port}", process.pid)
        except NotReady as problem:
            last = log.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]
            raise NotReady("\n".join([str(problem), *last])) from None
        finally:
            _stop(process)


def _await_ready(process: subprocess.Popen[bytes], port: int, console: Console) -> None:
    began = time.monotonic()
    with console.status("starting a server and loading its model"), httpx.Client(trust_env=False) as client:
        while process.poll() is None:
            waited_s = time.monotonic() - began
            if waited_s > READY_S:
                raise NotReady(f"the server was not ready within {READY_S:.0f} s; the end of its log:")
            with contextlib.suppress(httpx.TransportError):
                if client.get(f"http://127.0.0.1:{port}/readyz").is_success:
                    console.print(f"the server was ready after {waited_s:.1f} s")
                    return
            time.sleep(0.2)
    raise NotReady(f"the server ended with exit code {process.returncode}; the end of its log:")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to stop, and end it if it does not."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """One process at a moment, as the kernel tells it."""

    pid: int
    parent: int
    cpu_s: float
    """Processor time since its start, in seconds."""
    rss_mib: float
    """Memory that is resident."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server has used up to a moment."""

    at: float
    """Monotonic seconds."""
    server_cpu_s: float
    devices_cpu_s: float
    """Of all processes below the server."""
    own_cpu_s: float
    """Of this process: the load generator."""
    machine_cpu_s: float
    """Of all processors together, whoever used them; time stolen by other machines included."""
    server_rss_mib: float
    devices_rss_mib: float


def parse_stat(text: str) -> ProcessStat:
    """Read a process's ``stat`` file; names may hold spaces and brackets."""
    pid = int(text.split(" ", 1)[0])
    fields = text.rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    return ProcessStat(pid, int(fields[1]), ticks / TICKS_PER_S, int(fields[21]) / PAGES_PER_MIB)


def descendants(pid: int, processes: Iterable[ProcessStat]) -> list[ProcessStat]:
    """Return the children of a process, their children, and so on."""
    children: dict[int, list[ProcessStat]] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process)
    found = list(children.get(pid, ()))
    for process in found:  # grows while it is walked
        found += children.get(process.pid, ())
    return found


def busy_s(stat: str) -> float:
    """Return the seconds that all processors were busy, from the system's ``stat`` file."""
    user, nice, system, _idle, _waiting, *rest = (int(field) for field in stat.split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(rest)) / TICKS_PER_S


def usage(pid: int) -> Usage:
    """Look at a server and its devices.

    Raises:
        ProcessLookupError: If the server is gone.
    """
    processes: list[ProcessStat] = []
    for file in PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # processes end while they are listed
            processes.append(parse_stat(file.read_text()))
    server = next((process for process in processes if process.pid == pid), None)
    if server is None:
        raise ProcessLookupError(f"the server, process {pid}, is gone; its log says why")
    devices = descendants(pid, processes)
    return Usage(
        at=time.monotonic(),
        server_cpu_s=server.cpu_s,
        devices_cpu_s=sum(device.cpu_s for device in devices),
        own_cpu_s=time.process_time(),
        machine_cpu_s=busy_s((PROC / "stat").read_text()),
        server_rss_mib=server.rss_mib,
        devices_rss_mib=sum(device.rss_mib for device in devices),
    )


def usage_row(before: Usage, after: Usage, audio_s: float) -> Mapping[str, float]:
    """Return what was used between two moments, as the cells of a report.

    Args:
        before: When it began.
        after: When it ended.
        audio_s: Audio that was served meanwhile, every side counted, in seconds.
    """
    wall_s = after.at - before.at
    server_s = after.server_cpu_s - before.server_cpu_s
    devices_s = after.devices_cpu_s - before.devices_cpu_s
    own_s = after.own_cpu_s - before.own_cpu_s
    others_s = after.machine_cpu_s - before.machine_cpu_s - server_s - devices_s - own_s
    return {
        "server_cpu_s_per_audio_s": round(server_s / audio_s, 4),
        "devices_cpu_s_per_audio_s": round(devices_s / audio_s, 4),
        "server_cores": round(server_s / wall_s, 2),
        "devices_cores": round(devices_s / wall_s, 2),
        "generator_cores": round(own_s / wall_s, 2),
        "others_cores": round(max(0.0, others_s / wall_s), 2),
        "server_mib": round(after.server_rss_mib),
        "devices_mib": round(after.devices_rss_mib),
    }
