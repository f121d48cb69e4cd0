"""``trunkline ingest`` and ``trunkline tail``: calls into Kafka, transcripts out of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trunkline.audio import background, open_file
from trunkline.cli.options import AsJson
from trunkline.kafka import CHUNK_S, documents, open_call
from trunkline.pacing import paced

DEFAULT_BOOTSTRAP = "127.0.0.1:9092"

Bootstrap = Annotated[
    str, typer.Option("--bootstrap", envvar="TRUNKLINE_KAFKA", help="Brokers: host:port, comma-separated.")
]


def ingest(
    files: Annotated[list[Path], typer.Argument(help="Audio files; each is a call, each channel a side.")],
    *,
    topic: Annotated[str, typer.Option(help="What the server's ingest.topic names.")],
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    label: Annotated[
        list[str] | None, typer.Option(help="Name of a side; once per channel.", show_default=False)
    ] = None,
    language: Annotated[str | None, typer.Option(help="Such as en; detected if absent.", show_default=False)] = None,
    realtime: Annotated[bool, typer.Option("--realtime/--fast", help="Write as spoken, or at once.")] = True,
) -> None:
    """Write recordings to a topic as calls, all at the same time."""
    asyncio.run(_ingest(files, bootstrap, topic, label or [], language, realtime=realtime))


async def _ingest(
    files: list[Path], bootstrap: str, topic: str, labels: list[str], language: str | None, *, realtime: bool
) -> None:
    async with asyncio.TaskGroup() as calls:
        for file in files:
            calls.create_task(_write(file, bootstrap, topic, labels, language, realtime=realtime))


async def _write(
    file: Path, bootstrap: str, topic: str, labels: list[str], language: str | None, *, realtime: bool
) -> None:
    with open_file(file) as source:
        if labels and len(labels) != source.audio.channels:
            raise typer.BadParameter(f"{file} has {source.audio.channels} channels; give --label as often, or never")
        opening = open_call(bootstrap, topic, audio=source.audio, labels=labels, language=language)
        speed = 1.0 if realtime else 1e9
        size = round(CHUNK_S * source.audio.sample_rate) * source.audio.frame_bytes
        async with opening as call, contextlib.aclosing(background(source.chunks)) as chunks:
            Console(stderr=True, highlight=False).print(f"{file}: call {call.call}", markup=False)
            gathered = b""
            async for _, _, chunk in paced(chunks, source.audio, speed=speed, ahead_s=0.0):
                gathered += chunk
                if len(gathered) >= size:
                    await call.send(gathered)
                    gathered = b""
            if gathered:
                await call.send(gathered)


def tail(
    *,
    topic: Annotated[str, typer.Option(help="What the server's transcripts.topic names.")],
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    call: Annotated[str | None, typer.Option(help="Only this call, and end with it.", show_default=False)] = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin with the oldest that is kept.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write finals as they come into the public topic, each once."""
    asyncio.run(_tail(bootstrap, topic, call, from_start=from_start, as_json=as_json))


async def _tail(bootstrap: str, topic: str, call: str | None, *, from_start: bool, as_json: bool) -> None:
    async with contextlib.aclosing(documents(bootstrap, topic, from_start=from_start)) as coming:
        async for document in coming:
            if call is not None and document.get("call") != call:
                continue
            if as_json:
                sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
            elif document.get("type") == "final":
                sys.stdout.write(
                    f"{document['call']}  {document['start']:7.2f}  {document['label']}: {document['text']}\n"
                )
            sys.stdout.flush()
            if call is not None and document.get("type") == "call_ended":
                return
