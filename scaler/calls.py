"""The calls of a shard: one session each, ears for their channels, windows for the devices.

Decisions are the sessions'. Whatever a session asks for is carried out here: frames are judged for speech in batches
over all channels, windows go to the devices, records go to the slot the call lives in. Whatever goes wrong with one
call ends that call, and says so in the log; the others do not notice.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from scaler.ears import Ear, Ears, SpeechDetector
from scaler.governor import Governor
from streaming.call import LOST_S, CallSpec
from streaming.channel import ChannelSettings
from streaming.decoding import DecodeJob, Float32Array, Hypothesis, Kind
from streaming.effects import Decode, Effect, Publish, ScoreSpeech
from streaming.errors import TrunklineError
from streaming.ladder import Rung
from streaming.records import (
    INTERNAL,
    AudioChunk,
    CallClosed,
    CallEnded,
    CallKept,
    CallResumed,
    CallStarted,
    CallState,
    DtmfReceived,
    Fence,
    FinalizeRequested,
    OutRecord,
    Partial,
    PauseChanged,
    Record,
)
from streaming.records import (
    Final as FinalRecord,
)
from streaming.reducer import ChannelProgress
from streaming.session import Decoded, DecodeFailed, Event, Paced, Rested, Served, Session, SpeechScored, State

log = structlog.get_logger()

TEND_EVERY_S: Final = 1.0
"""Seconds between looks at the devices' load and at calls that fell silent."""

RETRY_AFTER_S: Final = (0.25, 1.0, 2.0)
"""Seconds before a session hears that a final failed, by how many of the channel failed in a row: it tries again, and a
device that fails everything for a moment must not use up all its tries within that moment."""

REST_S: Final = 5.0
"""Seconds without a record after which a call is taken to be on hold."""

IDLE_S: Final = 3600.0
"""Seconds without a record after which a call is ended."""

LOAD: Final = "load"
MODEL_GONE: Final = "model_gone"
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


class Observer(Protocol):
    """Hears what the shard did, for metrics."""

    def record_written(self, record: Record) -> None:
        """A record was handed to the log."""
        ...

    def decode_failed(self, kind: Kind, error: Exception) -> None:
        """A window was not decoded."""
        ...

    def rung_changed(self, rung: Rung, *, down: bool) -> None:
        """Another rung of the ladder is in force from here on."""
        ...

    def slot_claimed(self, reason: str) -> None:
        """A slot was claimed for this shard, for a reason of ``streaming.records.Claim``."""
        ...

    def slot_served(self, took_s: float) -> None:
        """A slot is served, so many seconds after its claim was read."""
        ...


Heard = AudioChunk | CallResumed | CallKept | PauseChanged | FinalizeRequested | DtmfReceived | CallEnded
"""What the log says of a call once it is open."""

CallRecord = OutRecord | Partial
"""What is written of a call."""


class Slot(Protocol):
    """Whose calls they are: what is published for one goes there."""

    @property
    def epoch(self) -> int:
        """Of the ownership."""
        ...

    def progress(self, call: str, channel: int) -> ChannelProgress:
        """Return how far a channel is final."""
        ...

    def publish(self, record: CallRecord) -> None:
        """Write a record, if the slot is still owned."""
        ...


@dataclass(slots=True)
class _Call:
    session: Session
    slot: Slot
    joined_at: float
    """Monotonic seconds."""
    heard_at: float
    """Monotonic seconds of the last record of it, other than ``CallKept``."""
    kept_at: float
    """Monotonic seconds of the last record of any kind."""
    rested: bool = False
    """Whether its session knows that no audio comes."""
    failed: Counter[int] = field(default_factory=Counter[int])
    """Finals of each channel that failed in a row."""


class Calls:
    """Runs sessions.

    Args:
        detector: Voice activity.
        decoder: The devices.
        settings: Tuning of every channel.
        governor: Decides about load.
        observer: Hears what was done.
        idle_s: Seconds without a record after which a call is ended: whoever wrote its audio must be gone.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        detector: SpeechDetector,
        decoder: Decoder,
        *,
        settings: ChannelSettings,
        governor: Governor,
        observer: Observer,
        idle_s: float = IDLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._decoder = decoder
        self._settings = settings
        self._observer = observer
        self._idle_s = idle_s
        self._clock = clock
        self._calls: dict[str, _Call] = {}
        self._ears = Ears(detector, self._judged, self._deaf)
        self._governor = governor
        self._jobs = 0
        self._tasks: asyncio.TaskGroup | None = None

    def __len__(self) -> int:
        return len(self._calls)

    async def run(self) -> None:
        """Judge, decode and tend until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._ears.run(), name="shard-voice-activity")
            tasks.create_task(self._tend(), name="shard-tend")

    # --- from the slots --------------------------------------------------------------------------------------------

    def open(self, spec: CallSpec, slot: Slot, heard: CallState | None = None) -> None:
        """Begin with a call, or go on with it.

        Args:
            spec: The call.
            slot: Where it lives.
            heard: What its former owner had heard, if not all is to be heard again.
        """
        if spec.call in self._calls:
            log.warning("call.opened_twice", call=spec.call)
            return
        try:
            progress = {channel: slot.progress(spec.call, channel) for channel in range(spec.sides)}
            session = Session(spec, self._settings, slot.epoch, progress, heard)
        except Exception as problem:  # noqa: BLE001  what one caller asked for harms no other
            _log_fault(spec.call, problem)
            slot.publish(CallClosed(slot.epoch, spec.call, INTERNAL, 0.0, 0.0))
            return
        now = self._clock()
        self._calls[spec.call] = _Call(session, slot, now, now, now)
        slot.publish(CallStarted(slot.epoch, spec.call, spec.tenant, spec.labels, spec.protocol, spec.opened_at))
        for channel in range(spec.sides):
            self._ears.open((spec.call, channel))
        self._tell(spec.call, Paced(self._governor.rung))
        if spec.model is not None and not self._insists(spec):
            log.warning("call.model_gone", call=spec.call, model=spec.model)
            self._tell(spec.call, Served(self._governor.rung.final_model, MODEL_GONE))

    def hear(self, record: Heard) -> None:
        """Take what the log says of a call; of one that is not open, nothing."""
        call = self._calls.get(record.call)
        if call is None:
            return
        call.kept_at = self._clock()
        if not isinstance(record, CallKept):
            call.heard_at = call.kept_at
            call.rested = False
            self._tell(record.call, record)

    def by_slot(self) -> dict[Slot, list[Session]]:
        """Return the sessions of every slot that has some."""
        sessions: defaultdict[Slot, list[Session]] = defaultdict(list)
        for call in self._calls.values():
            sessions[call.slot].append(call.session)
        return sessions

    def close(self, slot: Slot) -> None:
        """Forget the calls of a slot: they are somebody else's now."""
        for call_id, call in list(self._calls.items()):
            if call.slot is slot:
                self._forget(call_id, call)

    # --- sessions --------------------------------------------------------------------------------------------------

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
                assert not isinstance(record, Fence)  # a fence is of a slot, not of a call
                call.slot.publish(record)
                if isinstance(record, FinalRecord):
                    self._governor.final(record.latency_s, self._clock())
                if isinstance(record, CallClosed):
                    self._forget(call_id, call)

    def _break_off(self, call_id: str, call: _Call, problem: Exception) -> None:
        """End a call that cannot go on; what it still owed is lost."""
        _log_fault(call_id, problem)
        if self._calls.get(call_id) is call:
            call.slot.publish(call.session.give_up(INTERNAL))
            self._forget(call_id, call)

    def _forget(self, call_id: str, call: _Call) -> None:
        del self._calls[call_id]
        for channel in range(call.session.spec.sides):
            self._ears.close((call_id, channel))

    # --- voice activity and devices -------------------------------------------------------------------------------

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
            window=effect.window if self._insists(call.session.spec) else replace(effect.window, model=None),
            submitted_at=self._clock(),
            deadline=effect.deadline,
        )
        kind = effect.window.kind
        self._governor.asked(kind, effect.window.seconds, job.submitted_at, lead_s=effect.lead_s)
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

    def _insists(self, spec: CallSpec) -> bool:
        """Tell whether a call chose its model and has it: the shard that takes it over may be of another version."""
        return spec.model in self._governor.models

    async def _back_off(self, call: _Call, channel: int) -> None:
        failed = call.failed[channel]
        call.failed[channel] += 1
        await asyncio.sleep(RETRY_AFTER_S[min(failed, len(RETRY_AFTER_S) - 1)])

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(TEND_EVERY_S)
            self._choose_rung()
            self._end_idle_calls()

    def _choose_rung(self) -> None:
        before = self._governor.rung
        step = self._governor.tick([call.joined_at for call in self._calls.values()], self._clock())
        if step is None:
            return
        rung = self._governor.rung
        self._observer.rung_changed(rung, down=step.is_down)
        for call_id, call in list(self._calls.items()):
            self._tell(call_id, Paced(rung))
            if rung.final_model != before.final_model and not self._insists(call.session.spec):
                self._tell(call_id, Served(rung.final_model, LOAD))

    def _end_idle_calls(self) -> None:
        now = self._clock()
        for call_id, call in list(self._calls.items()):
            if now - call.heard_at >= REST_S and not call.rested:
                call.rested = True
                self._tell(call_id, Rested())
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
