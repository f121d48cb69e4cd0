"""The command line: ``python -m server`` standalone, gateway, shard or defaults."""

from __future__ import annotations

import argparse
import gc
import importlib
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from server import logs
from server.errors import BadSetting
from server.settings import Settings, default_file, load

BAD_SETTINGS = 2
"""Exit code of a process that could not start because of how it was asked to."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a process does."""

    module: str
    """Loaded for it alone: a gateway needs nothing of the devices."""
    help: str
    section: str
    """Of the settings that hold its address."""
    address: str


ROLES: Final = {
    "standalone": Role(
        "server.standalone", "serve calls from this process and its devices, alone", "listen", "address to listen on"
    ),
    "gateway": Role("server.gateway_role", "serve sockets of a cluster", "listen", "address to listen on"),
    "shard": Role(
        "server.shard_role", "serve slots of a cluster with this machine's devices", "shard", "address of its metrics"
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        arguments: The command line without the program's name; the process's own if None.

    Returns:
        The exit code: 0 after a stop that was asked for, 2 for settings that cannot be used.
    """
    chosen = _parser().parse_args(arguments)
    if chosen.command == "defaults":
        sys.stdout.write(default_file())
        return 0
    try:
        settings = load(chosen.settings, _flags(chosen))
        logs.configure(settings.logs.level, settings.logs.format)
        run: Callable[[Settings], Awaitable[int]] = importlib.import_module(ROLES[chosen.command].module).run
        # What was loaded stays for good. Left to the collector, each of its full passes would look at all of it again:
        # 0.12 s in which a gateway read no socket.
        gc.freeze()
        return uvloop.run(_awaited(run(settings)))
    except BadSetting as problem:
        return _refuse(problem)
    except BaseExceptionGroup as several:
        found = _first_bad_setting(several)
        if found is None:
            raise
        return _refuse(found)


def _refuse(problem: BadSetting) -> int:
    sys.stderr.write(f"trunkline: {problem}\n")
    return BAD_SETTINGS


def _first_bad_setting(several: BaseExceptionGroup[BaseException]) -> BadSetting | None:
    """Find what a task group wraps: a port in use is only found out once other tasks run."""
    for problem in several.exceptions:
        if isinstance(problem, BadSetting):
            return problem
        if isinstance(problem, BaseExceptionGroup):
            found = _first_bad_setting(problem)  # pyright: ignore[reportUnknownArgumentType] - of any exceptions
            if found is not None:
                return found
    return None


async def _awaited(running: Awaitable[int]) -> int:
    return await running


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m server", description="Streaming transcription of live calls.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("defaults", help="print the settings file with every default")
    for name, role in ROLES.items():
        command = commands.add_parser(name, help=role.help)
        command.add_argument("--settings", type=Path, metavar="FILE", help="TOML file; see 'defaults'")
        command.add_argument("--host", help=role.address)
        command.add_argument("--port", help="its TCP port")
        command.add_argument(
            "--set", action="append", default=[], metavar="NAME=VALUE", help="any setting, such as limits.max_calls=50"
        )
    return parser


def _flags(chosen: argparse.Namespace) -> dict[str, str]:
    flags: dict[str, str] = {}
    for given in chosen.set:
        name, equals, value = str(given).partition("=")
        if not equals:
            raise BadSetting(f"--set {given}: write NAME=VALUE")
        flags[name.strip()] = value.strip()
    section = ROLES[chosen.command].section
    if chosen.host is not None:
        flags[f"{section}.host"] = str(chosen.host)
    if chosen.port is not None:
        flags[f"{section}.port"] = str(chosen.port)
    return flags


if __name__ == "__main__":
    sys.exit(main())
