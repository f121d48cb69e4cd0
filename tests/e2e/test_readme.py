"""What the README tells people to type is typed here, against the server that it tells them to start."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from server.settings import Settings, load
from tests.support.servers import READY_S, ROOT, ServerProcess, free_port, launch, until

pytestmark = pytest.mark.e2e

README: Final = (ROOT / "README.md").read_text("utf-8")
BIN: Final = Path(sys.executable).parent
PORT: Final = "8080"
"""The one that the README names; tests serve on another."""


def blocks(language: str) -> list[str]:
    """Return the README's code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


COMMANDS: Final = [line.partition("  #")[0].strip() for block in blocks("sh") for line in block.splitlines() if line]


def recipe(target: str) -> str:
    """Return what make runs for a target, without running it."""
    done = subprocess.run(  # noqa: S603 - our own
        make(target, "--dry-run"), cwd=ROOT, capture_output=True, text=True, timeout=20, check=True
    )
    return done.stdout.splitlines()[-1]


def make(target: str, *options: str) -> list[str]:
    """Return the command line of a target in this environment, which is not set up again."""
    environment = BIN.parent
    here = [f"--old-file={environment}/.installed", f"VENV={environment}"]
    return ["make", "--no-print-directory", *here, *options, target]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """What ``make serve`` starts, on a port that is free."""
    port = free_port()
    server = launch(make("serve", f"PORT={port}"), port, tmp_path_factory.mktemp("readme") / "log")
    until(lambda: server.is_ready, READY_S, "the server to be ready", server.process)
    yield server
    server.process.send_signal(signal.SIGTERM)  # make hands it on
    server.process.wait(30.0)


def run(command: list[str], server: ServerProcess) -> str:
    """Run a command as somebody would who follows the README, and return what it prints."""
    done = subprocess.run(  # noqa: S603 - our own
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "TRUNKLINE_URL": server.url},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def is_the_demonstration(_: ServerProcess) -> None:
    """What it does is tested beside."""
    assert recipe("demo").endswith("python -m tests.demo")


def runs_all_tests(_: ServerProcess) -> None:
    """This one among them."""
    assert recipe("test").endswith("/pytest")


def serves(server: ServerProcess) -> None:
    assert server.is_ready
    assert recipe("serve").endswith(f"python -m server standalone --host 127.0.0.1 --port {PORT}")


def transcribes(server: ServerProcess) -> None:
    command = next(line for line in COMMANDS if "trunkline transcribe" in line).split()
    said = run([str(BIN / "trunkline"), *command[1:]], server)
    assert len(said.split()) > 50
    assert json.loads((ROOT / "tests/data/call/call.json").read_text("utf-8"))["labels"]


TYPED: Final[dict[str, Callable[[ServerProcess], None]]] = {
    "make demo": is_the_demonstration,
    "make test": runs_all_tests,
    "make serve": serves,
    ".venv/bin/trunkline transcribe --fast tests/data/call/call.wav": transcribes,
}
"""How each command of the README is tried."""


def test_every_command_of_the_readme_is_tried() -> None:
    """One that is added must be tried too."""
    assert sorted(COMMANDS) == sorted(TYPED)


@pytest.mark.parametrize("command", TYPED)
def test_a_command_of_the_readme_does_what_it_says(command: str, served: ServerProcess) -> None:
    TYPED[command](served)


@pytest.mark.parametrize("program", blocks("python"), ids=lambda program: f"{len(program)} characters")
def test_a_program_of_the_readme_runs_as_it_stands(program: str, served: ServerProcess) -> None:
    """But for the port."""
    assert f"127.0.0.1:{PORT}" in program
    said = run([sys.executable, "-c", program.replace(PORT, str(served.port))], served)
    assert "Closed(" in said


def test_every_path_of_the_readme_is_served(served: ServerProcess) -> None:
    """A row of a table is a promise too."""
    paths = [path for path in re.findall(r"`(/[^` ]+)`", README) if "…" not in path]
    assert {"/v1/stream", "/v1/listen", "/readyz"} <= set(paths)
    with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", trust_env=False) as client:
        for path in paths:
            status = client.get(path.replace("{id}", "unknown")).status_code
            # A plain GET of a WebSocket's address is refused, but not as an address that does not exist.
            assert status in ({404} if "{id}" in path else {200, 400, 405, 426}), path


def test_the_printed_defaults_are_settings_and_are_the_defaults(tmp_path: Path) -> None:
    """The file that people begin with must change nothing until they change it, nor when they uncomment it."""
    printed = subprocess.run(
        [sys.executable, "-m", "server", "defaults"], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True
    ).stdout
    as_printed, uncommented = tmp_path / "printed.toml", tmp_path / "uncommented.toml"
    as_printed.write_text(printed, "utf-8")
    is_set = re.compile(r"# [a-z0-9_]+ = [^#]")
    lines = [line.removeprefix("# ") if is_set.match(line) else line for line in printed.splitlines()]
    uncommented.write_text("\n".join(lines), "utf-8")

    assert set(tomllib.loads(printed)) == set(Settings.model_fields)
    assert load(as_printed) == Settings()
    assert load(uncommented) == Settings()
    assert sum(line != other for line, other in zip(lines, printed.splitlines(), strict=True)) > 50
