"""What the documentation tells people to type is typed here, against the server that it tells them to start.

A block that cannot be run says so in the page itself, with the reason: ``<!-- not run: ... -->`` in the line before it.
"""

from __future__ import annotations

import configparser
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
from xml.etree import ElementTree

import httpx
import pytest

from server.settings import Settings, load
from tests.support.documents import ROOT, Block, blocks, pages
from tests.support.ports import free_port
from tests.support.servers import READY_S, ServerProcess, launch, until

pytestmark = pytest.mark.e2e

BIN: Final = Path(sys.executable).parent
PORT: Final = "8080"
"""The one that the pages name; tests serve on another."""
README: Final = (ROOT / "README.md").read_text("utf-8")

ELSEWHERE: Final = {
    "docs/operating.md": "installs images and charts, which have tests of their own",
    "docs/runbooks": "commands for a broken cluster",
    "docs/transcripts.md": "its settings are in tests of the outlets",
    "docs/benchmarks.md": "tables that benches write",
}
"""Pages whose blocks are tried by other tests, or by none, and why."""

SHOWN: Final = {"text", "mermaid"}
"""Languages of what is looked at, or typed into other systems; diagrams of states have a test of their own."""

FREE: Final = [block for block in blocks() if not any(block.page.startswith(page) for page in ELSEWHERE)]
MADE: Final = {"demo": "python -m tests.demo", "test": "/pytest", "serve": f"--host 127.0.0.1 --port {PORT}"}
"""Targets that pages name, and how the command line ends that they stand for; they are not all run from here."""


def of(language: str) -> list[Block]:
    """Return the blocks of a language that are to be run."""
    return [block for block in FREE if block.language == language and block.why_not is None]


COMMANDS: Final = [
    pytest.param(line.partition("  #")[0].strip(), id=f"{block.name} {line[:60]}")
    for block in of("sh")
    for line in block.text.splitlines()
    if line.strip() and not line.startswith("#")
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """What ``make serve`` starts, on a port that is free."""
    port = free_port()
    server = launch(make("serve", f"PORT={port}"), port, tmp_path_factory.mktemp("docs") / "log")
    until(lambda: server.is_ready, READY_S, "the server to be ready", server.process)
    yield server
    server.process.send_signal(signal.SIGTERM)  # make hands it on
    server.process.wait(30.0)


def make(target: str, *options: str) -> list[str]:
    """Return the command line of a target in this environment, which is not set up again."""
    environment = BIN.parent
    here = [f"--old-file={environment}/.installed", f"VENV={environment}"]
    return ["make", "--no-print-directory", *here, *options, target]


def await_room(server: ServerProcess) -> None:
    """Wait until calls are taken: not at once after a recording was written, faster than it was said."""
    until(lambda: server.metric("trunkline_room_calls") > 0, READY_S, "the server to have room", server.process)


def run(command: list[str], server: ServerProcess) -> str:
    """Run a command as somebody would who follows a page, and return what it prints."""
    await_room(server)
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


def test_every_block_says_what_it_is_and_why_it_is_not_run() -> None:
    """One that nobody tries is wrong before long."""
    checked = {"sh", "python", "toml", "xml", "ini", "json"}
    unknown = [block.name for block in FREE if block.why_not is None and block.language not in checked | SHOWN]
    assert not unknown
    assert len(of("sh")) >= 5
    assert len(of("python")) >= 4


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_does_what_its_page_says(command: str, served: ServerProcess) -> None:
    program, *rest = command.split()
    if program == "make":
        done = subprocess.run(  # noqa: S603 - our own
            make(rest[0], "--dry-run"), cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stdout.splitlines()[-1].endswith(MADE[rest[0]])
        return
    assert program.startswith(".venv/bin/"), "commands of a page are of its environment"
    said = run([str(BIN / Path(program).name), *rest], served)
    assert len(said.split()) > 5


@pytest.mark.parametrize("block", of("python"), ids=lambda block: block.name)
def test_a_program_runs_as_it_stands(block: Block, served: ServerProcess) -> None:
    """But for the port."""
    assert f"127.0.0.1:{PORT}" in block.text
    said = run([sys.executable, "-c", block.text.replace(PORT, str(served.port))], served)
    closed = "Closed(" in said
    assert closed or re.search(r"\b(letter|form)\b", said), said[-500:]


@pytest.mark.parametrize("block", of("toml"), ids=lambda block: block.name)
def test_settings_are_settings(block: Block, tmp_path: Path) -> None:
    """A name that was changed since stops the server of whoever copies it."""
    file = tmp_path / "trunkline.toml"
    file.write_text(block.text, "utf-8")
    assert load(file) != Settings()


PARSERS: Final[dict[str, Callable[[str], object]]] = {
    "json": json.loads,
    "xml": lambda text: ElementTree.fromstring(text.strip()),  # noqa: S314 - our own text
    "ini": lambda text: configparser.ConfigParser(strict=False, delimiters=("=",), interpolation=None).read_string(
        text
    ),
}


@pytest.mark.parametrize("block", [block for kind in PARSERS for block in of(kind)], ids=lambda block: block.name)
def test_what_other_programs_read_is_well_formed(block: Block) -> None:
    """And names addresses that are served."""
    PARSERS[block.language](block.text)


def test_links_between_pages_lead_somewhere() -> None:
    """Files move."""
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages()
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
        if "://" not in link and not (page.parent / link).exists()
    ]
    assert not broken


def test_every_path_of_the_readme_is_served(served: ServerProcess) -> None:
    """A row of a table is a promise too."""
    paths = [path for path in re.findall(r"`(/[^` ]*)`", README) if "…" not in path]
    assert {"/v1/stream", "/v1/listen", "/readyz", "/live/", "/"} <= set(paths)
    await_room(served)
    with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", trust_env=False) as client:
        for path in paths:
            answer = client.get(path.replace("{id}", "unknown"))
            if path == "/v1/audio/transcriptions":  # takes recordings: a plain GET finds nothing
                answer = client.post(path)
            # A plain GET of a WebSocket's address is refused, but not as an address that does not exist.
            assert answer.status_code in ({404} if "{id}" in path else {200, 302, 400, 405, 415, 426}), path


def test_the_printed_defaults_are_settings_and_are_the_defaults(tmp_path: Path) -> None:
    """The file that people begin with must change nothing until they change it, nor when they uncomment it."""
    printed = subprocess.run(
        [sys.executable, "-m", "server", "defaults"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
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
