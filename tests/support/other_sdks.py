"""The clients of AssemblyAI, Speechmatics and Wyoming, imported without their warnings and untyped parts."""

from __future__ import annotations

import warnings
from typing import Any

from assemblyai.streaming.v3 import AsyncStreamingClient, StreamingClientOptions, StreamingParameters
from speechmatics.rt import AsyncClient

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # audioop, which only a converter of Wyoming's needs
    from wyoming.asr import Transcribe, Transcript, TranscriptChunk
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.client import AsyncTcpClient
    from wyoming.event import Event
    from wyoming.info import Describe, Info

__all__ = [
    "AsyncTcpClient",
    "AudioChunk",
    "AudioStart",
    "AudioStop",
    "Describe",
    "Event",
    "Info",
    "Transcribe",
    "Transcript",
    "TranscriptChunk",
    "assembly",
    "assembly_parameters",
    "speechmatics",
]


def assembly_parameters(**given: object) -> StreamingParameters:
    """Return the parameters of a session; the class declares far more as needed than it needs."""
    made: Any = StreamingParameters
    parameters: StreamingParameters = made(**given)
    return parameters


def assembly(port: int, key: str) -> Any:
    """Return the client, whose callbacks have no types."""
    return AsyncStreamingClient(StreamingClientOptions(api_host=f"ws://127.0.0.1:{port}", api_key=key))


def speechmatics(port: int) -> Any:
    """Return the client, whose callbacks have no types."""
    return AsyncClient(api_key="any", url=f"ws://127.0.0.1:{port}/v2")
