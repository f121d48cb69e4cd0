"""What ``make demo`` runs: a server on this machine, a recorded call through Twilio's framing, how it was understood.

With ``--url`` it plays the call to a server that runs already.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Final

import httpx
from rich.console import Console

from tests.support.ports import free_port
from trunkline import TrunklineError
from trunkline.audio import read_file
from trunkline.demo import demonstrate, summary
from trunkline.reference import read_reference

ROOT: Final = Path(__file__).parents[1]
CALL: Final = ROOT / "tests" / "data" / "call"
READY_S: Final = 120.0
"""Seconds a server may take to load its model."""
STOP_S: Final = 15.0
"""Seconds it may take to stop."""
LOG_LINES: Final = 20
"""Lines of its log that are shown if it does not become ready."""


class NotReady(Exception):
    """The server did not become ready."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration.

    Args:
        arguments: The command line without the program's name; the process's own if None.

    Returns:
        0 if the call was understood, 1 if not, 2 if there was no server to play it to.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tests.demo", description="Play a recorded call and judge its text."
    )
    parser.add_argument("--url", help="a server that runs already; without it one is started and stopped again")
    parser.add_argument("--key", default=os.environ.get("TRUNKLINE_KEY"), help="API key for that server")
    parser.add_argument("--call", type=Path, default=CALL / "call.wav", help="stereo WAV, mu-law, 8 kHz")
    parser.add_argument("--reference", type=Path, default=CALL / "call.json", help="JSON with its turns")
    chosen = parser.parse_args(arguments)
    console = Console(highlight=False)
    recording, reference = read_file(chosen.call), read_reference(chosen.reference)
    try:
        with contextlib.nullcontext(str(chosen.url)) if chosen.url else _server(console) as url:
            console.print(f"playing {recording.seconds:.0f} s of a call in real time through Twilio's framing\n")
            outcome = asyncio.run(demonstrate(url, recording, reference, console, chosen.key))
    except (NotReady, TrunklineError) as problem:
        console.print(f"demo: {problem}", style="red", markup=False)
        return 2
    console.print()
    console.print(summary(outcome))
    return 0 if outcome.understood else 1


@contextlib.contextmanager
def _server(console: Console) -> Generator[str]:
    """Run a server of our own while the context lasts; its value is the address.

    Raises:
        NotReady: If it ends or does not become ready in time.
    """
    port = free_port()
    command = [sys.executable, "-m", "server", "standalone", "--host", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603 - ours
        try:
            _await_ready(process, port, console)
            yield f"ws://127.0.0.1:{port}"
        except NotReady as problem:
            log.seek(0)
            last = log.read().decode("utf-8", "replace").splitlines()[-LOG_LINES:]
            raise NotReady("\n".join([str(problem), *last])) from None
        finally:
            _stop(process)


def _await_ready(process: subprocess.Popen[bytes], port: int, console: Console) -> None:
    began = time.monotonic()
    with console.status("starting a server and loading its model") as status, httpx.Client(trust_env=False) as client:
        while process.poll() is None:
            waited_s = time.monotonic() - began
            if waited_s > READY_S:
                raise NotReady(f"the server was not ready within {READY_S:.0f} s; the end of its log:")
            with contextlib.suppress(httpx.TransportError):
                answer = client.get(f"http://127.0.0.1:{port}/readyz")
                if answer.is_success:
                    console.print(f"the server was ready after {waited_s:.1f} s")
                    return
                status.update(f"{waited_s:3.0f} s: {answer.json().get('reason', 'not ready')}")
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


if __name__ == "__main__":
    sys.exit(main())
