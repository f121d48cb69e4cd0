"""Follows the README to the letter, from a clone to words, as somebody would who has never seen it.

``python3 -m tests.newcomer`` (or ``make newcomer``) needs nothing but what the README asks for: it clones the last
commit into an empty folder, types the README's commands one by one in the order in which they stand there, and looks
for words. It takes as long as a first installation does.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

ROOT = Path(__file__).parents[1]
LEFT_OUT = {"make test": "CI runs it"}
"""Commands that are not typed, and why."""
SERVES = "make serve"
READY = "http://127.0.0.1:8080/readyz"
READY_S = 120.0
KEPT = {
    "HOME",
    "LANG",
    "PATH",
    "TMPDIR",
    "PIP_INDEX_URL",
    "PIP_CONFIG_FILE",
    "SSL_CERT_FILE",
    "HTTPS_PROXY",
    "NO_PROXY",
}
"""Of the environment: who comes new has no settings of ours."""


def main() -> int:
    """Do it.

    Returns:
        0 if every command did what it should.
    """
    environment = {name: value for name, value in os.environ.items() if name.upper() in KEPT}
    with tempfile.TemporaryDirectory(prefix="newcomer-") as folder:
        there = Path(folder) / "trunkline"
        subprocess.run(["git", "clone", "--quiet", "--depth=1", ROOT.as_uri(), str(there)], check=True)  # noqa: S603, S607
        server: subprocess.Popen[bytes] | None = None
        try:
            for command in commands(there):
                if command in LEFT_OUT:
                    _say(f"{command}: left out, {LEFT_OUT[command]}")
                elif command == SERVES:
                    server = _serve(there, environment)
                else:
                    _try(command, there, environment)
        finally:
            if server is not None:
                os.killpg(server.pid, signal.SIGTERM)
                server.wait(30.0)
    _say("from clone to words: all of it works")
    return 0


def commands(there: Path) -> list[str]:
    """Return what the README says to type, in order."""
    readme = (there / "README.md").read_text("utf-8")
    found = re.findall(r"^```sh\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    return [line for block in found for line in block.splitlines() if line.strip()]


def _try(command: str, there: Path, environment: dict[str, str]) -> None:
    began = time.monotonic()
    done = subprocess.run(  # noqa: S602 - what the README says
        command, shell=True, cwd=there, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0 or len(done.stdout.split()) < 10:
        _say(f"{command}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        sys.exit(1)
    _say(f"{command}: {time.monotonic() - began:.0f} s\n" + "\n".join(done.stdout.splitlines()[-8:]))


def _serve(there: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    began = time.monotonic()
    server = subprocess.Popen(  # noqa: S602 - what the README says
        SERVES, shell=True, cwd=there, env=environment, start_new_session=True, stdout=subprocess.DEVNULL
    )
    while time.monotonic() - began < READY_S:
        try:
            with urllib.request.urlopen(READY, timeout=1.0):
                _say(f"{SERVES}: ready after {time.monotonic() - began:.1f} s")
                return server
        except (URLError, OSError):
            time.sleep(0.2)
    _say(f"{SERVES}: not ready within {READY_S:.0f} s")
    sys.exit(1)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
