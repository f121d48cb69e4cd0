"""Channels held through everything that stands in front of a device: recorded speech comes in as it is spoken, voice
activity is judged, and sessions make the windows, as in a shard.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Final

from gpu.vad import SileroVad
from scaler.calls import CallRecord, Calls
from scaler.governor import Governor
from server.governed import GovernedDevices
from streaming.call import AudioFormat, CallSpec, Encoding
from streaming.channel import ChannelSettings
from streaming.decoding import DecodeJob, Hypothesis, Kind
from streaming.ladder import Ladder, Rung
from streaming.records import ALL_CHANNELS, UNTIMED, AudioChunk, CallClosed, CallEnded, EndReason, Record
from streaming.records import Final as FinalRecord
from streaming.reducer import ChannelProgress
from tests.bench.device_channels import FIRST_PARTIAL_S, SETTLE_S, Device, Tally
from tests.bench.script import pool, script
from tests.support.audio_files import TELEPHONE_RATE

CHUNK_S: Final = 0.04
"""Audio of one record: what the gateway gathers by default."""
LAST_FINALS_S: Final = 10.0
"""Seconds that finals may come after the last sample."""


@dataclass(slots=True)
class Sitting(Tally):
    """What came of channels that were held."""

    late_s: float = 0.0
    """How late audio was handed over at most: beyond a tenth of a second the host could not keep pace."""
    counted_from: float = 0.0
    cadence_s: float = 1.0
    open: set[str] = field(default_factory=set[str])
    """Calls that are not over."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once all are."""

    # --- as a slot: where sessions write -----------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """There is one owner only."""
        return 1

    def progress(self, call: str, channel: int) -> ChannelProgress:
        """Every call is new."""
        del call, channel
        return ChannelProgress()

    def publish(self, record: CallRecord) -> None:
        """Count a final by its latency, and the texts that were due before it.

        A window of a final that was begun at a hesitation, after which the speaker went on, served as a partial: only
        one window of each final did not.
        """
        match record:
            case FinalRecord() if self._now() > self.counted_from:
                spoken_s = record.speech_end - record.words[0].start
                self.answered -= 1
                self.partials += max(0, math.ceil((spoken_s - FIRST_PARTIAL_S) / self.cadence_s))
                if record.reason is EndReason.ENDPOINT:
                    self.finals_s.append(record.latency_s)
            case CallClosed(call=call):
                self.open.discard(call)
                if not self.open:
                    self.over.set()
            case _:
                pass

    # --- as an observer ----------------------------------------------------------------------------------------------

    def record_written(self, record: Record) -> None:
        """It was counted when it was published."""

    def decode_failed(self, kind: Kind, error: Exception) -> None:
        """Partials are superseded in a device that has more to do than it can; finals must not be."""
        del error
        self.failed += kind is Kind.FINAL

    def rung_changed(self, rung: Rung, *, down: bool) -> None:
        """There is one rung only."""

    def slot_claimed(self, reason: str) -> None:
        """No slot is claimed here."""

    def slot_served(self, took_s: float) -> None:
        """Nor served."""

    def decoded(self) -> None:
        """A window came back."""
        self.answered += self._now() > self.counted_from

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True)
class _Counted:
    """A device whose answers are counted."""

    device: Device
    sitting: Sitting

    async def decode(self, job: DecodeJob) -> Hypothesis:
        """Decode a window."""
        answer = await self.device.decode(job)
        self.sitting.decoded()
        return answer


class Speakers:
    """Channels on which recorded speech is spoken all the time, one utterance after the other, each from another place.

    Args:
        devices: With the models of the rungs.
        n_mels: Mel bands of the models.
    """

    def __init__(self, devices: GovernedDevices, n_mels: int) -> None:
        self._devices = devices
        self._n_mels = n_mels
        self._detector = SileroVad()
        self._said, _ = pool()

    async def speak(self, rung: Rung, channels: int, seconds: float) -> Sitting:
        """Hold so many channels for so long."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        names = [f"call-{number}" for number in range(channels)]
        sitting = Sitting(counted_from=began + SETTLE_S, cadence_s=rung.cadence_s, open=set(names))
        calls = Calls(
            self._detector,
            _Counted(self._devices.pool, sitting),
            settings=ChannelSettings(final_beam=rung.beam, n_mels=self._n_mels),
            governor=Governor(Ladder((rung,)), self._devices),  # a ladder of one rung: none is taken
            observer=sitting,
        )
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(calls.run(), name="calls")
            speaking = [
                self._call(calls, sitting, name, number * len(self._said) // channels, until=began + seconds)
                for number, name in enumerate(names)
            ]
            await _staggered(speaking, SETTLE_S / channels)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(sitting.over.wait(), LAST_FINALS_S)
            running.cancel()
        sitting.failed += len(sitting.open)
        return sitting

    async def _call(self, calls: Calls, sitting: Sitting, name: str, first: int, *, until: float) -> None:
        """Speak from now on, at the pace of speech."""
        loop = asyncio.get_running_loop()
        audio = AudioFormat(Encoding.MULAW, TELEPHONE_RATE)
        calls.open(CallSpec(name, "bench", audio, ("speaker",), language="en"), sitting)
        began = loop.time()
        payload = script(self._said, first=first, seconds=until - began).recording.data
        size = round(CHUNK_S * TELEPHONE_RATE)
        for number, at in enumerate(range(0, round((until - began) * TELEPHONE_RATE), size)):
            due = began + (number + 1) * CHUNK_S
            await asyncio.sleep(max(0.0, due - loop.time()))
            sitting.late_s = max(sitting.late_s, loop.time() - due)
            calls.hear(AudioChunk(name, number, ALL_CHANNELS, UNTIMED, payload[at : at + size]))
        calls.hear(CallEnded(name, "hangup"))


async def _staggered(work: Sequence[Awaitable[None]], every_s: float) -> None:
    """Begin one after the other, and wait for all."""

    async def one(number: int, each: Awaitable[None]) -> None:
        await asyncio.sleep(number * every_s)
        await each

    async with asyncio.TaskGroup() as tasks:
        for number, each in enumerate(work):
            tasks.create_task(one(number, each), name="speaker")
