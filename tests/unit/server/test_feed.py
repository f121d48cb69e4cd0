"""One connection's part of a call on its way into the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from server.dialect import Audio
from server.feed import CallFeed
from server.settings import Limits
from streaming.audio import silence
from streaming.call import KEPT_S, AudioFormat, CallSpec, Encoding
from streaming.log import Topic
from streaming.log.memory import MemoryLog
from streaming.record_codec import decode
from streaming.records import (
    ALL_CHANNELS,
    UNTIMED,
    AudioChunk,
    CallEnded,
    CallKept,
    CallOpened,
    CallResumed,
    PauseChanged,
    Resumed,
)

SPEC = CallSpec("call-1", "acme", AudioFormat(Encoding.MULAW, 8000), ("customer",), kept=True, resume_s=60.0)
SOUND = Audio(ALL_CHANNELS, UNTIMED, b"\x01" * 800)


class Feeding:
    """A feed and what it wrote."""

    def __init__(self, nonce: str | None = None) -> None:
        self.log = MemoryLog(slots=1)
        self.feed = CallFeed(self.log, SPEC, 0, Limits(), 0.0, nonce=nonce)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[CallFeed]:
        """Write what it says to the end of the context."""
        running = asyncio.create_task(self.feed.run())
        yield self.feed
        self.feed.finish()
        await running

    @property
    def written(self) -> list[object]:
        return [decode(entry.value) for entry in self.log.read(Topic.AUDIO, 0, 0, 100)]


async def test_a_call_with_nothing_to_write_is_kept_by_a_word_now_and_then() -> None:
    """Else nobody could tell a caller on hold from a gateway that died."""
    feeding = Feeding()
    async with feeding.running() as feed:
        for tenth in range(1, 10 * int(2 * KEPT_S) + 5):
            feed.pulse(tenth / 10)
    assert feeding.written == [CallOpened(SPEC), CallKept("call-1"), CallKept("call-1")]


async def test_a_call_that_is_taken_over_goes_on_with_the_numbers_of_the_one_before() -> None:
    """What it writes is told from what the older connection still writes by its number."""
    feeding = Feeding("n")
    async with feeding.running() as feed:
        feed.handed_over(Resumed(0, "call-1", "n", 3, 7, (4000,), paused=False))
        assert feed.audio(SOUND, 0.0)
        feed.end("hangup")
        assert feed.received_s == 0.6
    assert feeding.written == [
        CallResumed("call-1", "n"),
        AudioChunk("call-1", 7, ALL_CHANNELS, UNTIMED, SOUND.payload, 3),
        CallEnded("call-1", "hangup", 3),
    ]
    assert feeding.feed.acked() == 0.6


async def test_a_call_that_was_never_handed_over_is_not_ended() -> None:
    """It is still another connection's."""
    feeding = Feeding("n")
    async with feeding.running() as feed:
        feed.ask_again("o")
        feed.end("disconnected")
    assert feeding.written == [CallResumed("call-1", "n"), CallResumed("call-1", "o")]


async def test_a_call_that_is_let_go_keeps_what_was_gathered_and_has_no_end() -> None:
    """Another gateway goes on behind it."""
    feeding = Feeding()
    async with feeding.running() as feed:
        feed.audio(Audio(ALL_CHANNELS, UNTIMED, b"\x01"), 0.0)
        feed.let_go()
    assert [type(record) for record in feeding.written] == [CallOpened, AudioChunk]


async def test_silence_is_written_while_a_call_is_paused() -> None:
    """From the very sample on; what came before it is not touched."""
    feeding = Feeding()
    async with feeding.running() as feed:
        feed.audio(Audio(ALL_CHANNELS, UNTIMED, b"\x01"), 0.0)
        feed.pause(paused=True)
        feed.audio(SOUND, 0.0)
        feed.pause(paused=False)
        feed.audio(SOUND, 0.0)
    marks_and_sound = [
        record.paused if isinstance(record, PauseChanged) else record.payload
        for record in feeding.written
        if isinstance(record, PauseChanged | AudioChunk)
    ]
    assert marks_and_sound == [b"\x01", True, silence(800, Encoding.MULAW), False, SOUND.payload]


async def test_who_waits_for_room_goes_on_where_the_call_ends_meanwhile() -> None:
    """A connection that joined the call may, while the one that opened it lets it end."""
    feeding = Feeding()
    waiting = asyncio.create_task(feeding.feed.room())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        async with feeding.running() as feed:
            feed.end("hangup")
        await waiting
