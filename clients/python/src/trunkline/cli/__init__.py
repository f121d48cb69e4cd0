"""The command ``trunkline``.

Exit codes: 0 fine; 1 a call failed; 2 the command makes no sense, or the server could not be reached or refused.
"""

from __future__ import annotations

import sys
from typing import Final

import typer
from rich.console import Console

from trunkline.audio import UnusableAudio
from trunkline.cli.demo import demo
from trunkline.cli.kafka import ingest, tail
from trunkline.cli.load import load
from trunkline.cli.top import top
from trunkline.cli.transcribe import transcribe
from trunkline.cli.watch import watch
from trunkline.errors import Refused, TrunklineError, Unreachable

FAILED: Final = 1
REFUSED: Final = 2
INTERRUPTED: Final = 130

app = typer.Typer(
    help="Transcribe live calls with a Trunkline server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (transcribe, watch, top, load, demo, ingest, tail):
    app.command()(command)


def main() -> None:
    """Run the command line, and say in one line what went wrong."""
    try:
        app()
    except (Refused, Unreachable, UnusableAudio, OSError, ValueError) as problem:
        _say(problem)
        sys.exit(REFUSED)
    except TrunklineError as problem:
        _say(problem)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _say(problem: Exception) -> None:
    Console(stderr=True, soft_wrap=True).print(f"trunkline: {problem}", style="red", markup=False, highlight=False)
