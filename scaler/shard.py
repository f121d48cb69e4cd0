"""The shard: owns slots, runs one session per call, feeds devices, writes text. Its decisions are the sessions'.

A shard tails the audio of its slots. Whatever a session asks for is carried out here: frames are judged for speech in
batches over all channels, windows go to the devices, records go to the log through one writer, which keeps their order.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import structlog

from scaler.pace import Pace, PaceKeeper
from streaming.channel import ChannelSettings
from streaming.decoding import DecodeJob, Float32Array, Hypothesis, Kind
from streaming.effects import Decode, Effect, Publish, ScoreSpeech
from streaming.errors import BadRecord, TrunklineError
from streaming.log import Entry, Log, Topic
from streaming.records import (
    AudioChunk,
    CallClosed,
    CallEnded,
    CallOpened,
    DtmfReceived,
    Fence,
    FinalizeRequested,
    Partial,
    Record,
    decode,
    encode,
)
from streaming.session import Decoded, DecodeFailed, Event, Paced, Session, SpeechScored

log = structlog.get_logger()

JUDGE_EVERY_S: Final = 0.02
"""Least time between two batches of voice activity: frames that come within it are judged together."""

PACE_EVERY_S: Final = 1.0

Ear = tuple[str, int]
"""A call's id and a channel: whose voice activity is judged."""


class SpeechDetector(Protocol):
    """Judges frames for speech, with a state per ear; called by one thread at a time."""

    def open(self, key: Ear) -> None:
        """Begin with a new ear."""
        ...

    def score(self, frames: Mapping[Ear, Float32Array]) -> dict[Ear, Float32Array]:
        """Return the probability of speech, shape ``(k,)``, for frames of shape ``(k, 256)`` at 8 kHz. Blocks."""
        ...

    def close(self, key: Ear) -> None:
        """Forget an ear."""
        ...


class Decoder(Protocol):
    """The devices."""

    async def decode(self, job: DecodeJob) -> Hypothesis:
        """Decode a window.

        Raises:
            Exception: If there will be no hypothesis: the job was superseded or its devices failed.
        """
        ...

    def expected_wait_s(self) -> float:
        """Seconds a final handed over now would wait."""
        ...


class Observer(Protocol):
    """Hears what the shard did, for metrics."""

    def record_written(self, record: Record) -> None:
        """A record was handed to the log."""
        ...

    def decode_failed(self, kind: Kind, error: Exception) -> None:
        """A window was not decoded."""
        ...

    def pace_changed(self, pace: Pace) -> None:
        """Partials come slower or faster from here on."""
        ...


@dataclass(slots=True)
class _Call:
    session: Session
    slot: int
    tenant: str


class Shard:
    """Runs the calls of the slots it owns.

    Args:
        log: Where audio comes from and text goes.
        detector: Voice activity.
        decoder: The devices.
        settings: Tuning of every channel.
        observer: Hears what was done.
        epoch: Of this owner.
        owner: Name of this owner.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        log: Log,
        detector: SpeechDetector,
        decoder: Decoder,
        *,
        settings: ChannelSettings,
        observer: Observer,
        epoch: int = 0,
        owner: str = "standalone",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._detector = detector
        self._decoder = decoder
        self._settings = settings
        self._observer = observer
        self._epoch = epoch
        self._owner = owner
        self._clock = clock
        self._calls: dict[str, _Call] = {}
        self._unjudged: dict[Ear, list[Float32Array]] = {}
        self._unjudged_wake = asyncio.Event()
        # ears to begin with and to forget, in order, once no batch is being judged: a call's id may be used again
        self._ear_changes: list[tuple[Callable[[Ear], None], Ear]] = []
        self._outbox: asyncio.Queue[tuple[Topic, int, str, Record]] = asyncio.Queue()
        self._keeper = PaceKeeper(settings.windows.cadence_s)
        self._jobs = 0
        self._tasks: asyncio.TaskGroup | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="voice-activity")

    @property
    def calls(self) -> int:
        """Calls in progress."""
        return len(self._calls)

    async def run(self, slots: Iterable[int], started: asyncio.Event) -> None:
        """Own these slots until cancelled.

        Args:
            slots: To own.
            started: Set once the slots are fenced and tailed.
        """
        owned = list(slots)
        reader = self._log.reader(Topic.AUDIO)
        positions = {slot: await self._log.end_offset(Topic.AUDIO, slot) for slot in owned}
        for slot in owned:
            await (await self._log.append(Topic.OUT, slot, "", encode(Fence(self._epoch, self._owner))))
        reader.assign(positions)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(self._write(), name="shard-writer")
                tasks.create_task(self._judge(), name="shard-voice-activity")
                tasks.create_task(self._keep_pace(), name="shard-pace")
                started.set()
                while True:
                    for entry in await reader.next():
                        self._take(entry)
        finally:
            await reader.close()
            self._thread.shutdown(wait=False)

    # --- from the log ----------------------------------------------------------------------------------------------

    def _take(self, entry: Entry) -> None:
        try:
            record = decode(entry.value)
        except BadRecord as problem:
            log.warning("record.unreadable", slot=entry.slot, offset=entry.offset, problem=str(problem))
            return
        match record:
            case CallOpened(spec):
                if spec.call in self._calls:
                    log.warning("call.opened_twice", call=spec.call)
                    return
                session = Session(spec, self._settings, self._epoch)
                self._calls[spec.call] = _Call(session, entry.slot, spec.tenant)
                opened = [(self._detector.open, (spec.call, channel)) for channel in range(spec.sides)]
                self._ear_changes += opened
                pace = self._keeper.pace
                self._tell(spec.call, Paced(pace.cadence_s, pace.speculate))
            case AudioChunk() | FinalizeRequested() | DtmfReceived() | CallEnded():
                self._tell(record.call, record)
            case _:
                log.warning("record.out_of_place", slot=entry.slot, kind=type(record).__name__)

    def _tell(self, call_id: str, event: Event) -> None:
        call = self._calls.get(call_id)
        if call is None:
            return  # the call is over; what is late for it has nobody to go to
        try:
            effects = call.session.handle(event, now=self._clock())
        except TrunklineError as problem:
            log.warning("call.event_refused", call=call_id, problem=str(problem))
            return
        for effect in effects:
            self._carry_out(call_id, call, effect)

    def _carry_out(self, call_id: str, call: _Call, effect: Effect) -> None:
        match effect:
            case ScoreSpeech(channel, frames):
                self._unjudged.setdefault((call_id, channel), []).append(frames)
                self._unjudged_wake.set()
            case Decode():
                self._spawn(self._decode(call_id, call, effect), f"decode-{effect.window.kind}")
            case Publish(record):
                topic = Topic.PARTIALS if isinstance(record, Partial) else Topic.OUT
                self._outbox.put_nowait((topic, call.slot, call_id, record))
                if isinstance(record, CallClosed):
                    self._forget(call_id, call)

    def _forget(self, call_id: str, call: _Call) -> None:
        del self._calls[call_id]
        for channel in range(call.session.spec.sides):
            self._unjudged.pop((call_id, channel), None)
            self._ear_changes.append((self._detector.close, (call_id, channel)))
        self._unjudged_wake.set()

    # --- to the devices and the log --------------------------------------------------------------------------------

    async def _decode(self, call_id: str, call: _Call, effect: Decode) -> None:
        self._jobs += 1
        job = DecodeJob(
            job=self._jobs,
            call=call_id,
            channel=effect.channel,
            tenant=call.tenant,
            window=effect.window,
            submitted_at=self._clock(),
            deadline=effect.deadline,
        )
        try:
            hypothesis = await self._decoder.decode(job)
        except Exception as problem:  # noqa: BLE001  whatever a device died of, the session decides what follows
            self._observer.decode_failed(effect.window.kind, problem)
            answer: Event = DecodeFailed(effect.channel, effect.request)
        else:
            answer = Decoded(effect.channel, effect.request, hypothesis)
        if self._calls.get(call_id) is call:  # and not a later call of the same id, which counts its requests anew
            self._tell(call_id, answer)

    async def _judge(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._unjudged_wake.wait()
            self._unjudged_wake.clear()
            self._change_ears()
            batch, self._unjudged = self._unjudged, {}
            if not batch:
                continue
            frames = {ear: np.concatenate(parts) for ear, parts in batch.items()}
            scores = await loop.run_in_executor(self._thread, self._detector.score, frames)
            for (call_id, channel), probabilities in scores.items():
                self._tell(call_id, SpeechScored(channel, probabilities))
            await asyncio.sleep(JUDGE_EVERY_S)

    def _change_ears(self) -> None:
        for change, ear in self._ear_changes:
            change(ear)
        self._ear_changes.clear()

    async def _write(self) -> None:
        while True:
            topic, slot, key, record = await self._outbox.get()
            await self._log.append(topic, slot, key, encode(record))
            self._observer.record_written(record)

    async def _keep_pace(self) -> None:
        while True:
            await asyncio.sleep(PACE_EVERY_S)
            pace = self._keeper.tick(self._decoder.expected_wait_s())
            if pace is None:
                continue
            self._observer.pace_changed(pace)
            for call_id in list(self._calls):
                self._tell(call_id, Paced(pace.cadence_s, pace.speculate))

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        if self._tasks is None:
            raise RuntimeError("a shard that does not run has nobody to decode for")
        with contextlib.suppress(RuntimeError):  # the group is shutting down
            self._tasks.create_task(work, name=name)
