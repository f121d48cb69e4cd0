"""A call replayed through the core on a virtual clock: what the live path would write, and when.

For tuning endpointing and windows: no sockets and no processes. A decode takes the processor time that it took when it
was measured, on streams that take one window at a time, finals first, so latencies need no quiet machine.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final as Constant
from typing import Protocol

from scaler.ears import SpeechDetector
from streaming.call import CallSpec
from streaming.channel import ChannelSettings
from streaming.decoding import Hypothesis, Kind, Window
from streaming.effects import Decode, Effect, Publish, ScoreSpeech
from streaming.records import ALL_CHANNELS, UNTIMED, AudioChunk, CallEnded, Final, OutRecord, Partial
from streaming.session import Decoded, DecodeFailed, Event, Session, SpeechScored

CHUNK_S: Constant = 0.04
"""Audio of one record: what the gateway gathers by default."""


class Decoder(Protocol):
    """An engine whose cost is known."""

    def __call__(self, window: Window) -> tuple[Hypothesis, float]:
        """Return what it hears in a window, and the seconds that takes."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """One window and when things happened to it, in seconds of the virtual clock."""

    kind: Kind
    seconds: float
    """Of audio."""
    asked: float
    began: float
    done: float
    retried: bool


@dataclass(slots=True)
class Replay:
    """What a replayed call wrote, and what it cost."""

    written: list[tuple[float, OutRecord | Partial]] = field(default_factory=list[tuple[float, OutRecord | Partial]])
    """Every record and when it was written."""
    jobs: list[Job] = field(default_factory=list[Job])

    def text(self, channel: int) -> str:
        """The transcript of one side."""
        finals = (record for _, record in self.written if isinstance(record, Final) and record.channel == channel)
        return " ".join(word.text for final in finals for word in final.words)


class _Streams:
    """The streams of a device, one window each; finals go first, a channel's newest partial replaces its older one."""

    def __init__(self, count: int, decoder: Decoder) -> None:
        self._free = count
        self._decoder = decoder
        self._waiting: list[tuple[bool, int, float, Decode]] = []
        self._order = itertools.count()

    def add(self, effect: Decode, now: float) -> list[Event]:
        """Put a window in line; return the failures of partials that it replaces."""
        replaced = [entry for entry in self._waiting if entry[0] and entry[3].channel == effect.channel]
        for entry in replaced:
            self._waiting.remove(entry)
        self._waiting.append((effect.window.kind is Kind.PARTIAL, next(self._order), now, effect))
        heapq.heapify(self._waiting)
        return [DecodeFailed(effect.channel, old.request) for *_, old in replaced]

    def begin(self, now: float) -> Iterator[tuple[Job, Decoded]]:
        """Give waiting windows to free streams."""
        while self._free and self._waiting:
            self._free -= 1
            _, _, asked, effect = heapq.heappop(self._waiting)
            hypothesis, seconds = self._decoder(effect.window)
            window = effect.window
            job = Job(window.kind, window.seconds, asked, now, now + seconds, hypothesis.retried)
            yield job, Decoded(effect.channel, effect.request, hypothesis)

    def finish(self) -> None:
        """Take a stream back."""
        self._free += 1


def replay(
    spec: CallSpec,
    payload: bytes,
    detector: SpeechDetector,
    decoder: Decoder,
    settings: ChannelSettings,
    *,
    streams: int = 2,
) -> Replay:
    """Replay one call.

    Args:
        spec: Of the call.
        payload: All its audio, channels interleaved, in the call's codec.
        detector: Voice activity.
        decoder: Decodes each window alone.
        settings: To be judged.
        streams: Windows decoded at a time.
    """
    session = Session(spec, settings)
    done = Replay()
    device = _Streams(streams, decoder)
    order = itertools.count()
    timeline: list[tuple[float, int, Event]] = [
        (moment, next(order), event) for moment, event in _arrivals(spec, payload)
    ]
    for channel in range(spec.sides):
        detector.open((spec.call, channel))

    def later(moment: float, event: Event) -> None:
        heapq.heappush(timeline, (moment, next(order), event))

    def carry_out(effect: Effect, now: float) -> None:
        match effect:
            case ScoreSpeech(channel, frames):
                key = (spec.call, channel)
                later(now, SpeechScored(channel, detector.score({key: frames})[key]))
            case Decode():
                for failure in device.add(effect, now):
                    later(now, failure)
            case Publish(record):
                done.written.append((now, record))

    while timeline:
        now, _, event = heapq.heappop(timeline)
        if isinstance(event, Decoded):
            device.finish()
        for effect in session.handle(event, now=now):
            carry_out(effect, now)
        for job, answer in device.begin(now):
            done.jobs.append(job)
            later(job.done, answer)
    for channel in range(spec.sides):
        detector.close((spec.call, channel))
    return done


def _arrivals(spec: CallSpec, payload: bytes) -> Iterator[tuple[float, Event]]:
    sample_bytes = spec.audio.encoding.sample_bytes * spec.audio.channels
    chunk = int(CHUNK_S * spec.audio.rate) * sample_bytes
    moment = 0.0
    for sequence, at in enumerate(range(0, len(payload), chunk)):
        part = payload[at : at + chunk]
        moment += len(part) / sample_bytes / spec.audio.rate
        yield moment, AudioChunk(spec.call, sequence, ALL_CHANNELS, UNTIMED, part)
    yield moment, CallEnded(spec.call, "hangup")
