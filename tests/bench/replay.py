"""A call replayed through the core on a virtual clock: what the live path would write, as fast as the model allows.

For tuning endpointing and windows: no sockets, no processes, and a decode takes as long as it is told to.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from scaler.ears import SpeechDetector
from streaming.call import CallSpec
from streaming.channel import ChannelSettings
from streaming.decoding import Hypothesis, Kind, Window
from streaming.effects import Decode, Effect, Publish, ScoreSpeech
from streaming.records import ALL_CHANNELS, UNTIMED, AudioChunk, CallEnded, Final, Partial
from streaming.session import Decoded, Event, Session, SpeechScored

CHUNK_S = 0.06


class Engine(Protocol):
    """The part of an engine a replay needs."""

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Decode a batch."""
        ...


@dataclass(slots=True)
class Replay:
    """What a replayed call wrote, and what it cost."""

    finals: list[Final] = field(default_factory=list[Final])
    partials: list[Partial] = field(default_factory=list[Partial])
    windows_s: dict[Kind, list[float]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    audio_s: float = 0.0

    def text(self, channel: int) -> str:
        """The transcript of one side."""
        return " ".join(word.text for final in self.finals if final.channel == channel for word in final.words)


def replay(
    spec: CallSpec,
    payload: bytes,
    detector: SpeechDetector,
    engine: Engine,
    settings: ChannelSettings,
    *,
    decode_s: float = 0.15,
) -> Replay:
    """Replay one call.

    Args:
        spec: Of the call.
        payload: All its audio, channels interleaved, in the call's codec.
        detector: Voice activity.
        engine: Decodes each window alone.
        settings: To be judged.
        decode_s: Seconds every decode takes on the virtual clock.
    """
    session = Session(spec, settings)
    done = Replay(audio_s=len(payload) / spec.audio.encoding.sample_bytes / spec.audio.channels / spec.audio.rate)
    order = itertools.count()
    timeline: list[tuple[float, int, Event]] = [
        (moment, next(order), event) for moment, event in _arrivals(spec, payload)
    ]
    for channel in range(spec.sides):
        detector.open((spec.call, channel))

    def carry_out(effect: Effect, now: float) -> None:
        match effect:
            case ScoreSpeech(channel, frames):
                key = (spec.call, channel)
                scored = SpeechScored(channel, detector.score({key: frames})[key])
                heapq.heappush(timeline, (now, next(order), scored))
            case Decode(channel, request, window):
                done.windows_s[window.kind].append(window.seconds)
                answer = Decoded(channel, request, engine.decode([window])[0])
                heapq.heappush(timeline, (now + decode_s, next(order), answer))
            case Publish(Final() as final):
                done.finals.append(final)
            case Publish(Partial() as partial):
                done.partials.append(partial)
            case Publish():
                pass

    while timeline:
        now, _, event = heapq.heappop(timeline)
        for effect in session.handle(event, now=now):
            carry_out(effect, now)
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
