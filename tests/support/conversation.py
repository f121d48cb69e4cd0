"""Drives a session on a virtual clock: feeds it the audio of scenes, and answers what it asks, at once or otherwise.

Whatever the session writes goes through the reducer at once; a record that does not count fails the test.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final as Constant
from typing import TypeVar

import numpy as np

from streaming.call import SAMPLE_RATE, AudioFormat, CallSpec
from streaming.channel import ChannelSettings
from streaming.decoding import Hypothesis, Kind, Window
from streaming.ear import START_GRID_S
from streaming.effects import Decode, Effect, Publish, ScoreSpeech
from streaming.endpoint import FRAME_SAMPLES, EndpointSettings
from streaming.records import (
    ALL_CHANNELS,
    UNTIMED,
    AudioChunk,
    CallEnded,
    CallState,
    Fence,
    Final,
    FinalizeRequested,
    OutRecord,
    Partial,
)
from streaming.reducer import Reducer
from streaming.session import Decoded, DecodeFailed, Event, Session, SpeechScored, State
from streaming.utterance import WindowSettings
from tests.support.scene import N_MELS, Scene

R = TypeVar("R", bound="OutRecord | Partial")

EPOCH: Constant = 3
CALL: Constant = "call-1"


class Outcome(Enum):
    """What becomes of a window."""

    ANSWERED = auto()
    FAILED = auto()
    LOST = auto()
    """Nothing ever comes back; only partials may be lost."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a window, and when."""

    outcome: Outcome = Outcome.ANSWERED
    delay_s: float = 0.0


AT_ONCE: Constant = Fate()


@dataclass(frozen=True, slots=True)
class Written:
    """A record and when it was written."""

    at: float
    record: OutRecord | Partial


@dataclass(order=True)
class _Due:
    at: float
    order: int
    event: Event = field(compare=False)


def settings_for_tests() -> ChannelSettings:
    """For features of few bands, and with times that tests count on, whatever the defaults are tuned to."""
    return ChannelSettings(
        endpoint=EndpointSettings(hesitation_ms=128, endpoint_ms=384, unfinished_ms=384),
        windows=WindowSettings(first_partial_s=0.4),
        n_mels=N_MELS,
    )


def spec_for(scenes: Sequence[Scene]) -> CallSpec:
    """A call with these sides."""
    audio = AudioFormat(scenes[0].encoding, scenes[0].rate, len(scenes))
    return CallSpec(CALL, "tenant", audio, tuple(f"side-{n}" for n in range(len(scenes))))


class Conversation:
    """A call in progress.

    Args:
        scenes: Its sides.
        settings: Tuning.
        spec: What the caller chose.
        fate: What becomes of a window.
        score_delay_s: Seconds voice activity takes.
        reducer: Of the owner before this one, where the call is resumed.
        hear: What a model hears, by side and window.
        heard: What the owner before this one had heard, where not all is heard again.
    """

    def __init__(
        self,
        *scenes: Scene,
        settings: ChannelSettings | None = None,
        spec: CallSpec | None = None,
        fate: Callable[[Decode], Fate] = lambda _: AT_ONCE,
        score_delay_s: float = 0.0,
        reducer: Reducer | None = None,
        hear: Callable[[int, Window], Hypothesis] | None = None,
        heard: CallState | None = None,
    ) -> None:
        self.scenes = scenes
        self.spec = spec or spec_for(scenes)
        done = {side: reducer.progress(CALL, side) for side in range(self.spec.sides)} if reducer else None
        self.session = Session(self.spec, settings or settings_for_tests(), EPOCH, done, heard)
        self.now = 0.0
        self.fate: Callable[[Decode], Fate] = fate
        self.score_delay_s = score_delay_s
        self.written: list[Written] = []
        self.windows: list[Decode] = []
        """Every window asked for."""
        self.reducer = reducer or Reducer()
        self.reducer.accept(Fence(EPOCH, "test"))
        self._hear = hear or self._scripted
        self._due: list[_Due] = []
        self._order = itertools.count()
        positions = [clock.position for clock in heard.clocks] if heard else [0] * len(scenes)
        grid = round(START_GRID_S * self.scenes[0].rate)
        self._scored = [at // grid * grid * SAMPLE_RATE // (scenes[0].rate * FRAME_SAMPLES) for at in positions]
        self._sequence = heard.next_sequence if heard else 0
        self._fed = positions

    # --- what happens ----------------------------------------------------------------------------------------------

    def listen(self, until_s: float | None = None, chunks_s: Sequence[float] = (0.02,)) -> Conversation:
        """Feed the audio of all sides up to a moment, or to the end, in chunks that arrive as they end."""
        end = max(scene.seconds for scene in self.scenes) if until_s is None else until_s
        sizes = itertools.cycle(chunks_s)
        at = self._fed[0] / self.scenes[0].rate
        while at < end - 1e-9:
            at = min(end, at + next(sizes))
            self.wait_until(max(self.now, at))
            for channel, scene in enumerate(self.scenes):
                stop = min(round(at * scene.rate), round(scene.seconds * scene.rate))
                width = scene.encoding.sample_bytes
                self.chunk(channel, scene.payload[self._fed[channel] * width : stop * width])
                self._fed[channel] = stop
        return self

    def chunk(self, channel: int, payload: bytes, position: int = UNTIMED) -> None:
        """Feed one chunk."""
        self.tell(AudioChunk(CALL, self._sequence, channel, position, payload))
        self._sequence += 1

    def interleaved(self, payload: bytes, position: int = UNTIMED) -> None:
        """Feed one chunk of all channels."""
        self.chunk(ALL_CHANNELS, payload, position)

    def finalize(self, channel: int | None = None, marker: str = "m") -> None:
        """Ask for finals."""
        self.tell(FinalizeRequested(CALL, channel, marker))

    def hang_up(self, *, drain: bool = True) -> Conversation:
        """End the call, and wait for everything that is owed."""
        self.tell(CallEnded(CALL, "hangup"))
        if drain:
            self.drain()
            assert self.session.state is State.CLOSED
        return self

    def drain(self) -> None:
        """Let all answers come."""
        while self._due:
            self.wait_until(self._due[0].at)

    def wait_until(self, moment: float) -> None:
        """Let time pass; answers that are due come in."""
        while self._due and self._due[0].at <= moment:
            due = heapq.heappop(self._due)
            self.now = max(self.now, due.at)
            self._carry_out(self.session.handle(due.event, now=self.now))
        self.now = moment

    def tell(self, event: Event) -> None:
        """Give the session an event now, and whatever answers are due at once."""
        self._carry_out(self.session.handle(event, now=self.now))
        self.wait_until(self.now)

    # --- what came of it -------------------------------------------------------------------------------------------

    @property
    def records(self) -> list[OutRecord | Partial]:
        """Everything written, in order."""
        return [written.record for written in self.written]

    def of_kind(self, kind: type[R], channel: int | None = None) -> list[R]:
        """Records of one kind, in order, of one side or of all."""
        found = [record for record in self.records if isinstance(record, kind)]
        return [record for record in found if channel is None or getattr(record, "channel", None) == channel]

    def windows_of(self, kind: Kind, channel: int = 0) -> list[Window]:
        """Windows of one kind that were asked for on a side."""
        return [asked.window for asked in self.windows if asked.channel == channel and asked.window.kind is kind]

    def finals(self, channel: int = 0) -> list[Final]:
        """Finals of a side."""
        return self.of_kind(Final, channel)

    def partials(self, channel: int = 0) -> list[Partial]:
        """Partials of a side."""
        return self.of_kind(Partial, channel)

    def text(self, channel: int = 0) -> list[str]:
        """The words of a side's finals."""
        return [word.text for final in self.finals(channel) for word in final.words]

    def moments(self, kind: type[OutRecord | Partial]) -> list[float]:
        """When records of a kind were written."""
        return [written.at for written in self.written if isinstance(written.record, kind)]

    # --- inside ----------------------------------------------------------------------------------------------------

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Publish(record):
                    accepted = (
                        self.reducer.accept_partial(record)
                        if isinstance(record, Partial)
                        else self.reducer.accept(record)
                    )
                    assert accepted, f"a reader would drop this {type(record).__name__}"
                    self.written.append(Written(self.now, record))
                case ScoreSpeech(channel, frames):
                    first, self._scored[channel] = self._scored[channel], self._scored[channel] + len(frames)
                    scores = [self.scenes[channel].probability(first + index) for index in range(len(frames))]
                    self._later(self.score_delay_s, SpeechScored(channel, np.array(scores, np.float32)))
                case Decode():
                    self.windows.append(effect)
                    self._decode(effect)

    def _decode(self, effect: Decode) -> None:
        fate = self.fate(effect)
        match fate.outcome:
            case Outcome.ANSWERED:
                hypothesis = self._hear(effect.channel, effect.window)
                self._later(fate.delay_s, Decoded(effect.channel, effect.request, hypothesis))
            case Outcome.FAILED:
                self._later(fate.delay_s, DecodeFailed(effect.channel, effect.request))
            case Outcome.LOST:
                assert effect.window.kind is Kind.PARTIAL, "finals are never lost: their failure is reported"

    def _scripted(self, channel: int, window: Window) -> Hypothesis:
        return self.scenes[channel].hear(window)

    def _later(self, delay_s: float, event: Event) -> None:
        heapq.heappush(self._due, _Due(self.now + delay_s, next(self._order), event))
