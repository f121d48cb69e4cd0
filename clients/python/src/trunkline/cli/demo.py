"""``trunkline demo``: a recorded call, shown as it is understood, and judged."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trunkline.audio import read_file
from trunkline.cli.options import DEFAULT_URL, Key, Url
from trunkline.demo import demonstrate, summary
from trunkline.reference import read_reference


def demo(
    file: Annotated[Path, typer.Argument(help="Recording of both sides: stereo WAV, mu-law, 8 kHz.")],
    reference: Annotated[Path, typer.Argument(help="JSON with its turns: channel, start_s, end_s, text.")],
    *,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Play a recorded call through Twilio's framing, show its words as they come, and judge them."""
    console = Console(highlight=False)
    outcome = asyncio.run(demonstrate(url, read_file(file), read_reference(reference), console, key))
    console.print()
    console.print(summary(outcome))
    raise typer.Exit(0 if outcome.understood else 1)
