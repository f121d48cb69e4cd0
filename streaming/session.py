"""One call's life: audio and requests in, windows and records out. Whatever decides the life of a call lives here.

A session reads no clock and does no I/O: its shell tells it the time, carries out its effects, and brings back answers.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from streaming.audio import codes_of, deinterleave, mixed_down
from streaming.call import SAMPLE_RATE, CallSpec
from streaming.channel import Channel, ChannelSettings
from streaming.decoding import Float32Array, Hypothesis
from streaming.effects import Effect, Publish
from streaming.errors import BadAudio, BadMessage, InvalidTransition
from streaming.ladder import Rung
from streaming.media import NEW_CLOCK
from streaming.records import (
    ALL_CHANNELS,
    AudioChunk,
    CallClosed,
    CallEnded,
    CallResumed,
    CallState,
    Dtmf,
    DtmfReceived,
    Finalized,
    FinalizeRequested,
    PauseChanged,
    Paused,
    QualityChanged,
    Resumed,
)
from streaming.reducer import ChannelProgress


@dataclass(frozen=True, slots=True)
class SpeechScored:
    """Answer to ``ScoreSpeech``."""

    channel: int
    probabilities: Float32Array
    """One per frame, 0..1, shape ``(k,)``."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Answer to ``Decode``."""

    channel: int
    request: int
    hypothesis: Hypothesis


@dataclass(frozen=True, slots=True)
class DecodeFailed:
    """Answer to ``Decode`` where there will be no hypothesis."""

    channel: int
    request: int


@dataclass(frozen=True, slots=True)
class Paced:
    """The shard stands on another rung: windows are cut by it from here on."""

    rung: Rung


@dataclass(frozen=True, slots=True)
class Served:
    """Another model or cadence serves the call; the caller is told."""

    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rested:
    """No audio has come for a while: the call is on hold, or its gateway is gone."""


Written = AudioChunk | FinalizeRequested | DtmfReceived | PauseChanged | CallEnded
"""What one connection writes; it counts only as long as no other has taken the call over."""

Event = Written | CallResumed | SpeechScored | Decoded | DecodeFailed | Paced | Rested | Served


class State(StrEnum):
    """Where a call stands."""

    OPEN = "open"
    """Audio may come."""
    ENDING = "ending"
    """No more audio; finals are owed."""
    CLOSED = "closed"
    """Everything is out."""


_ANSWERS: Final = (SpeechScored, Decoded, DecodeFailed, Paced, Rested, Served)

TRANSITIONS: Final[Mapping[State, Mapping[type[Event], State]]] = {
    State.OPEN: {
        AudioChunk: State.OPEN,
        FinalizeRequested: State.OPEN,
        DtmfReceived: State.OPEN,
        PauseChanged: State.OPEN,
        CallResumed: State.OPEN,
        CallEnded: State.ENDING,
        **dict.fromkeys(_ANSWERS, State.OPEN),
    },
    State.ENDING: dict.fromkeys((CallResumed, *_ANSWERS), State.ENDING),
    State.CLOSED: dict.fromkeys((CallResumed, *_ANSWERS), State.CLOSED),
}
"""What each state takes and leads to; a session that is ENDING becomes CLOSED once nothing is owed."""


@dataclass(frozen=True, slots=True)
class _Finalizing:
    """A request that is not answered yet."""

    request: FinalizeRequested
    mark: int
    waiting: set[int]
    """Channels that have not done it."""


class Session:
    """A call.

    Args:
        spec: What the caller chose.
        settings: Tuning of its channels.
        epoch: Of the owner, for its records.
        progress: How far each channel is final already, where a call is resumed.
        heard: What a former owner had heard, where the call is heard from its middle on; no channel farther than it is
            final.
    """

    def __init__(
        self,
        spec: CallSpec,
        settings: ChannelSettings,
        epoch: int = 0,
        progress: Mapping[int, ChannelProgress] | None = None,
        heard: CallState | None = None,
    ) -> None:
        self.spec = spec
        self.state = State.OPEN
        self._epoch = epoch
        self._reason = ""
        self.connection = heard.connection if heard else 0
        """The connection that has the call; what others write does not count."""
        self._nonce = heard.nonce if heard else ""  # of its request
        self._paused = heard.paused if heard else False
        self._next_sequence = heard.next_sequence if heard else 0
        self._next_mark = heard.next_mark if heard else 0
        clocks = heard.clocks if heard else (NEW_CLOCK,) * spec.sides
        requests = itertools.count()
        self._channels = [
            Channel(
                index,
                spec,
                settings=settings,
                progress=(progress or {}).get(index, ChannelProgress()),
                epoch=epoch,
                next_request=requests.__next__,
                clock=clock,
            )
            for index, clock in enumerate(clocks)
        ]
        self._finalizing: dict[str, _Finalizing] = {}  # by a key of ours: callers may use a marker twice
        self._keys = itertools.count()

    @property
    def memory_bytes(self) -> int:
        """Bytes held for audio and features; bounded by the longest utterance, not by the length of the call."""
        return sum(channel.ear.memory_bytes for channel in self._channels)

    @property
    def owes(self) -> bool:
        """Whether the caller waits for an answer that a replay from here would not ask for again."""
        return self.state is not State.OPEN or bool(self._finalizing)

    def heard(self) -> CallState:
        """Return what is needed to hear the call from here on; see ``streaming.records.CallState``."""
        clocks = tuple(channel.ear.clock.state() for channel in self._channels)
        return CallState(
            self.spec, self._next_sequence, clocks, self.connection, self._nonce, self._paused, self._next_mark
        )

    def handle(self, event: Event, *, now: float) -> list[Effect]:
        """Take an event.

        Args:
            event: What happened.
            now: Monotonic seconds.

        Returns:
            What the shell must do, in order.

        Raises:
            InvalidTransition: If the state does not allow the event.
            BadAudio: If a chunk does not hold what the call's format says; the call goes on without it.
            BadMessage: If a request is for a channel the call does not have; the call goes on without it.
        """
        if isinstance(event, Written) and event.connection != self.connection:
            return []  # of a connection that another one has taken the call from
        came_from = self.state
        try:
            self.state = TRANSITIONS[came_from][type(event)]
        except KeyError:
            raise InvalidTransition(came_from.value, type(event).__name__) from None
        effects = self._gathered(self._carry_out(event, now))
        if self.state is State.ENDING and all(channel.idle for channel in self._channels):
            self.state = State.CLOSED
            effects.append(Publish(self._closed()))
        return effects

    def give_up(self, reason: str) -> CallClosed:
        """End the call as it stands, without the finals it owes, and return the record that says so."""
        self.state = State.CLOSED
        self._reason = reason
        return self._closed()

    def _carry_out(self, event: Event, now: float) -> list[Effect]:
        match event:
            case SpeechScored(channel, probabilities):
                return self._channels[channel].judge(probabilities, now)
            case Decoded(channel, request, hypothesis):
                return self._channels[channel].answer(request, hypothesis, now)
            case DecodeFailed(channel, request):
                return self._channels[channel].fail(request, now)
            case Paced() | Rested() | Served():
                return self._heed(event) if self.state is not State.CLOSED else []  # nothing follows CallClosed
            case _:
                return self._read(event, now)

    def _heed(self, event: Paced | Rested | Served) -> list[Effect]:
        match event:
            case Paced(rung):
                for side in self._channels:
                    side.pace(rung)
                return []
            case Rested():
                return [effect for side in self._channels for effect in side.rest()]
            case Served(model, reason):
                return [Publish(QualityChanged(self._epoch, self.spec.call, model, reason))]
            case _:
                assert_never(event)

    def _read(self, record: Written | CallResumed, now: float) -> list[Effect]:
        match record:
            case AudioChunk():
                return self._hear(record, now)
            case FinalizeRequested():
                return self._finalize(record, self._mark(), now)
            case CallResumed(_, nonce):
                return self._resume(nonce)
            case PauseChanged(_, paused):
                return self._pause(self._mark(), paused=paused)
            case DtmfReceived(_, channel, digit):
                return [self._dtmf(channel, digit, self._mark())]
            case CallEnded(_, reason):
                self._reason = reason
                return [effect for side in self._channels for effect in side.end(now)]
            case _:
                assert_never(record)

    def _mark(self) -> int:
        """Number a request, key or pause: the same number again where the record is heard again by a later owner."""
        mark, self._next_mark = self._next_mark, self._next_mark + 1
        return mark

    def _resume(self, nonce: str) -> list[Effect]:
        """Give the call to another connection, and say where its audio goes on."""
        if self.state is not State.OPEN:
            return []  # it hears the end
        if nonce != self._nonce:
            self.connection += 1
            self._nonce = nonce
        heard = tuple(channel.ear.clock.position for channel in self._channels)
        resumed = Resumed(self._epoch, self.spec.call, nonce, self.connection, self._next_sequence, heard, self._paused)
        return [Publish(resumed)]

    def _pause(self, mark: int, *, paused: bool) -> list[Effect]:
        self._paused = paused
        at = max(channel.ear.clock.position for channel in self._channels) / self.spec.audio.rate
        return [Publish(Paused(self._epoch, self.spec.call, paused, at, mark))]

    def _hear(self, chunk: AudioChunk, now: float) -> list[Effect]:
        if chunk.sequence < self._next_sequence:
            return []  # written again, by a retry
        self._next_sequence = chunk.sequence + 1
        codes = codes_of(chunk.payload, self.spec.audio.encoding)
        if chunk.channel != ALL_CHANNELS:
            if chunk.channel >= len(self._channels):
                raise BadAudio(f"audio for channel {chunk.channel}; the call has {len(self._channels)}")
            return self._channels[chunk.channel].hear(codes, chunk.position, now)
        sides = deinterleave(codes, self.spec.audio.channels)
        if self.spec.mixed:
            mixed = mixed_down(sides, self.spec.audio.encoding)
            return self._channels[0].hear(mixed, chunk.position, now)
        heard = zip(self._channels, sides, strict=True)
        return [effect for channel, side in heard for effect in channel.hear(side, chunk.position, now)]

    def _finalize(self, request: FinalizeRequested, mark: int, now: float) -> list[Effect]:
        channels = range(len(self._channels))
        if request.channel is not None and request.channel not in channels:
            problem = f"finalize for channel {request.channel}; the call has {len(channels)}"
            raise BadMessage("unknown_channel", problem)
        asked = channels if request.channel is None else [request.channel]
        key = str(next(self._keys))
        self._finalizing[key] = _Finalizing(request, mark, set(asked))
        return [effect for channel in asked for effect in self._channels[channel].finalize(key, now)]

    def _dtmf(self, channel: int, digit: str, mark: int) -> Effect:
        if channel not in range(len(self._channels)):
            raise BadMessage("unknown_channel", f"DTMF on channel {channel}; the call has {len(self._channels)}")
        at = self._channels[channel].ear.clock.position / self.spec.audio.rate
        return Publish(Dtmf(self._epoch, self.spec.call, channel, digit, at, mark))

    def _gathered(self, effects: list[Effect]) -> list[Effect]:
        """Answer each request once, when all channels it was for have done it."""
        kept: list[Effect] = []
        for effect in effects:
            match effect:
                case Publish(Finalized(channel=int(channel), marker=key)):
                    finalizing = self._finalizing[key]
                    finalizing.waiting.remove(channel)
                    if not finalizing.waiting:
                        del self._finalizing[key]
                        request, mark = finalizing.request, finalizing.mark
                        done = Finalized(self._epoch, self.spec.call, request.channel, request.marker, mark)
                        kept.append(Publish(done))
                case _:
                    kept.append(effect)
        return kept

    def _closed(self) -> CallClosed:
        ears = [channel.ear for channel in self._channels]
        audio_s = max(ear.samples for ear in ears) / SAMPLE_RATE
        padded_s = sum(ear.clock.padded for ear in ears) / self.spec.audio.rate
        return CallClosed(self._epoch, self.spec.call, self._reason, audio_s, padded_s)
