"""What ``make test-clients`` runs: the real clients of other systems, unmodified, on this gateway.

Each runs in a process and an environment of its own under ``build/clients``, made on first use; an environment that
cannot be made, offline for example, is said and skipped. The first pass has a made-up shard behind the gateway and
proves the protocols; the second has the real engine and real speech, and proves that words arrive.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from rich.console import Console
from rich.table import Table

from server import logs
from tests.support.gateways import running, settings
from tests.support.ports import free_port

ROOT: Final = Path(__file__).parents[2]
PLAYERS: Final = Path(__file__).parent / "players"
ENVIRONMENTS: Final = ROOT / "build" / "clients"
SPEECH: Final = ROOT / "tests" / "data" / "clips" / "printing_16k.wav"
SAID: Final = "it is of the first importance that the letter used should be fine in form"
INSTALL_S: Final = 900.0
PLAY_S: Final = 120.0
READY_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Client:
    """One client.

    Attributes:
        name: Shown in the table, and the name of its environment.
        player: The file that drives it.
        packages: What its environment holds; none means that of the tests.
        arguments: Further arguments of the player.
        alone: Whether its packages are installed without what they say they need.
    """

    name: str
    player: str
    packages: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    alone: bool = False


LIVEKIT: Final = ("livekit-plugins-deepgram", "livekit-plugins-openai")
PIPECAT: Final = ("pipecat-ai[deepgram,openai]",)
WHISPER_LIVE: Final = ("whisper-live-client", "websocket-client", "loguru", "av", "numpy", "scipy")

CLIENTS: Final = (
    Client("deepgram-sdk", "deepgram_live.py"),
    Client("deepgram-sdk 5", "deepgram_live.py", ("deepgram-sdk>=5,<6",)),
    Client("deepgram-sdk 4", "deepgram_4.py", ("deepgram-sdk>=4,<5",)),
    Client("@deepgram/sdk", "deepgram.mjs"),
    Client("openai", "openai_all.py"),
    Client("assemblyai", "assemblyai_live.py"),
    Client("speechmatics-rt", "speechmatics_live.py"),
    Client("wyoming", "wyoming_live.py"),
    Client("whisper-live-client", "whisper_live_client.py", WHISPER_LIVE, alone=True),
    Client("livekit: deepgram", "livekit_live.py", LIVEKIT, ("deepgram",)),
    Client("livekit: openai realtime", "livekit_live.py", LIVEKIT, ("openai",)),
    Client("pipecat: deepgram", "pipecat_live.py", PIPECAT, ("deepgram",)),
    Client("pipecat: openai realtime", "pipecat_live.py", PIPECAT, ("openai",)),
)


class Skipped(Exception):
    """A client cannot be run here; the message says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one client showed."""

    version: str
    partials: int
    finals: tuple[str, ...]
    proved: str


async def command(client: Client) -> tuple[list[str], Path]:
    """Return how to run a client, and where; make its environment if need be.

    Raises:
        Skipped: If that cannot be done.
    """
    player = str(PLAYERS / client.player)
    if client.player.endswith(".mjs"):
        folder = ENVIRONMENTS / "js"
        node, npm = shutil.which("node"), shutil.which("npm")
        if node is None or npm is None:
            raise Skipped("node and npm are not here")
        if not (folder / "node_modules").exists():
            folder.mkdir(parents=True, exist_ok=True)
            await install([npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), client.name])
        return [node, player], folder
    if not client.packages:
        return [sys.executable, player], ROOT
    folder = ENVIRONMENTS / re.sub(r"\W+", "-", f"{client.player[:-3]} {client.packages[0]}").strip("-")
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        uv = Path(sys.executable).with_name("uv")
        await install([str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        alone = ["--no-deps"] if client.alone else []
        await install([str(uv), "pip", "install", "--quiet", "--python", str(python), *alone, *client.packages])
        (folder / "made").touch()
    return [str(python), player], ROOT


async def install(arguments: Sequence[str]) -> None:
    """Run a program that fetches packages.

    Raises:
        Skipped: If it fails.
    """
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(INSTALL_S):
            said, _ = await process.communicate()
    except TimeoutError as problem:
        process.kill()
        raise Skipped(f"not installed within {INSTALL_S:g} s") from problem
    if process.returncode:
        raise Skipped(f"cannot be installed: {said.decode(errors='replace').strip().splitlines()[-1:]}")


async def play(client: Client, port: int, wyoming_port: int) -> Outcome | str:
    """Run one client; return what it showed, or how it failed.

    Raises:
        Skipped: If it cannot be run here.
    """
    arguments, folder = await command(client)
    process = await asyncio.create_subprocess_exec(
        *arguments,
        *(str(port), str(wyoming_port), str(SPEECH)),
        *client.arguments,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PLAY_S):
            said, complaint = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"took more than {PLAY_S:g} s"
    if process.returncode:
        return "\n".join(complaint.decode(errors="replace").strip().splitlines()[-3:])
    last = next(line for line in reversed(said.decode().splitlines()) if line.startswith('{"version"'))
    told = json.loads(last)
    return Outcome(told["version"], told["partials"], tuple(told["finals"]), told["proved"])


@asynccontextmanager
async def made_up() -> AsyncGenerator[tuple[int, int]]:
    """Serve with a shard that says a made-up word per second; the ports are the value."""
    async with running(settings(wyoming__port="0"), models=["made-up"]) as served:
        yield served.port, served.gateway.wyoming_port or 0


@asynccontextmanager
async def real() -> AsyncGenerator[tuple[int, int]]:
    """Serve with the real engine, in processes of its own; the ports are the value."""
    port, wyoming_port = free_port(), free_port()
    arguments = ["--port", str(port), "--set", f"wyoming.port={wyoming_port}", "--set", "logs.level=error"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server", "standalone", *arguments, cwd=ROOT, env={**os.environ}
    )
    try:
        async with asyncio.timeout(READY_S), httpx.AsyncClient() as web:
            while not await ready(web, port):  # noqa: ASYNC110 - another process, which sends no event
                await asyncio.sleep(0.5)
        yield port, wyoming_port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def ready(web: httpx.AsyncClient, port: int) -> bool:
    """Tell whether a server takes calls."""
    try:
        return (await web.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
    except httpx.TransportError:
        return False


def judged(outcome: Outcome | str, *, speech: bool) -> tuple[bool, str]:
    """Return whether an outcome is what it should be, and how it is shown."""
    if isinstance(outcome, str):
        return False, outcome
    if not (outcome.partials and outcome.finals):
        return False, f"{outcome.partials} partials, {len(outcome.finals)} finals"
    text = " ".join(outcome.finals)
    heard = set(re.sub(r"[^a-z ]", "", text.lower()).split())
    right = len(heard & set(SAID.split())) / len(set(SAID.split())) if speech else 1.0
    return right >= 0.8, f"{outcome.partials} partials; {text}"


async def main(arguments: Sequence[str] | None = None) -> int:
    """Run all clients and print the table; the exit code says whether all that ran did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of a client's name")
    parser.add_argument("--engine", choices=("made-up", "real", "both"), default="both")
    chosen = parser.parse_args(arguments)
    logs.configure("error", "text")
    clients = [client for client in CLIENTS if chosen.only in client.name]
    passes = [("made-up", made_up), ("real", real)]
    console = Console()
    failures = 0
    for name, serving in passes:
        if chosen.engine not in (name, "both"):
            continue
        table = Table("client", "version", "", "proved", "heard", title=f"{name} engine")
        async with serving() as (port, wyoming_port):
            for client in clients:
                console.print(f"{client.name} ...", style="dim")
                try:
                    outcome = await play(client, port, wyoming_port)
                except Skipped as skipped:
                    table.add_row(client.name, "", "skipped", "", str(skipped))
                    continue
                fine, shown = judged(outcome, speech=name == "real")
                failures += not fine
                version, proved = (outcome.version, outcome.proved) if isinstance(outcome, Outcome) else ("", "")
                table.add_row(client.name, version, "ok" if fine else "FAILED", proved, shown)
        console.print(table)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
