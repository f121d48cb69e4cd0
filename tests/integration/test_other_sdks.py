"""The official clients of AssemblyAI, Speechmatics and Wyoming, unmodified, against the gateway."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from assemblyai.streaming.v3 import (
    Encoding,
    StreamingEvents,
)
from speechmatics.rt import (
    AudioEncoding,
    AudioFormat,
    ServerMessageType,
    TranscriptionConfig,
    TranscriptionError,
    TranscriptResult,
)

from tests.support.gateways import SECOND, running, settings
from tests.support.other_sdks import (
    AsyncTcpClient,
    AudioChunk,
    AudioStart,
    AudioStop,
    Describe,
    Event,
    Info,
    Transcribe,
    Transcript,
    TranscriptChunk,
    assembly,
    assembly_parameters,
    speechmatics,
)


def keep(texts: list[str]) -> Callable[[dict[str, Any]], None]:
    """Return a callback that keeps what the client makes of a message."""
    return lambda message: texts.append(TranscriptResult.from_message(message).metadata.transcript)


async def test_assemblyai_gets_turns_and_a_termination() -> None:
    """Its client gives up after a second without Begin."""
    heard: list[Any] = []

    async def take(_client: object, event: object) -> None:
        heard.append(event)

    async with running(settings(auth__keys='{acme = ["good"]}')) as served:
        client = assembly(served.port, "good")
        for kind in (StreamingEvents.Begin, StreamingEvents.Turn, StreamingEvents.Termination, StreamingEvents.Error):
            client.on(kind, take)
        await client.connect(
            assembly_parameters(sample_rate=8000, encoding=Encoding.pcm_mulaw, format_turns=True, keyterms_prompt=["x"])
        )
        for _ in range(5):
            await client.stream(SECOND[:4000])
        await client.disconnect(terminate=True)
    kinds = [event.type for event in heard]
    assert (kinds[0], kinds[-1]) == ("Begin", "Termination")
    done = [event for event in heard if event.type == "Turn" and event.end_of_turn]
    assert [turn.transcript for turn in done] == ["word0", "word1", "word2"]
    assert heard[-1].audio_duration_seconds == 2


async def test_speechmatics_gets_partials_finals_and_the_end() -> None:
    """Its client waits for RecognitionStarted, and for EndOfTranscript."""
    finals: list[str] = []
    partials: list[str] = []
    async with (
        running() as served,
        speechmatics(served.port) as client,
    ):
        client.on(ServerMessageType.ADD_TRANSCRIPT, keep(finals))
        client.on(ServerMessageType.ADD_PARTIAL_TRANSCRIPT, keep(partials))
        await client.transcribe(
            io.BytesIO(b"\0\0" * 40_000),
            transcription_config=TranscriptionConfig(language="en", enable_partials=True),
            audio_format=AudioFormat(encoding=AudioEncoding.PCM_S16LE, sample_rate=16_000, chunk_size=8000),
        )
    assert finals == ["word0 ", "word1 ", "word2 "]
    assert "wor " in partials


async def test_speechmatics_raises_its_own_error() -> None:
    """With the reason."""
    async with (
        running() as served,
        speechmatics(served.port) as client,
    ):
        with pytest.raises(TranscriptionError):
            await client.start_session(
                audio_format=AudioFormat(encoding=AudioEncoding.MULAW, sample_rate=11_025),
                transcription_config=TranscriptionConfig(language="en"),
            )


async def test_wyoming_describes_itself_and_transcribes() -> None:
    """As Home Assistant does it: one connection to look, one to speak."""
    async with running(settings(wyoming__port="0"), models=["tiny.en"]) as served:
        assert served.gateway.wyoming_port is not None
        async with AsyncTcpClient("127.0.0.1", served.gateway.wyoming_port) as client:
            await client.write_event(Describe().event())
            event = await client.read_event()
            assert event is not None
            assert Info.from_event(event).asr[0].models[0].name == "tiny.en"
        async with AsyncTcpClient("127.0.0.1", served.gateway.wyoming_port) as client:
            await client.write_event(Transcribe(language="en").event())
            await client.write_event(AudioStart(rate=16_000, width=2, channels=1).event())
            for _ in range(3):
                await client.write_event(AudioChunk(16_000, 2, 1, b"\0\0" * 8000).event())
            await client.write_event(AudioStop().event())
            events: list[Event] = []
            while (event := await client.read_event()) is not None:
                events.append(event)
    chunks = [TranscriptChunk.from_event(event).text for event in events if TranscriptChunk.is_type(event.type)]
    whole = [Transcript.from_event(event).text for event in events if Transcript.is_type(event.type)]
    assert (chunks, whole) == (["word0", " word1"], ["word0 word1"])
