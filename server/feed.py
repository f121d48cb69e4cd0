"""One connection's part of a call on its way into the log: gathered, numbered, written in order and acknowledged."""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum, auto
from typing import Final

from server.coalescing import Coalescer
from server.dialect import Audio
from server.limits import TokenBucket
from server.settings import Limits
from streaming.audio import silence
from streaming.call import KEPT_S, CallSpec
from streaming.log import Log, Topic
from streaming.record_codec import encode
from streaming.records import (
    ALL_CHANNELS,
    UNTIMED,
    AudioChunk,
    AudioRecord,
    CallEnded,
    CallKept,
    CallOpened,
    CallResumed,
    DtmfReceived,
    FinalizeRequested,
    PauseChanged,
    Resumed,
)

LOG_BACKLOG: Final = 256
"""Records waiting for the log at which reading pauses: 10 s of 40 ms pieces."""


class Handover(Enum):
    """What a ``Resumed`` means to one connection."""

    TO_US = auto()
    """The call is this connection's to write."""
    FROM_US = auto()
    """It was, and is another's now."""
    ELSEWHERE = auto()
    """It neither is nor was."""


class CallFeed:
    """The log's end of one call.

    Everything but ``run`` and ``room`` returns at once; ``run`` writes what they left, and waits where the log's buffer
    is full.

    Args:
        log: Where the call is written.
        spec: The call.
        slot: Where it lives.
        limits: How fast its audio may come and how much of it is gathered.
        now: Monotonic seconds.
        nonce: Marks the request of a connection that takes the call over; None for the one that opens it.
    """

    def __init__(
        self, log: Log, spec: CallSpec, slot: int, limits: Limits, now: float, *, nonce: str | None = None
    ) -> None:
        self.spec = spec
        self.sequence = 0
        """Number of the next chunk."""
        self.received_s = 0.0
        """How far the channel heard farthest was heard, in seconds of its media clock."""
        self.audio_seconds = 0.0
        """Seconds received, all channels together."""
        self.ended = False
        """Whether the call's end is on its way to the log, or came from there, or is no business of ours any more."""
        self.connection: int | None = None if nonce else 0
        """What marks our records; None until the call is ours."""
        self.nonce = nonce
        """Of the request that has not been answered, or was answered last."""
        self.paused = False
        """Whether silence is written in place of what comes."""
        self._log = log
        self._slot = slot
        self._rate, self._channels = spec.audio.rate, spec.audio.channels
        self._gather_s = limits.coalesce_ms / 1000
        self._coalescer = Coalescer(spec.audio, round(spec.audio.rate * self._gather_s))
        self._speed = TokenBucket(limits.speed, limits.catch_up_s, now)
        self._heard: dict[int, float] = {}  # seconds of each channel that came
        self._written: dict[int, float] = {}  # and that are on their way to the log
        self._waiting: asyncio.Queue[tuple[AudioRecord, float] | None] = asyncio.Queue()
        self._unacked: deque[tuple[asyncio.Future[int], float]] = deque()
        self._put_at = now
        self._news = True  # whether anything was put since the last pulse
        self._put(CallResumed(spec.call, nonce) if nonce else CallOpened(spec))

    def ask_again(self, nonce: str) -> None:
        """Ask for the call once more: whoever should have answered may be gone."""
        self.nonce = nonce
        self._put(CallResumed(self.spec.call, nonce))

    def handed_over(self, resumed: Resumed) -> Handover:
        """Begin with a call that is ours now, or leave one that another connection has."""
        if resumed.nonce == self.nonce:
            if self.connection is None:
                self._begin(resumed)
            return Handover.TO_US
        if self.connection is not None and resumed.connection > self.connection:
            self.let_go()
            return Handover.FROM_US
        return Handover.ELSEWHERE

    def _begin(self, resumed: Resumed) -> None:
        """Go on where the connection before stopped."""
        self.connection = resumed.connection
        self.sequence = resumed.next_sequence
        self.paused = resumed.paused
        self.received_s = max(resumed.heard) / self.spec.audio.rate
        self._heard = {ALL_CHANNELS: self.received_s}
        self._written = dict(self._heard)

    def audio(self, audio: Audio, now: float) -> bool:
        """Take audio.

        Returns:
            False if it came faster than allowed; it is not taken then.
        """
        if self.paused:
            quiet = silence(len(audio.payload), self.spec.audio.encoding)
            audio = Audio(audio.channel, audio.position, quiet)
        samples = self._coalescer.samples_of(audio)
        seconds = samples / self._rate
        wide, share = (self._channels, 1) if audio.channel == ALL_CHANNELS else (1, self._channels)
        end = self._advance(self._heard, audio, seconds)
        self.received_s = max(self.received_s, end)
        self.audio_seconds += seconds * wide
        if not self._speed.take(seconds / share, now):
            return False
        pieces = self._coalescer.add(audio, samples, now)
        if pieces:
            self._write(pieces)
        return True

    def heard_s(self, channel: int) -> float:
        """Return how far a channel that comes by itself was heard, in seconds of the call."""
        return self._heard.get(channel, 0.0)

    def finalize(self, channel: int | None, marker: str) -> None:
        """Ask for everything before this to become final."""
        self.flush()
        self._put(FinalizeRequested(self.spec.call, channel, marker, self.connection or 0))

    def dtmf(self, channel: int, digit: str) -> None:
        """Note a key; its place among the audio is its time."""
        self.flush()
        self._put(DtmfReceived(self.spec.call, channel, digit, self.connection or 0))

    def pause(self, *, paused: bool) -> None:
        """Write silence in place of what comes from here on, or no longer."""
        self.flush()
        self.paused = paused
        self._put(PauseChanged(self.spec.call, paused, self.connection or 0))

    def end(self, reason: str) -> None:
        """End the call."""
        self.flush()
        self.ended = True
        if self.connection is not None:  # else the call was never ours to end
            self._put(CallEnded(self.spec.call, reason, self.connection))

    def let_go(self) -> None:
        """Leave the call to others; what came so far is still written."""
        self.flush()
        self.ended = True

    def flush(self) -> None:
        """Write all that was gathered."""
        self._write(self._coalescer.flush(float("inf")))

    def pulse(self, now: float) -> None:
        """Write what was gathered for long enough, and that the call is kept where there was nothing for long."""
        self._write(self._coalescer.flush(now - self._gather_s))
        if self._news:
            self._news, self._put_at = False, now
        elif now - self._put_at >= KEPT_S and not self.ended:
            self._put(CallKept(self.spec.call))

    def acked(self) -> float:
        """Return up to where the log has the audio, in seconds, if that is news; else 0.

        Raises:
            Exception: Whatever the log failed with; what it lost is never acknowledged.
        """
        upto = 0.0
        while self._unacked and self._unacked[0][0].done():
            done, written_s = self._unacked.popleft()
            done.result()
            upto = max(upto, written_s)
        return upto

    def finish(self) -> None:
        """Let ``run`` return once everything is written."""
        self._waiting.put_nowait(None)

    def abandon(self) -> None:
        """Drop what waits: ``run`` failed, and nobody may wait for room any more."""
        while not self._waiting.empty():
            self._waiting.get_nowait()
            self._waiting.task_done()

    @property
    def is_full(self) -> bool:
        """Whether so much waits for the log that no more should be read."""
        return self._waiting.qsize() > LOG_BACKLOG

    async def room(self) -> None:
        """Wait until the log has taken what waits."""
        await self._waiting.join()

    async def run(self) -> None:
        """Write records, in order, until ``finish``."""
        while (item := await self._waiting.get()) is not None:
            record, written_s = item
            try:
                done = await self._log.append(Topic.AUDIO, self._slot, self.spec.call, encode(record))
            finally:
                self._waiting.task_done()
            self._unacked.append((done, written_s))
        self._waiting.task_done()  # of the end, too: a connection that joined the call may be waiting for room

    def _write(self, pieces: list[Audio]) -> None:
        for piece in pieces:
            self._advance(self._written, piece, self._coalescer.samples_of(piece) / self._rate)
            chunk = AudioChunk(
                self.spec.call, self.sequence, piece.channel, piece.position, piece.payload, self.connection or 0
            )
            self.sequence += 1
            self._put(chunk, min(self._written.values()))

    def _put(self, record: AudioRecord, written_s: float = 0.0) -> None:
        self._news = True
        self._waiting.put_nowait((record, written_s))

    def _advance(self, ends: dict[int, float], audio: Audio, seconds: float) -> float:
        """Move a channel's end past a payload, and return it."""
        untimed = audio.position == UNTIMED
        begin = ends.get(audio.channel, 0.0) if untimed else audio.position / self._rate
        end = ends[audio.channel] = begin + seconds
        return end
