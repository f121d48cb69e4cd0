"""Wyoming as a translator."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from server.apis.wyoming import MAX_EVENT, WyomingDialect, read_event
from server.dialect import Close, Ill, Trouble
from streaming.call import AudioFormat, Encoding
from tests.support.bridges import Frame, Line, fuzz
from tests.support.dialects import UPGRADE, final

FORMAT = {"rate": 16_000, "width": 2, "channels": 1}


def event(kind: str, data: dict[str, Any] | None = None, payload: bytes = b"", *, inline: bool = False) -> bytes:
    body = json.dumps(data).encode() if data and not inline else b""
    header: dict[str, Any] = {"type": kind, "data_length": len(body), "payload_length": len(payload)}
    if inline:
        header["data"] = data
    return json.dumps(header).encode() + b"\n" + body + payload


def line() -> Line:
    return Line(WyomingDialect(UPGRADE, ["tiny.en", "base"]))


def told(call: Line) -> list[tuple[str, dict[str, Any]]]:
    """Return types and data of what was sent."""
    events: list[tuple[str, dict[str, Any]]] = []
    for frame in call.sent:
        assert isinstance(frame, bytes)
        header, _, body = frame.partition(b"\n")
        events.append((json.loads(header)["type"], json.loads(body)))
    return events


def test_a_transcription_from_audio_start_to_transcript() -> None:
    """Pieces for those who want them, and always the whole, which older clients wait for."""
    call = line().say(
        event("transcribe", {"name": "tiny.en", "language": "en"}),
        event("audio-start", FORMAT),
        event("audio-chunk", FORMAT, b"\1\0" * 160),
        event("audio-chunk", FORMAT, b"\2\0", inline=True),
        event("audio-stop", {"timestamp": 1}),
    )
    assert call.spec is not None
    assert (call.spec.audio, call.spec.language, call.spec.model) == (
        AudioFormat(Encoding.L16, 16_000),
        "en",
        "tiny.en",
    )
    assert call.samples() == b"\1\0" * 160 + b"\2\0"
    call.tell(final("good", 0.0, 1.0), final("morning", 1.0, 2.0)).finish()
    assert told(call) == [
        ("transcript-start", {"language": "en"}),
        ("transcript-chunk", {"text": "good"}),
        ("transcript-chunk", {"text": " morning"}),
        ("transcript", {"text": "good morning", "language": "en"}),
        ("transcript-stop", {}),
    ]
    assert (call.ended, call.close) == ("hangup", Close(1000))


def test_silence_has_a_transcript_too_and_chunks_may_come_without_a_start() -> None:
    """Their events say the format each time."""
    call = line().say(event("audio-chunk", {"rate": 8000, "width": 2, "channels": 2}, b"\1\0\2\0"), event("audio-stop"))
    assert call.spec is not None
    assert (call.spec.audio.channels, call.spec.sides) == (2, 1)
    assert told(call.finish())[0] == ("transcript", {"text": ""})


def test_what_is_served_is_described() -> None:
    """Home Assistant offers only what is named here."""
    (_, info), (_, pong) = told(line().say(event("describe"), event("ping", {"text": "x"}), event("dance")))
    program = info["asr"][0]
    assert [model["name"] for model in program["models"]] == ["tiny.en", "base"]
    assert program["models"][0]["languages"] == ["en"]
    assert program["supports_transcript_streaming"] is True
    assert pong == {"text": "x"}


@pytest.mark.parametrize(
    "frame",
    [
        b"not json\n",
        event("audio-start", {"rate": 11_025, "width": 2, "channels": 1}),
        event("audio-start", {"rate": 16_000, "width": 4, "channels": 1}),
        event("audio-start", {"rate": 16_000, "width": 2, "channels": 99}),
    ],
)
def test_what_cannot_be_is_an_error(frame: bytes) -> None:
    """Then the close."""
    call = line().say(frame)
    assert told(call)[-1][0] == "error"
    assert call.close is not None


def test_an_early_end_a_second_start_and_trouble() -> None:
    """None of them is a crash."""
    assert line().say(event("audio-stop")).close == Close(1000)
    call = line().say(event("audio-start", FORMAT), event("audio-start", FORMAT))
    assert told(call.tell(Trouble(Ill.TOO_FAST, "slower")))[-1] == ("error", {"text": "slower", "code": "too_fast"})


async def test_events_are_whole_however_the_stream_is_cut() -> None:
    """TCP keeps nothing together."""
    events = [event("audio-start", FORMAT), event("audio-chunk", FORMAT, b"\n\1" * 400), event("audio-stop")]
    reader = asyncio.StreamReader()
    reader.feed_data(b"".join(events))
    assert [await read_event(reader) for _ in events] == events
    reader.feed_data(json.dumps({"type": "x", "payload_length": MAX_EVENT + 1}).encode() + b"\n")
    with pytest.raises(asyncio.LimitOverrunError):
        await read_event(reader)


def test_broken_sessions_are_refused_or_survived() -> None:
    """Whatever comes, no exception leaves the dialect."""
    session: list[Frame] = [
        event("transcribe", {"language": "en"}),
        event("audio-start", FORMAT),
        *[event("audio-chunk", FORMAT, b"\1\0" * 160)] * 4,
        event("audio-stop"),
    ]
    fuzz(lambda: WyomingDialect(UPGRADE, ["tiny.en"]), [session])
