"""The official openai library, unmodified, against the gateway."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openai import AsyncOpenAI, AuthenticationError, BadRequestError, NotFoundError

from tests.support.gateways import Running, running, settings
from tests.support.sound import tone

SECOND = base64.b64encode(b"\0\0" * 24_000).decode()


@asynccontextmanager
async def client(served: Running, key: str = "any") -> AsyncGenerator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key=key, base_url=f"http://127.0.0.1:{served.port}/v1", max_retries=0) as made:
        yield made


async def heard(connection: Any, until: str, count: int = 1) -> list[Any]:
    """Return all events up to the nth of a type."""
    events: list[Any] = []
    while [event.type for event in events].count(until) < count:
        events.append(await connection.recv())
    return events


COMPLETED = "conversation.item.input_audio_transcription.completed"
DELTA = "conversation.item.input_audio_transcription.delta"


async def test_a_realtime_session_gets_deltas_and_whole_turns() -> None:
    """The library parses every event into its own classes."""
    async with (
        running() as served,
        client(served) as openai,
        openai.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        created = await connection.recv()
        assert created.type == "session.created"
        await connection.session.update(
            session={
                "type": "transcription",
                "audio": {"input": {"transcription": {"model": "whisper-1", "language": "en"}}},
            }
        )
        assert (await connection.recv()).type == "session.updated"
        for _ in range(5):
            await connection.input_audio_buffer.append(audio=base64.b64encode(b"\0\0" * 12_000).decode())
        events = await heard(connection, COMPLETED, 2)
    done = [event for event in events if event.type == COMPLETED]
    assert [event.transcript for event in done] == ["word0", "word1"]
    assert done[0].usage.type == "duration"
    assert done[0].usage.seconds > 0
    assert (
        "".join(event.delta for event in events if event.type == DELTA and event.item_id == done[0].item_id) == "word0"
    )
    assert [event.type for event in events].count("input_audio_buffer.committed") == 2
    assert {spec.language for spec in served.shard.opened} == {"en"}


async def test_a_realtime_session_without_turn_detection_is_committed() -> None:
    """Push to talk: one turn however many pauses."""
    async with running() as served, client(served) as openai, openai.realtime.connect(model="tiny.en") as connection:
        manual: Any = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
        await connection.session.update(session=manual)
        for _ in range(2):
            await connection.input_audio_buffer.append(audio=SECOND)
        await connection.input_audio_buffer.append(audio=base64.b64encode(b"\0\0" * 6000).decode())
        await connection.input_audio_buffer.commit()
        events = await heard(connection, COMPLETED)
        assert events[-1].transcript == "word0 word1 word2"
        await connection.input_audio_buffer.commit()
        error = (await heard(connection, "error"))[-1]
        assert error.error.code == "input_audio_buffer_commit_empty"
        await connection.input_audio_buffer.clear()
        assert (await heard(connection, "input_audio_buffer.cleared"))[-1].type == "input_audio_buffer.cleared"


async def test_files_come_back_in_every_format() -> None:
    """What a user of the library reads is what it makes of our answers."""
    async with running(models=["tiny.en"]) as served, client(served) as openai:
        create = openai.audio.transcriptions.create
        file = ("call.wav", tone(2.5), "audio/wav")
        told = await create(file=file, model="whisper-1", language="en")
        assert told.text == "word0 word1 word2"
        assert await create(file=file, model="whisper-1", response_format="text") == "word0 word1 word2\n"
        srt = await create(file=file, model="whisper-1", response_format="srt")
        assert srt.startswith("1\n00:00:00,000 --> 00:00:01,000\nword0\n\n2\n")
        vtt = await create(file=file, model="whisper-1", response_format="vtt")
        assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nword0\n")
        verbose = await create(
            file=file, model="whisper-1", response_format="verbose_json", timestamp_granularities=["word", "segment"]
        )
        assert (verbose.language, verbose.duration) == ("english", 2.5)
        assert [segment.text for segment in verbose.segments or []] == [" word0", " word1", " word2"]
        assert [word.word for word in verbose.words or []] == ["word0", "word1", "word2"]
        stream = await create(file=file, model="whisper-1", stream=True)
        events = [event async for event in stream]
        assert [event.type for event in events] == ["transcript.text.delta"] * 3 + ["transcript.text.done"]
        assert events[-1].type == "transcript.text.done"
        assert events[-1].text == "word0 word1 word2"
        listed = [model.id async for model in openai.models.list()]
        assert listed == ["tiny.en"]
    assert {spec.protocol for spec in served.shard.opened} == {"file"}
    assert {ended.reason for ended in served.shard.ended} == {"hangup"}


@pytest.mark.parametrize(
    ("container", "rate", "channels"), [("FLAC", 44_100, 2), ("OGG", 48_000, 1), ("MP3", 22_050, 2)]
)
async def test_the_usual_containers_are_read(container: str, rate: int, channels: int) -> None:
    """Their channels are mixed."""
    async with running() as served, client(served) as openai:
        file = (f"call.{container.lower()}", tone(2.0, rate, channels, container))
        told = await openai.audio.transcriptions.create(file=file, model="whisper-1")
        assert told.text.startswith("word0 word1")


async def test_a_long_recording_is_given_bit_by_bit() -> None:
    """Live calls go on beside it."""
    async with running() as served, client(served) as openai:
        told = await openai.audio.transcriptions.create(file=("long.wav", tone(200.0, 8000)), model="whisper-1")
        assert len(told.text.split()) == 200


async def test_refusals_become_the_librarys_own_errors() -> None:
    """It maps them by status and reads their code."""
    async with running(settings(auth__keys='{acme = ["good"]}', files__max_s="1")) as served:
        async with client(served, "bad") as openai:
            with pytest.raises(AuthenticationError) as unknown:
                await openai.models.list()
            assert unknown.value.code == "invalid_api_key"
            with pytest.raises(AuthenticationError):
                await openai.audio.transcriptions.create(file=("a.wav", tone(0.5)), model="whisper-1")
        async with client(served, "good") as openai:
            with pytest.raises(BadRequestError) as damaged:
                await openai.audio.transcriptions.create(file=("a.wav", b"RIFFnothing"), model="whisper-1")
            assert damaged.value.code == "unsupported_format"
            with pytest.raises(Exception, match="recordings may have 1 s"):
                await openai.audio.transcriptions.create(file=("a.wav", tone(2.0)), model="whisper-1")
            with pytest.raises(NotFoundError):
                await openai.embeddings.create(model="whisper-1", input="text")
