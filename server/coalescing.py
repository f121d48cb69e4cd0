"""Small audio messages gathered into records worth writing: 20 ms frames would be 50 records a second and call."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.dialect import Audio
from streaming.call import AudioFormat
from streaming.records import ALL_CHANNELS, UNTIMED


@dataclass(slots=True)
class _Gathered:
    """Payloads of one channel that follow each other without a gap."""

    position: int
    started: float
    """When the first payload came, monotonic seconds."""
    samples: int = 0
    payloads: list[bytes] = field(default_factory=list[bytes])


class Coalescer:
    """Gathers what comes and gives it out in larger pieces; order per channel is kept, nothing is lost.

    Args:
        audio: The call's format.
        samples: Samples per channel at which a piece is complete.
    """

    __slots__ = ("_complete", "_frame_bytes", "_gathered", "_sample_bytes")

    def __init__(self, audio: AudioFormat, samples: int) -> None:
        self._sample_bytes = audio.encoding.sample_bytes
        self._frame_bytes = self._sample_bytes * audio.channels
        self._complete = samples
        self._gathered: dict[int, _Gathered] = {}

    def samples_of(self, audio: Audio) -> int:
        """Return how many samples per channel a payload holds."""
        return len(audio.payload) // (self._frame_bytes if audio.channel == ALL_CHANNELS else self._sample_bytes)

    def add(self, audio: Audio, samples: int, now: float) -> list[Audio]:
        """Take a payload of so many samples; return the pieces that are complete now."""
        done: list[Audio] = []
        gathered = self._gathered.get(audio.channel)
        if gathered is not None and not _follows(gathered, audio.position):
            done.append(self._give(audio.channel))
            gathered = None
        if gathered is None:
            gathered = self._gathered[audio.channel] = _Gathered(audio.position, now)
        gathered.payloads.append(audio.payload)
        gathered.samples += samples
        if gathered.samples >= self._complete:
            done.append(self._give(audio.channel))
        return done

    def flush(self, started_before: float) -> list[Audio]:
        """Return every piece begun before this moment (monotonic seconds), complete or not."""
        if not self._gathered:
            return []
        late = [channel for channel, gathered in self._gathered.items() if gathered.started < started_before]
        return [self._give(channel) for channel in late]

    def _give(self, channel: int) -> Audio:
        gathered = self._gathered.pop(channel)
        return Audio(channel, gathered.position, b"".join(gathered.payloads))


def _follows(gathered: _Gathered, position: int) -> bool:
    if position == UNTIMED:
        return True
    return gathered.position != UNTIMED and position == gathered.position + gathered.samples
