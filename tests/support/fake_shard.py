"""A shard without ears: it reads audio as the real one does and says one made-up word per second of it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from streaming.call import SAMPLE_RATE, CallSpec
from streaming.decoding import Word
from streaming.log import Log, Topic
from streaming.record_codec import decode, encode
from streaming.records import (
    ALL_CHANNELS,
    UNTIMED,
    AudioChunk,
    CallClosed,
    CallEnded,
    CallKept,
    CallOpened,
    CallResumed,
    CallStarted,
    Dtmf,
    DtmfReceived,
    EndReason,
    Fence,
    Final,
    Finalized,
    FinalizeRequested,
    OutRecord,
    Partial,
    PauseChanged,
    Paused,
    Resumed,
    SpeechStarted,
)

MODEL = "made-up"
EPOCH = 0


@dataclass(slots=True)
class _Side:
    heard_s: float = 0.0
    done_s: float = 0.0
    finals: int = 0
    revision: int = 0


@dataclass(slots=True)
class _Call:
    spec: CallSpec
    sides: defaultdict[int, _Side] = field(default_factory=lambda: defaultdict(_Side))
    connection: int = 0
    sequence: int = 0
    paused: bool = False


class FakeShard:
    """Owns every slot of a log.

    Args:
        log: The log.
        answers: Whether anything is said at all; a shard that is gone says nothing.
    """

    def __init__(self, log: Log, *, answers: bool = True) -> None:
        self._log = log
        self._answers = answers
        self._calls: dict[str, _Call] = {}
        self._fenced: set[int] = set()
        self._waiting: list[tuple[type[object], asyncio.Future[object]]] = []
        self._unasked: list[object] = []
        """Records that nobody waited for when they came."""
        self.opened: list[CallSpec] = []
        self.chunks: list[AudioChunk] = []
        self.ended: list[CallEnded] = []

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[FakeShard]:
        """Serve while the context lasts."""
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def next(self, kind: type[object]) -> object:
        """Return the next audio record of a kind; one that came before it was asked for is not missed."""
        for record in self._unasked:
            if isinstance(record, kind):
                self._unasked.remove(record)
                return record
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting.append((kind, future))
        return await future

    async def _run(self) -> None:
        reader = self._log.reader(Topic.AUDIO)
        reader.assign(dict.fromkeys(range(self._log.slots), 0))
        while True:
            for entry in await reader.next():
                record = decode(entry.value)
                if self._answers:
                    await self._take(entry.slot, record)
                self._hand_out(record)

    def _hand_out(self, record: object) -> None:
        for kind, future in self._waiting:
            if isinstance(record, kind):
                future.set_result(record)
                self._waiting.remove((kind, future))
                return
        self._unasked.append(record)

    async def _take(self, slot: int, record: object) -> None:
        if isinstance(record, AudioChunk | FinalizeRequested | DtmfReceived | PauseChanged | CallEnded):
            known = self._calls.get(record.call)
            if known is None or record.connection != known.connection:
                return
        match record:
            case CallKept():
                pass
            case CallResumed():
                await self._resume(slot, record)
            case PauseChanged(call_id, paused):
                self._calls[call_id].paused = paused
                at = max((side.heard_s for side in self._calls[call_id].sides.values()), default=0.0)
                await self._say(slot, call_id, Paused(EPOCH, call_id, paused, at))
            case CallOpened(spec):
                self.opened.append(spec)
                self._calls[spec.call] = _Call(spec)
                if slot not in self._fenced:
                    self._fenced.add(slot)
                    await self._say(slot, spec.call, Fence(EPOCH, "fake"))
                start = CallStarted(EPOCH, spec.call, spec.tenant, spec.labels, spec.protocol, spec.opened_at)
                await self._say(slot, spec.call, start)
            case AudioChunk():
                self.chunks.append(record)
                self._calls[record.call].sequence = record.sequence + 1
                await self._hear(slot, self._calls[record.call], record)
            case FinalizeRequested(call, channel, marker):
                await self._finish(slot, self._calls[call], EndReason.FINALIZE, channel)
                await self._say(slot, call, Finalized(EPOCH, call, channel, marker))
            case DtmfReceived(call, channel, digit):
                at = self._calls[call].sides[channel].heard_s
                await self._say(slot, call, Dtmf(EPOCH, call, channel, digit, at))
            case CallEnded(call, reason):
                self.ended.append(record)
                await self._finish(slot, self._calls[call], EndReason.END, None)
                audio_s = max((side.heard_s for side in self._calls[call].sides.values()), default=0.0)
                await self._say(slot, call, CallClosed(EPOCH, call, reason, audio_s, 0.0))
                del self._calls[call]
            case _:
                raise AssertionError(f"an audio topic holds no {type(record).__name__}")

    async def _resume(self, slot: int, asked: CallResumed) -> None:
        call = self._calls.get(asked.call)
        if call is None:
            return
        call.connection += 1
        heard = tuple(round(call.sides[side].heard_s * call.spec.audio.rate) for side in range(call.spec.sides))
        resumed = Resumed(EPOCH, asked.call, asked.nonce, call.connection, call.sequence, heard, call.paused)
        await self._say(slot, asked.call, resumed)

    async def _hear(self, slot: int, call: _Call, chunk: AudioChunk) -> None:
        audio = call.spec.audio
        wide = audio.channels if chunk.channel == ALL_CHANNELS else 1
        seconds = len(chunk.payload) / (audio.encoding.sample_bytes * wide * audio.rate)
        channels = range(call.spec.sides) if chunk.channel == ALL_CHANNELS else [chunk.channel]
        for channel in channels:
            side = call.sides[channel]
            if not side.heard_s:
                await self._say(slot, call.spec.call, SpeechStarted(EPOCH, call.spec.call, channel, 0.0))
            begin = side.heard_s if chunk.position == UNTIMED else chunk.position / audio.rate
            side.heard_s = begin + seconds
            while side.heard_s - side.done_s >= 1.0 - 1e-9:
                await self._final(slot, call, channel, side.done_s + 1.0, EndReason.ENDPOINT)
            if call.spec.interim and side.heard_s > side.done_s:
                await self._partial(slot, call, channel)

    async def _finish(self, slot: int, call: _Call, reason: EndReason, only: int | None) -> None:
        for channel, side in list(call.sides.items()):
            if side.heard_s > side.done_s and only in (None, channel):
                await self._final(slot, call, channel, side.heard_s, reason)

    async def _final(self, slot: int, call: _Call, channel: int, to_s: float, reason: EndReason) -> None:
        side = call.sides[channel]
        word = Word(f"word{side.finals}", side.done_s, to_s, 0.9)
        final = Final(
            epoch=EPOCH,
            call=call.spec.call,
            channel=channel,
            number=side.finals,
            from_sample=round(side.done_s * SAMPLE_RATE),
            to_sample=round(to_s * SAMPLE_RATE),
            words=(word,),
            language=call.spec.language or "en",
            language_confidence=1.0,
            model=MODEL,
            reason=reason,
            speech_end=to_s,
            latency_s=0.1,
        )
        side.done_s = to_s
        side.finals += 1
        side.revision = 0
        await self._say(slot, call.spec.call, final)

    async def _partial(self, slot: int, call: _Call, channel: int) -> None:
        side = call.sides[channel]
        word = Word("wor", side.done_s, side.heard_s, 0.5)
        partial = Partial(
            EPOCH,
            call.spec.call,
            channel,
            side.finals,
            side.revision,
            (word,),
            0,
            side.done_s,
            side.heard_s,
            "en",
            MODEL,
        )
        side.revision += 1
        await self._log.append(Topic.PARTIALS, slot, call.spec.call, encode(partial))

    async def _say(self, slot: int, call: str, record: OutRecord) -> None:
        await self._log.append(Topic.OUT, slot, call, encode(record))
