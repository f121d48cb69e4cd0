"""How far a recording runs ahead of its words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from server import transcriber
from server.dialect import Close, End, Ill, Open, Trouble
from server.errors import Refusal
from server.transcriber import FileDialect, Transcription
from streaming.call import SAMPLE_RATE, AudioFormat, CallSpec, Encoding
from streaming.record_codec import encode
from streaming.records import Progress
from tests.support.bridges import Line
from tests.support.dialects import final

SPEC = CallSpec("call-1", "acme", AudioFormat(Encoding.L16, SAMPLE_RATE), ("speaker",), interim=False)
HALF_SECOND = bytes(SAMPLE_RATE)


def endless() -> Iterator[bytes]:
    while True:
        yield HALF_SECOND


def gone() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def taken(pieces: AsyncIterator[str | bytes], seconds: float) -> None:
    for _ in range(round(2 * seconds)):
        await anext(pieces)


async def test_a_recording_waits_for_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Live calls wait in the same queue."""
    monkeypatch.setattr(transcriber, "STALL_S", 1e9)
    words = Transcription(endless(), 1, gone())
    pieces = aiter(words)
    await taken(pieces, transcriber.AHEAD_S + 0.5)
    more = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0)
    assert not more.done()
    await words.send(encode(Progress(0, "call-1", 0, 0, 16_000)))
    assert await more == HALF_SECOND
    await words.close(1000, "")
    with pytest.raises(StopAsyncIteration):
        await anext(pieces)


async def test_a_recording_that_gets_no_words_goes_on_slowly_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """An utterance may be longer than usual; none is longer than a minute."""
    monkeypatch.setattr(transcriber, "STALL_S", 0.0)
    words = Transcription(endless(), 1, gone())
    pieces = aiter(words)
    await taken(pieces, transcriber.MOST_AHEAD_S + 0.5)
    more = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0)
    assert not more.done()
    words.stop()
    with pytest.raises(StopAsyncIteration):
        await more


async def test_trouble_becomes_the_answer() -> None:
    """With the status that libraries try again on, where that may help."""
    for code, status in ((1013, 503), (1011, 500)):
        words = Transcription(endless(), 1, gone())
        await words.close(code, "overloaded: the server is full")
        words.over()
        with pytest.raises(Refusal) as refused:
            [final async for final in words.finals()]
        assert (refused.value.status, refused.value.code) == (status, "overloaded")


def test_a_recording_is_a_call_whose_records_go_out_as_they_are() -> None:
    """Its peer is this process."""
    call = Line(FileDialect(SPEC))
    assert call.spec == SPEC
    call.say(HALF_SECOND, b"").tell(final("one", 0.0, 0.5))
    assert call.sent == [encode(final("one", 0.0, 0.5))]
    assert (call.ended, call.samples()) == ("hangup", HALF_SECOND)
    assert call.tell(Trouble(Ill.DRAINING, "soon")).close is None
    assert call.finish().close == Close(1000)
    full = Line(FileDialect(SPEC), Trouble(Ill.OVERLOADED, "full"))
    assert full.close == Close(1013, "overloaded: full")
    assert FileDialect(SPEC).begin(0.0) == [Open(SPEC)]
    assert FileDialect(SPEC).receive("", 0.0) == [End("hangup")]
