"""Recorded calls played to a server in real time by the SDK, with everything that comes back and when."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import pairwise

from tests.support.audio_files import CallAudio
from trunkline import Audio, Call, Final, Partial, Quality, Refused, TrunklineError, Word, connect
from trunkline.audio import Recording
from trunkline.load import code_of
from trunkline.pacing import paced
from trunkline.timing import CallTiming


@dataclass(slots=True)
class Heard:
    """What came back from one call."""

    finals: list[Final] = field(default_factory=list[Final])
    partials: dict[tuple[int, int], list[float]] = field(
        default_factory=lambda: defaultdict[tuple[int, int], list[float]](list)
    )
    """When partials arrived, in monotonic seconds, by channel and utterance."""
    late_s: float = 0.0
    """The most that this machine itself sent audio too late, in seconds."""
    failure: str = ""
    """Why the call ended badly, as a code; empty if it did not."""
    retry_after_s: float | None = None
    """When a call that was refused is to try again; None where nothing was said of that."""
    lost: int = 0
    """Times the call was told that something could not be decoded and is missing."""

    def words(self, channel: int) -> list[Word]:
        """All words of one side's finals."""
        return [word for final in self.finals if final.channel == channel for word in final.words]

    def text(self, channel: int) -> str:
        """The transcript of one side."""
        return " ".join(final.text for final in self.finals if final.channel == channel)

    def partial_gaps(self) -> list[float]:
        """Seconds between partials of one utterance."""
        return [later - earlier for times in self.partials.values() for earlier, later in pairwise(times)]


async def play(server: str, recording: Recording, timings: Sequence[CallTiming] = ()) -> Heard:
    """Play one call in real time, native protocol, 20 ms a message, and wait for its last final.

    Args:
        server: Its address.
        recording: What is said.
        timings: Are told everything that is sent and heard.
    """
    heard = Heard()
    try:
        async with connect(server, audio=recording.audio) as call, asyncio.TaskGroup() as tasks:
            tasks.create_task(_listen(call, heard, timings), name="listen")
            await _speak(call, recording, heard, timings)
    except* TrunklineError as problems:
        problem = _first(problems)
        heard.failure = code_of(problem)
        heard.retry_after_s = problem.retry_after_s if isinstance(problem, Refused) else None
    return heard


async def _speak(call: Call, recording: Recording, heard: Heard, timings: Sequence[CallTiming]) -> None:
    async with aclosing(paced(_chunks(recording), recording.audio)) as chunks:
        async for until_s, late_s, chunk in chunks:
            now = time.monotonic()
            await call.send(chunk)
            for timing in timings:
                timing.sent(until_s, now)
            heard.late_s = max(heard.late_s, late_s)
    await call.close()


async def _chunks(recording: Recording) -> AsyncGenerator[bytes]:
    for chunk in recording.chunks():
        yield chunk


async def _listen(call: Call, heard: Heard, timings: Sequence[CallTiming]) -> None:
    async for event in call:
        now = time.monotonic()
        for timing in timings:
            timing.heard(event, now)
        match event:
            case Final():
                heard.finals.append(event)
            case Partial():
                heard.partials[event.channel, event.number].append(now)
            case Quality(reason="final_lost"):
                heard.lost += 1
            case _:
                pass


def _first(problems: BaseExceptionGroup[TrunklineError]) -> TrunklineError:
    inner = problems.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def recording_of(audio: CallAudio, *, silence_s: float = 0.0, seconds: float | None = None) -> Recording:
    """Make a recording of a call's audio.

    Args:
        audio: The audio.
        silence_s: Silence put after it, so that its last words end as others do and not because the call does.
        seconds: Use only so much of it; None for all.
    """
    sent = Audio(audio.format.encoding.value, audio.format.rate, audio.format.channels)
    data = audio.payload if seconds is None else audio.payload[: round(seconds * sent.sample_rate) * sent.frame_bytes]
    quiet = b"\xff" if sent.encoding == "mulaw" else b"\0"
    return Recording(sent, data + quiet * (round(silence_s * sent.sample_rate) * sent.frame_bytes))
