"""The shard: owns slots, runs one session per call, feeds devices, writes text. Its decisions are the sessions'.

A shard tails the audio of its slots. Whatever a session asks for is carried out here: frames are judged for speech in
batches over all channels, windows go to the devices, records go to the log through one writer, which keeps their order.
Whatever goes wrong with one call ends that call, and says so in the log; the others do not notice.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from scaler.ears import Ear, Ears, SpeechDetector
from scaler.pace import PaceKeeper
from streaming.call import LOST_S, CallSpec
from streaming.channel import ChannelSettings
from streaming.decoding import DecodeJob, Float32Array, Hypothesis, Kind
from streaming.effects import Decode, Effect, Publish, ScoreSpeech
from streaming.errors import BadRecord, TrunklineError
from streaming.ladder import Ladder, Rung
from streaming.log import Entry, Log, Topic
from streaming.record_codec import decode, encode
from streaming.records import (
    INTERNAL,
    AudioChunk,
    CallClosed,
    CallEnded,
    CallKept,
    CallOpened,
    CallResumed,
    CallStarted,
    DtmfReceived,
    Fence,
    FinalizeRequested,
    OutRecord,
    Partial,
    PauseChanged,
    Record,
)
from streaming.session import Decoded, DecodeFailed, Event, Paced, Served, Session, SpeechScored, State

log = structlog.get_logger()

TEND_EVERY_S: Final = 1.0
"""Seconds between looks at the devices' load and at calls that fell silent."""

RETRY_AFTER_S: Final = (0.25, 1.0, 2.0)
"""Seconds before a session hears that a final failed, by how many of the channel failed in a row: it tries again, and a
device that fails everything for a moment must not use up all its tries within that moment."""

IDLE_S: Final = 3600.0
"""Seconds without a record after which a call is ended."""

LOAD: Final = "load"
"""Why another model writes, as callers are told."""

SHOWN_FRAMES: Final = 4
"""Innermost places of a fault that are logged."""


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

    def backlog_s(self) -> float:
        """Seconds until all that was handed over is done, partials included."""
        ...

    def set_rung(self, rung: Rung) -> None:
        """Put the models of a rung in force."""
        ...


class Observer(Protocol):
    """Hears what the shard did, for metrics."""

    def record_written(self, record: Record) -> None:
        """A record was handed to the log."""
        ...

    def decode_failed(self, kind: Kind, error: Exception) -> None:
        """A window was not decoded."""
        ...

    def rung_changed(self, rung: Rung) -> None:
        """Another rung of the ladder is in force from here on."""
        ...


@dataclass(slots=True)
class _Call:
    session: Session
    slot: int
    heard_at: float
    """Monotonic seconds of the last record of it, other than ``CallKept``."""
    kept_at: float
    """Monotonic seconds of the last record of any kind."""
    failed: Counter[int] = field(default_factory=Counter[int])
    """Finals of each channel that failed in a row."""


class Shard:
    """Runs the calls of the slots it owns.

    Args:
        log: Where audio comes from and text goes.
        detector: Voice activity.
        decoder: The devices.
        settings: Tuning of every channel.
        ladder: Of quality; the devices hold the models of all rungs.
        observer: Hears what was done.
        idle_s: Seconds without a record after which a call is ended: whoever wrote its audio must be gone.
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
        ladder: Ladder,
        observer: Observer,
        idle_s: float = IDLE_S,
        epoch: int = 0,
        owner: str = "standalone",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._decoder = decoder
        self._settings = settings
        self._observer = observer
        self._idle_s = idle_s
        self._epoch = epoch
        self._owner = owner
        self._clock = clock
        self._calls: dict[str, _Call] = {}
        self._ears = Ears(detector, self._judged, self._deaf)
        self._outbox: asyncio.Queue[tuple[Topic, int, str, bytes, Record]] = asyncio.Queue()
        self._keeper = PaceKeeper(ladder)
        self._jobs = 0
        self._tasks: asyncio.TaskGroup | None = None

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
                tasks.create_task(self._ears.run(), name="shard-voice-activity")
                tasks.create_task(self._tend(), name="shard-tend")
                started.set()
                while True:
                    for entry in await reader.next():
                        self._take(entry)
        finally:
            await reader.close()

    # --- from the log ----------------------------------------------------------------------------------------------

    def _take(self, entry: Entry) -> None:
        try:
            record = decode(entry.value)
        except BadRecord as problem:
            log.warning("record.unreadable", slot=entry.slot, offset=entry.offset, problem=str(problem))
            return
        match record:
            case CallOpened(spec):
                self._open(spec, entry.slot)
            case AudioChunk() | CallResumed() | PauseChanged() | FinalizeRequested() | DtmfReceived() | CallEnded():
                call = self._calls.get(record.call)
                if call is not None:
                    call.heard_at = call.kept_at = self._clock()
                self._tell(record.call, record)
            case CallKept(call_id):
                call = self._calls.get(call_id)
                if call is not None:
                    call.kept_at = self._clock()
            case _:
                log.warning("record.out_of_place", slot=entry.slot, kind=type(record).__name__)

    def _open(self, spec: CallSpec, slot: int) -> None:
        if spec.call in self._calls:
            log.warning("call.opened_twice", call=spec.call)
            return
        try:
            session = Session(spec, self._settings, self._epoch)
        except Exception as problem:  # noqa: BLE001  what one caller asked for harms no other
            _log_fault(spec.call, problem)
            self._put(slot, CallClosed(self._epoch, spec.call, INTERNAL, 0.0, 0.0))
            return
        self._calls[spec.call] = _Call(session, slot, self._clock(), self._clock())
        self._put(slot, CallStarted(self._epoch, spec.call, spec.tenant, spec.labels, spec.protocol, spec.opened_at))
        for channel in range(spec.sides):
            self._ears.open((spec.call, channel))
        self._tell(spec.call, Paced(self._keeper.rung))

    def _tell(self, call_id: str, event: Event) -> None:
        call = self._calls.get(call_id)
        if call is None:
            return  # the call is over; what is late for it has nobody to go to
        try:
            for effect in call.session.handle(event, now=self._clock()):
                self._carry_out(call_id, call, effect)
        except TrunklineError as problem:
            log.warning("call.event_refused", call=call_id, problem=str(problem))
        except Exception as problem:  # noqa: BLE001  a fault in one session ends one call
            self._break_off(call_id, call, problem)

    def _carry_out(self, call_id: str, call: _Call, effect: Effect) -> None:
        match effect:
            case ScoreSpeech(channel, frames):
                self._ears.hear((call_id, channel), frames)
            case Decode():
                self._spawn(self._decode(call_id, call, effect), f"decode-{effect.window.kind}")
            case Publish(record):
                self._put(call.slot, record)
                if isinstance(record, CallClosed):
                    self._forget(call_id, call)

    def _break_off(self, call_id: str, call: _Call, problem: Exception) -> None:
        """End a call that cannot go on; what it still owed is lost."""
        _log_fault(call_id, problem)
        if self._calls.get(call_id) is call:
            self._put(call.slot, call.session.give_up(INTERNAL))
            self._forget(call_id, call)

    def _forget(self, call_id: str, call: _Call) -> None:
        del self._calls[call_id]
        for channel in range(call.session.spec.sides):
            self._ears.close((call_id, channel))

    # --- voice activity, devices, the log --------------------------------------------------------------------------

    def _judged(self, ear: Ear, probabilities: Float32Array) -> None:
        call_id, channel = ear
        self._tell(call_id, SpeechScored(channel, probabilities))

    def _deaf(self, ear: Ear, problem: Exception) -> None:
        call = self._calls.get(ear[0])
        if call is not None:
            self._break_off(ear[0], call, problem)

    async def _decode(self, call_id: str, call: _Call, effect: Decode) -> None:
        self._jobs += 1
        job = DecodeJob(
            job=self._jobs,
            call=call_id,
            channel=effect.channel,
            tenant=call.session.spec.tenant,
            window=effect.window,
            submitted_at=self._clock(),
            deadline=effect.deadline,
        )
        kind = effect.window.kind
        try:
            hypothesis = await self._decoder.decode(job)
        except Exception as problem:  # noqa: BLE001  whatever a device died of, the session decides what follows
            self._observer.decode_failed(kind, problem)
            if kind is Kind.FINAL:
                await self._back_off(call, effect.channel)
            answer: Event = DecodeFailed(effect.channel, effect.request)
        else:
            if kind is Kind.FINAL:
                del call.failed[effect.channel]
            answer = Decoded(effect.channel, effect.request, hypothesis)
        if self._calls.get(call_id) is call:  # and not a later call of the same id, which counts its requests anew
            self._tell(call_id, answer)

    async def _back_off(self, call: _Call, channel: int) -> None:
        failed = call.failed[channel]
        call.failed[channel] += 1
        await asyncio.sleep(RETRY_AFTER_S[min(failed, len(RETRY_AFTER_S) - 1)])

    def _put(self, slot: int, record: OutRecord | Partial) -> None:
        assert not isinstance(record, Fence)  # a fence is of a slot, not of a call
        topic = Topic.PARTIALS if isinstance(record, Partial) else Topic.OUT
        self._outbox.put_nowait((topic, slot, record.call, encode(record), record))

    async def _write(self) -> None:
        while True:
            topic, slot, key, value, record = await self._outbox.get()
            await self._log.append(topic, slot, key, value)
            self._observer.record_written(record)

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(TEND_EVERY_S)
            self._choose_rung()
            self._end_idle_calls()

    def _choose_rung(self) -> None:
        before = self._keeper.rung
        rung = self._keeper.tick(self._decoder.expected_wait_s(), self._decoder.backlog_s())
        if rung is None:
            return
        self._decoder.set_rung(rung)
        self._observer.rung_changed(rung)
        for call_id, call in list(self._calls.items()):
            self._tell(call_id, Paced(rung))
            if rung.final_model != before.final_model and call.session.spec.model is None:
                self._tell(call_id, Served(rung.final_model, LOAD))

    def _end_idle_calls(self) -> None:
        now = self._clock()
        for call_id, call in list(self._calls.items()):
            reason = self._why_over(call, now)
            if not reason:
                continue
            call.heard_at = call.kept_at = now
            if call.session.state is State.OPEN:
                log.warning("call.idle", call=call_id, reason=reason)
                self._tell(call_id, CallEnded(call_id, reason, call.session.connection))
            else:
                self._break_off(call_id, call, TimeoutError())

    def _why_over(self, call: _Call, now: float) -> str:
        """Say why nothing more is to be expected of a call; empty if there is."""
        spec = call.session.spec
        if now - call.heard_at >= self._idle_s:
            return "idle"
        return "disconnected" if spec.kept and now - call.kept_at >= spec.resume_s + LOST_S else ""

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        assert self._tasks is not None  # sessions are told nothing before ``run``
        try:
            self._tasks.create_task(work, name=name)
        except RuntimeError:  # the group is shutting down, and nobody waits for the answer
            work.close()


def _log_fault(call_id: str, problem: Exception) -> None:
    """Say what was raised and where, but not its message: it might quote what was said."""
    frames = traceback.extract_tb(problem.__traceback__)[-SHOWN_FRAMES:]
    places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames)]
    log.error("call.failed", call=call_id, error=type(problem).__name__, places=places)
