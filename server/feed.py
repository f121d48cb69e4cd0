"""One call on its way into the log: gathered, numbered, written in order and acknowledged."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from server.coalescing import Coalescer
from server.dialect import Audio
from server.limits import TokenBucket
from server.settings import Limits
from streaming.call import CallSpec
from streaming.log import Log, Topic
from streaming.record_codec import encode
from streaming.records import (
    ALL_CHANNELS,
    UNTIMED,
    AudioChunk,
    AudioRecord,
    CallEnded,
    CallOpened,
    DtmfReceived,
    FinalizeRequested,
)

LOG_BACKLOG: Final = 256
"""Records waiting for the log at which reading pauses: 10 s of 40 ms pieces."""


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
    """

    def __init__(self, log: Log, spec: CallSpec, slot: int, limits: Limits, now: float) -> None:
        self.spec = spec
        self.sequence = 0
        """Number of the next chunk."""
        self.received_s = 0.0
        """How far the channel heard farthest was heard, in seconds of its media clock."""
        self.audio_seconds = 0.0
        """Seconds received, all channels together."""
        self.ended = False
        """Whether the call's end is on its way to the log, or came from there."""
        self._log = log
        self._slot = slot
        self._gather_s = limits.coalesce_ms / 1000
        self._coalescer = Coalescer(spec.audio, round(spec.audio.rate * self._gather_s))
        self._speed = TokenBucket(limits.speed, limits.catch_up_s, now)
        self._heard: dict[int, float] = {}  # seconds of each channel that came
        self._written: dict[int, float] = {}  # and that are on their way to the log
        self._waiting: asyncio.Queue[tuple[AudioRecord, float] | None] = asyncio.Queue()
        self._unacked: deque[tuple[asyncio.Future[int], float]] = deque()
        self._put(CallOpened(spec))

    def audio(self, audio: Audio, now: float) -> bool:
        """Take audio.

        Returns:
            False if it came faster than allowed; it is not taken then.
        """
        samples = self._coalescer.samples_of(audio)
        seconds = samples / self.spec.audio.rate
        interleaved = audio.channel == ALL_CHANNELS
        channels = self.spec.audio.channels
        self.received_s = max(self.received_s, self._advance(self._heard, audio, seconds))
        self.audio_seconds += seconds * (channels if interleaved else 1)
        if not self._speed.take(seconds / (1 if interleaved else channels), now):
            return False
        self._write(self._coalescer.add(audio, samples, now))
        return True

    def finalize(self, channel: int | None, marker: str) -> None:
        """Ask for everything before this to become final."""
        self.flush()
        self._put(FinalizeRequested(self.spec.call, channel, marker))

    def dtmf(self, channel: int, digit: str) -> None:
        """Note a key; its place among the audio is its time."""
        self.flush()
        self._put(DtmfReceived(self.spec.call, channel, digit))

    def end(self, reason: str) -> None:
        """End the call."""
        self.flush()
        self.ended = True
        self._put(CallEnded(self.spec.call, reason))

    def flush(self, now: float = float("inf")) -> None:
        """Write what was gathered for long enough; all of it if no moment is given."""
        self._write(self._coalescer.flush(now - self._gather_s))

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

    async def room(self) -> None:
        """Wait until the log has taken what waits, if that is a lot."""
        if self._waiting.qsize() > LOG_BACKLOG:
            await self._waiting.join()

    async def run(self) -> None:
        """Write records, in order, until ``finish``."""
        while (item := await self._waiting.get()) is not None:
            record, written_s = item
            done = await self._log.append(Topic.AUDIO, self._slot, self.spec.call, encode(record))
            self._unacked.append((done, written_s))
            self._waiting.task_done()

    def _write(self, pieces: list[Audio]) -> None:
        for piece in pieces:
            self._advance(self._written, piece, self._coalescer.samples_of(piece) / self.spec.audio.rate)
            chunk = AudioChunk(self.spec.call, self.sequence, piece.channel, piece.position, piece.payload)
            self.sequence += 1
            self._put(chunk, min(self._written.values()))

    def _put(self, record: AudioRecord, written_s: float = 0.0) -> None:
        self._waiting.put_nowait((record, written_s))

    def _advance(self, ends: dict[int, float], audio: Audio, seconds: float) -> float:
        """Move a channel's end past a payload, and return it."""
        untimed = audio.position == UNTIMED
        begin = ends.get(audio.channel, 0.0) if untimed else audio.position / self.spec.audio.rate
        end = ends[audio.channel] = begin + seconds
        return end
