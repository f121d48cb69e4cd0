"""A real shard between a log in memory and models that know the scenes of its calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, cast

import numpy as np

from scaler.ears import Ear
from scaler.governor import Governor
from scaler.policy.health import DeviceSigns, Verdict
from scaler.shard import IDLE_S, Shard
from streaming.call import AudioFormat, CallSpec
from streaming.decoding import DecodeJob, Float32Array, Hypothesis, Kind
from streaming.ladder import Rung, stretched
from streaming.log import Topic
from streaming.log.memory import MemoryLog
from streaming.record_codec import decode, encode
from streaming.records import (
    UNTIMED,
    AudioChunk,
    AudioRecord,
    CallClosed,
    CallEnded,
    CallOpened,
    OutRecord,
    Partial,
    Record,
)
from streaming.records import (
    Final as FinalRecord,
)
from tests.support.conversation import settings_for_tests
from tests.support.scene import Scene

CHUNK_S: Final = 0.5

LADDER: Final = stretched(Rung("small", "large", beam=5, lead_s=5.0))
"""Of quality; the scenes are heard the same on every rung."""


class SceneDetector:
    """Knows from the scenes when somebody speaks."""

    def __init__(self, scenes: Mapping[str, Scene]) -> None:
        self._scenes = scenes
        self.scored: dict[Ear, int] = {}
        """Frames judged of each ear that is open."""
        self.batches: list[int] = []
        """Ears in each batch."""
        self.closed: list[Ear] = []
        self.failures: list[Exception] = []
        """Raised for the next batches, one each."""

    def open(self, key: Ear) -> None:
        """Begin with an ear."""
        self.scored[key] = 0

    def score(self, frames: Mapping[Ear, Float32Array]) -> dict[Ear, Float32Array]:
        """Judge frames."""
        self.batches.append(len(frames))
        if self.failures:
            raise self.failures.pop(0)
        return {ear: self._score(ear, len(heard)) for ear, heard in frames.items()}

    def close(self, key: Ear) -> None:
        """Forget an ear."""
        del self.scored[key]
        self.closed.append(key)

    def _score(self, ear: Ear, count: int) -> Float32Array:
        first, self.scored[ear] = self.scored[ear], self.scored[ear] + count
        return np.array([self._scenes[ear[0]].probability(first + index) for index in range(count)], np.float32)


class SceneDecoder:
    """Hears what was said, unless told to fail or to wait."""

    def __init__(self, scenes: Mapping[str, Scene]) -> None:
        self._scenes = scenes
        self.jobs: list[DecodeJob] = []
        self.asked: dict[Kind, asyncio.Queue[DecodeJob]] = {kind: asyncio.Queue() for kind in Kind}
        """The same, to be waited for."""
        self.failures: list[Exception] = []
        """Raised for the next windows, one each."""
        self.held: set[Kind] = set()
        """Kinds whose answers wait for ``release``."""
        self.release = asyncio.Event()
        self.wait_s = 0.0
        self.work_s = 0.0
        self.rungs: list[Rung] = []
        """Put in force, in order."""

    async def decode(self, job: DecodeJob) -> Hypothesis:
        """Decode a window."""
        self.jobs.append(job)
        self.asked[job.window.kind].put_nowait(job)
        scene = self._scenes[job.call]
        if job.window.kind in self.held:
            await self.release.wait()
        if self.failures:
            raise self.failures.pop(0)
        return scene.hear(job.window)

    def expected_wait_s(self) -> float:
        """Seconds a final handed over now would wait."""
        return self.wait_s

    def backlog_s(self) -> float:
        """Seconds until all is done."""
        return self.work_s

    def window_s(self, model: str, seconds: float, beam: int) -> float:
        """Windows cost next to nothing."""
        del model, seconds, beam
        return 0.001

    @property
    def measured(self) -> bool:
        """And that is known."""
        return True

    def signs(self) -> Sequence[DeviceSigns]:
        """One device, and it is well."""
        return [DeviceSigns(name="scene", ready=True)]

    def obey(self, verdict: Verdict) -> None:
        """There is nothing to be done with a well device."""

    def set_rung(self, rung: Rung) -> None:
        """Put the models of a rung in force."""
        self.rungs.append(rung)


class Notes:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.written: list[Record] = []
        self.failed: list[tuple[Kind, Exception]] = []
        self.rungs: asyncio.Queue[Rung] = asyncio.Queue()
        self.claimed: list[str] = []
        self.hand_overs_s: list[float] = []
        self._news = asyncio.Event()

    def record_written(self, record: Record) -> None:
        """A record was handed to the log."""
        self.written.append(record)
        self._news.set()

    def decode_failed(self, kind: Kind, error: Exception) -> None:
        """A window was not decoded."""
        self.failed.append((kind, error))

    async def until(self, kind: type[Record], count: int) -> None:
        """Wait until so many records of a kind were written."""
        while sum(isinstance(record, kind) for record in self.written) < count:
            self._news.clear()
            await self._news.wait()

    def rung_changed(self, rung: Rung, *, down: bool) -> None:
        """Another rung is in force."""
        del down
        self.rungs.put_nowait(rung)

    def slot_claimed(self, reason: str) -> None:
        """A slot was claimed for the shard."""
        self.claimed.append(reason)

    def slot_served(self, took_s: float) -> None:
        """A slot is served."""
        self.hand_overs_s.append(took_s)


class Workshop:
    """A shard that owns all slots of a log, and hands to reach both.

    Args:
        scenes: What is said in each call, by its id.
        clock: Monotonic seconds.
        idle_s: Seconds without a record after which a call is ended.
        interim: Whether calls want partials.
    """

    def __init__(
        self,
        scenes: Mapping[str, Scene],
        *,
        clock: Callable[[], float] = time.monotonic,
        idle_s: float = IDLE_S,
        interim: bool = True,
    ) -> None:
        self.scenes = dict(scenes)
        self._interim = interim
        self.log = MemoryLog(4)
        self.detector = SceneDetector(self.scenes)
        self.decoder = SceneDecoder(self.scenes)
        self.notes = Notes()
        self.shard = Shard(
            self.log,
            self.detector,
            self.decoder,
            settings=settings_for_tests(),
            governor=Governor(LADDER, self.decoder),
            observer=self.notes,
            idle_s=idle_s,
            clock=clock,
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Run the shard for the length of the block."""
        started = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:  # a shard that dies ends the block
            task = tasks.create_task(self.shard.run(range(4), started))
            await started.wait()
            yield
            task.cancel()

    async def put(self, record: AudioRecord, slot: int = 1) -> None:
        """Write to a slot's audio."""
        await self.log.append(Topic.AUDIO, slot, "", encode(record))

    async def open(
        self, call: str, slot: int = 1, model: str | None = None, *, kept: bool = False, resume_s: float = 0.0
    ) -> None:
        """Begin a call, which may insist on a model and may be kept."""
        scene = self.scenes[call]
        audio = AudioFormat(scene.encoding, scene.rate)
        spec = CallSpec(call, "tenant", audio, ("side",), interim=self._interim, model=model)
        await self.put(CallOpened(replace(spec, kept=kept, resume_s=resume_s)), slot)

    async def speak(self, call: str, slot: int = 1, until_s: float | None = None, first: int = 0) -> None:
        """Send the call's audio from its start; ``first`` is the number of its first chunk."""
        scene = self.scenes[call]
        payload = scene.payload[: None if until_s is None else round(until_s * scene.rate) * 2]
        size = round(CHUNK_S * scene.rate) * 2
        for number, at in enumerate(range(0, len(payload), size), first):
            await self.put(AudioChunk(call, number, 0, UNTIMED, payload[at : at + size]), slot)
            await asyncio.sleep(0)  # as gateways do between chunks

    async def hang_up(self, call: str, slot: int = 1) -> None:
        """End a call."""
        await self.put(CallEnded(call, "hangup"), slot)

    async def whole(self, call: str, slot: int = 1) -> None:
        """A call from beginning to end."""
        await self.open(call, slot)
        await self.speak(call, slot)
        await self.hang_up(call, slot)

    async def out_until_closed(self, *calls: str) -> list[Record]:
        """Everything in the out topic, once these calls are closed."""
        reader = self.log.reader(Topic.OUT)
        reader.assign(dict.fromkeys(range(4), 0))
        records: list[Record] = []
        missing = set(calls)
        while missing:
            for entry in await reader.next():
                records.append(decode(entry.value))
                if isinstance(records[-1], CallClosed):
                    missing.discard(records[-1].call)
        await reader.close()
        return records

    def log_of(self, call: str, slot: int = 1) -> list[OutRecord]:
        """What is in the out topic of a slot, fences and other calls left out."""
        entries = [entry for entry in self.log.read(Topic.OUT, slot, 0, 10_000) if entry.key == call]
        return [cast("OutRecord", decode(entry.value)) for entry in entries]

    def partials(self) -> list[Partial]:
        """What was written to the partials topic."""
        entries = [entry for slot in range(4) for entry in self.log.read(Topic.PARTIALS, slot, 0, 10_000)]
        records = [decode(entry.value) for entry in entries]
        return [record for record in records if isinstance(record, Partial)]


def text_of(records: list[Record], call: str) -> list[str]:
    """The words of a call's finals."""
    finals = [record for record in records if isinstance(record, FinalRecord) and record.call == call]
    return [word.text for final in finals for word in final.words]
