"""Calls into a Kafka topic, and transcripts out of one; needs the extra ``kafka``.

The records are those of the server's ``docs/ingest.md`` and ``docs/transcripts.md``; no server is spoken to.
"""

from __future__ import annotations

import importlib
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, cast

from trunkline.errors import Unreachable
from trunkline.messages import Audio

CHUNK_S: Final = 0.2
"""Audio of one record, in seconds: fewer waste the broker, more delay the text."""

REMEMBERED: Final = 10_000
"""Documents whose ids are remembered, to drop those that come twice."""

_TYPES: Final[Mapping[str, str]] = {
    "mulaw": "audio/PCMU",
    "alaw": "audio/PCMA",
    "linear16": "audio/pcm;encoding=s16le",
    "linear16be": "audio/L16",
}


class _Producer(Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def send_and_wait(
        self, topic: str, value: bytes | None, key: bytes, *, headers: list[tuple[str, bytes]]
    ) -> object: ...


class _Found(Protocol):
    value: bytes | None


class _Consumer(Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def __aiter__(self) -> AsyncIterator[_Found]: ...


class CallWriter:
    """Writes one call's records, in order; made by ``open_call``."""

    def __init__(self, producer: _Producer, topic: str, call: str, audio: Audio) -> None:
        self.call = call
        """Its id, and the key of its records."""
        self._producer = producer
        self._topic = topic
        self._audio = audio
        self._sequence = 0
        self._sent = 0

    async def send(self, chunk: bytes) -> None:
        """Write audio, channels interleaved; waits until the brokers have it."""
        audio = self._audio
        kind = f"{_TYPES[audio.encoding]};rate={audio.sample_rate};channels={audio.channels}"
        offset_ms = self._sent * 1000 // audio.second_bytes
        numbers = {"sequence": f"{self._sequence:010}", "offsetms": str(offset_ms)}
        self._sequence += 1
        self._sent += len(chunk)
        await self._write("call.audio.chunk.v1", chunk, kind, numbers)

    async def start(self, labels: Sequence[str], language: str | None) -> None:
        """Say what is known of the call."""
        about: dict[str, object] = {"channels": [{"index": at, "label": label} for at, label in enumerate(labels)]}
        if language is not None:
            about["language"] = language
        await self._write("call.started.v1", json.dumps(about).encode(), "application/json", {})

    async def end(self, reason: str = "hangup") -> None:
        """Say that nothing more comes."""
        body = json.dumps({"reason": reason, "last_sequence": self._sequence - 1}).encode()
        await self._write("call.ended.v1", body, "application/json", {})

    async def _write(self, kind: str, value: bytes, content_type: str, more: Mapping[str, str]) -> None:
        attributes = {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "source": "/trunkline/ingest",
            "type": kind,
            "subject": self.call,
            **more,
        }
        headers = [(f"ce_{name}", held.encode()) for name, held in attributes.items()]
        headers.append(("content-type", content_type.encode()))
        await self._producer.send_and_wait(self._topic, value, self.call.encode(), headers=headers)


@asynccontextmanager
async def open_call(
    bootstrap: str,
    topic: str,
    *,
    audio: Audio,
    call: str | None = None,
    labels: Sequence[str] = (),
    language: str | None = None,
) -> AsyncGenerator[CallWriter]:
    """Write a call to a topic; leaving the context ends the call.

    Args:
        bootstrap: Brokers to ask first: ``host:port``, comma-separated.
        topic: That the server's setting ``ingest.topic`` names.
        audio: What will be sent.
        call: Id of the call, or None to have one made up.
        labels: Names of the channels: one for each, or none.
        language: ISO 639-1 code, or None to have it detected.

    Raises:
        Unreachable: If no broker answers, or aiokafka is not installed.
    """
    producer = cast("_Producer", _aiokafka().AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all"))
    await _started(producer, bootstrap)
    try:
        writer = CallWriter(producer, topic, call or str(uuid.uuid4()), audio)
        await writer.start(labels, language)
        yield writer
        await writer.end()
    finally:
        await producer.stop()


async def documents(bootstrap: str, topic: str, *, from_start: bool = False) -> AsyncGenerator[dict[str, object]]:
    """Yield the documents of a public topic as they come, each once, without end.

    Args:
        bootstrap: Brokers to ask first: ``host:port``, comma-separated.
        topic: That the server's setting ``transcripts.topic`` names.
        from_start: Whether to begin with the oldest that is kept, rather than with what comes from now on.

    Raises:
        Unreachable: If no broker answers, or aiokafka is not installed.
    """
    reset = "earliest" if from_start else "latest"
    made = _aiokafka().AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset=reset)
    consumer = cast("_Consumer", made)
    await _started(consumer, bootstrap)
    had: dict[str, None] = {}
    try:
        async for found in consumer:
            document = cast("dict[str, object]", json.loads(found.value or b"{}"))
            name = str(document.get("id"))
            if name in had:
                continue
            had[name] = None
            if len(had) > REMEMBERED:
                del had[next(iter(had))]
            yield document
    finally:
        await consumer.stop()


async def _started(client: _Producer | _Consumer, bootstrap: str) -> None:
    try:
        await client.start()
    except Exception as problem:
        await client.stop()
        raise Unreachable(f"no Kafka broker answers at {bootstrap} ({type(problem).__name__})") from problem


def _aiokafka() -> Any:
    try:
        return importlib.import_module("aiokafka")
    except ModuleNotFoundError as problem:
        raise Unreachable("aiokafka is not installed; pip install 'trunkline[kafka]'") from problem
