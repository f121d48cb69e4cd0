"""``trunkline transcribe``: a file, standard input or the microphone."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trunkline import client
from trunkline.audio import Source, background, open_file, open_microphone, open_stream
from trunkline.cli.options import DEFAULT_URL, AsJson, Key, Url
from trunkline.cli.show import show
from trunkline.messages import Audio
from trunkline.pacing import FAST_AHEAD_S, FAST_SPEED, paced


def transcribe(
    file: Annotated[str | None, typer.Argument(help="Audio file, or - for standard input.", show_default=False)] = None,
    *,
    url: Url = DEFAULT_URL,
    key: Key = None,
    mic: Annotated[bool, typer.Option("--mic", help="Listen to the microphone; Ctrl-C ends.")] = False,
    label: Annotated[
        list[str] | None, typer.Option(help="Name of a side; once per channel.", show_default=False)
    ] = None,
    language: Annotated[str | None, typer.Option(help="Such as en; detected if absent.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option(help="One the server has.", show_default=False)] = None,
    hotword: Annotated[list[str] | None, typer.Option(help="A word to expect; any number.", show_default=False)] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime/--fast", help="Send as spoken, or as fast as servers allow by default.")
    ] = True,
    encoding: Annotated[
        str | None,
        typer.Option(help="For bare samples: mulaw, alaw, linear16 or linear16be.", show_default=False),
    ] = None,
    rate: Annotated[int, typer.Option(help="For bare samples: Hz.")] = 8000,
    channels: Annotated[int, typer.Option(help="For bare samples: how many.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Transcribe a file, standard input or the microphone; a channel is a side of the call."""
    if (file is None) is not mic:
        raise typer.BadParameter("name one of: a file, - for standard input, --mic")
    raw = None if encoding is None else Audio(encoding, rate, channels)
    if mic or file is None:
        source = open_microphone()
    elif file == "-":
        source = open_stream(sys.stdin.buffer, raw)
    else:
        source = open_file(Path(file), raw)
    with source:
        if label and len(label) != source.audio.channels:
            raise typer.BadParameter(f"the audio has {source.audio.channels} channels; give --label as often, or never")
        opening = client.connect(
            url,
            audio=source.audio,
            labels=label or (),
            language=language,
            hotwords=hotword or (),
            model=model,
            interim=as_json or sys.stdout.isatty(),
            key=key,
        )
        asyncio.run(_transcribe(opening, source, realtime=realtime, as_json=as_json))


async def _transcribe(
    opening: contextlib.AbstractAsyncContextManager[client.Call], source: Source, *, realtime: bool, as_json: bool
) -> None:
    async with opening as call:
        console = Console(highlight=False)
        speaker = asyncio.create_task(_speak(call, source, realtime=realtime), name="speaker")
        try:
            await show(call, call.ready.labels, console, as_json=as_json)
        finally:
            speaker.cancel()
            problems = await asyncio.gather(speaker, return_exceptions=True)
        if isinstance(problems[0], Exception):
            raise problems[0]


async def _speak(call: client.Call, source: Source, *, realtime: bool) -> None:
    """Send everything, then close; an interrupt ends the audio, a second one the program."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    with contextlib.suppress(NotImplementedError):  # on Windows, where an interrupt just ends the program
        loop.add_signal_handler(signal.SIGINT, interrupted)
    pump = asyncio.create_task(_pump(call, source, realtime=realtime), name="pump")
    stopped = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait((pump, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        pump.cancel()
        stopped.cancel()
        outcome, _ = await asyncio.gather(pump, stopped, return_exceptions=True)
    await call.close()
    if isinstance(outcome, Exception):
        raise outcome


async def _pump(call: client.Call, source: Source, *, realtime: bool) -> None:
    speed, ahead_s = (1.0, 0.0) if realtime else (FAST_SPEED, FAST_AHEAD_S)
    async with contextlib.aclosing(background(source.chunks)) as chunks:
        async for _, _, chunk in paced(chunks, source.audio, speed=speed, ahead_s=ahead_s):
            await call.send(chunk)
