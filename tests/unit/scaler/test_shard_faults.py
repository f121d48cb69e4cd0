"""What goes wrong with one call, one window or one batch, and what the shard makes of it; on virtual time."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

import scaler.calls
from gpu.errors import DeviceLost
from scaler.calls import RETRY_AFTER_S
from streaming.call import LOST_S, AudioFormat, CallSpec, Encoding
from streaming.channel import FINAL_TRIES
from streaming.decoding import DecodeJob, Hypothesis, Kind
from streaming.effects import Effect
from streaming.records import (
    FINAL_LOST,
    INTERNAL,
    AudioChunk,
    CallClosed,
    CallKept,
    CallOpened,
    Final,
    Progress,
    QualityChanged,
    Record,
    SpeechStarted,
)
from streaming.session import Event, Session
from tests.support.scene import Scene, Turn
from tests.support.shards import Workshop, text_of
from tests.support.virtual_time import run_virtually

Clock = Callable[[], float]


def talk(name: str = "w") -> Scene:
    return Scene([Turn(0.5, 4), Turn(3.5, 3)], name=name)


def closing(out: list[Record], call: str) -> CallClosed:
    (closed,) = [record for record in out if isinstance(record, CallClosed) and record.call == call]
    return closed


def break_the_session_of(call: str, monkeypatch: pytest.MonkeyPatch, problem: Exception) -> None:
    """Have it fail on its fifth chunk."""
    handle = Session.handle

    def broken(self: Session, event: Event, *, now: float) -> list[Effect]:
        if isinstance(event, AudioChunk) and event.call == call and event.sequence == 4:
            raise problem
        return handle(self, event, now=now)

    monkeypatch.setattr(Session, "handle", broken)


def test_a_fault_in_one_session_ends_one_call_and_its_log_line_quotes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """One odd call must not take a shard's hundred others with it."""
    break_the_session_of("a", monkeypatch, KeyError("what somebody said"))

    async def work(clock: Clock) -> tuple[Workshop, list[Record]]:
        workshop = Workshop({"a": talk("a"), "b": talk("b")}, clock=clock)
        async with workshop.running():
            await asyncio.gather(workshop.whole("a", 1), workshop.whole("b", 1))
            return workshop, await workshop.out_until_closed("a", "b")

    with capture_logs() as lines:
        workshop, out = run_virtually(work)

    assert text_of(out, "b") == workshop.scenes["b"].text
    assert closing(out, "a").reason == INTERNAL
    assert closing(out, "a").audio_s == pytest.approx(2.0, abs=0.01)
    assert closing(out, "b").reason == "hangup"
    assert workshop.shard.calls == 0
    (line,) = [line for line in lines if line["event"] == "call.failed"]
    assert (line["call"], line["error"]) == ("a", "KeyError")
    assert any("broken" in place for place in line["places"])
    assert "said" not in str(lines)


def test_a_record_that_cannot_be_written_ends_its_call() -> None:
    """Half a surrogate pair is no UTF-8, whichever model wrote it."""

    async def work(clock: Clock) -> tuple[Workshop, list[Record]]:
        workshop = Workshop({"a": talk("a"), "b": talk("b")}, clock=clock)
        hear = workshop.scenes["a"].hear
        workshop.scenes["a"].hear = lambda window: _with_half_a_pair(hear(window))  # type: ignore[method-assign]  # a fault
        async with workshop.running():
            await asyncio.gather(workshop.whole("a"), workshop.whole("b"))
            return workshop, await workshop.out_until_closed("a", "b")

    workshop, out = run_virtually(work)

    assert closing(out, "a").reason == INTERNAL
    assert text_of(out, "b") == workshop.scenes["b"].text


def _with_half_a_pair(hypothesis: Hypothesis) -> Hypothesis:
    return replace(hypothesis, words=tuple(replace(word, text="\ud800") for word in hypothesis.words))


def test_a_call_that_cannot_be_begun_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller waits for an answer."""

    async def work(clock: Clock) -> list[Record]:
        workshop = Workshop({"a": talk()}, clock=clock)
        async with workshop.running():
            monkeypatch.setattr(scaler.calls, "Session", None)
            spec = CallSpec("odd", "tenant", AudioFormat(Encoding.MULAW, 8_000), ("side",))
            await workshop.put(CallOpened(spec))
            await workshop.out_until_closed("odd")
            monkeypatch.setattr(scaler.calls, "Session", Session)
            await workshop.whole("a")
            return await workshop.out_until_closed("a")

    out = run_virtually(work)

    assert closing(out, "odd") == CallClosed(1, "odd", INTERNAL, 0.0, 0.0)
    assert closing(out, "a").reason == "hangup"


def test_voice_activity_that_fails_once_is_asked_again() -> None:
    async def work(clock: Clock) -> tuple[Workshop, list[Record]]:
        workshop = Workshop({"a": talk()}, clock=clock)
        workshop.detector.failures = [RuntimeError("bad allocation")]
        async with workshop.running():
            await workshop.whole("a")
            return workshop, await workshop.out_until_closed("a")

    workshop, out = run_virtually(work)

    assert text_of(out, "a") == workshop.scenes["a"].text


def test_voice_activity_that_fails_twice_ends_the_calls_of_that_batch_and_no_other() -> None:
    """A call whose speech nobody hears would go on in silence, and its caller would think that nobody spoke."""

    async def work(clock: Clock) -> tuple[Workshop, list[Record]]:
        workshop = Workshop({name: talk(name) for name in "abc"}, clock=clock)
        async with workshop.running():
            workshop.detector.failures = [RuntimeError("first"), RuntimeError("second")]
            await asyncio.gather(workshop.whole("a"), workshop.whole("b"))
            await workshop.out_until_closed("a", "b")
            await workshop.whole("c")
            return workshop, await workshop.out_until_closed("a", "b", "c")

    workshop, out = run_virtually(work)

    assert [closing(out, call).reason for call in "abc"] == [INTERNAL, INTERNAL, "hangup"]
    assert text_of(out, "c") == workshop.scenes["c"].text
    assert sorted(workshop.detector.closed)[:2] == [("a", 0), ("b", 0)]


def test_an_ear_that_cannot_be_opened_ends_its_call_and_one_that_cannot_be_closed_none() -> None:
    async def work(clock: Clock) -> list[Record]:
        workshop = Workshop({"a": talk("a"), "b": talk("b")}, clock=clock)
        opened = workshop.detector.open

        def fail_for_a(key: tuple[str, int]) -> None:
            if key[0] == "a":
                raise MemoryError
            opened(key)

        workshop.detector.open = fail_for_a  # type: ignore[method-assign]  # a fault
        async with workshop.running():
            await asyncio.gather(workshop.whole("a"), workshop.whole("b"))
            return await workshop.out_until_closed("a", "b")

    out = run_virtually(work)

    assert [closing(out, call).reason for call in "ab"] == [INTERNAL, "hangup"]


def test_a_final_that_fails_is_tried_again_after_growing_pauses() -> None:
    """A device that fails everything for a second must not use up all tries of all finals within that second."""

    async def work(clock: Clock) -> tuple[Workshop, list[float], list[Record]]:
        workshop = Workshop({"a": Scene([Turn(0.5, 4)])}, clock=clock, interim=False)
        workshop.decoder.failures = [RuntimeError()] * (FINAL_TRIES - 1)
        async with workshop.running():
            await workshop.whole("a")
            out = await workshop.out_until_closed("a")
        return workshop, [job.submitted_at for job in workshop.decoder.jobs], out

    workshop, tried_at, out = run_virtually(work)

    pauses = [later - earlier for earlier, later in pairwise(tried_at)]
    assert pauses == pytest.approx(RETRY_AFTER_S[: FINAL_TRIES - 1], abs=0.01)
    assert text_of(out, "a") == workshop.scenes["a"].text


def test_partials_that_fail_are_not_waited_for() -> None:
    """The next one is newer anyway."""

    async def work(clock: Clock) -> tuple[Workshop, list[Record]]:
        workshop = Workshop({"a": talk()}, clock=clock)
        decode = workshop.decoder.decode

        async def only_finals(job: DecodeJob) -> Hypothesis:
            if job.window.kind is Kind.PARTIAL:
                raise DeviceLost("gone")
            return await decode(job)

        workshop.decoder.decode = only_finals  # type: ignore[method-assign]  # a fault
        async with workshop.running():
            await workshop.open("a")
            await workshop.speak("a", until_s=1.5)
            await asyncio.sleep(0.1)
            await workshop.hang_up("a")
            out = await workshop.out_until_closed("a")
        assert clock() < RETRY_AFTER_S[0]
        return workshop, out

    workshop, out = run_virtually(work)

    assert text_of(out, "a")
    assert {kind for kind, _ in workshop.notes.failed} == {Kind.PARTIAL}


def test_text_that_is_lost_for_good_is_said_to_be() -> None:
    """Without partials nothing can stand in for a final that fails; silence would be taken for silence."""

    async def work(clock: Clock) -> tuple[Workshop, list[Record]]:
        workshop = Workshop({"a": talk()}, clock=clock, interim=False)
        workshop.decoder.failures = [RuntimeError()] * FINAL_TRIES
        async with workshop.running():
            await workshop.open("a")
            await workshop.speak("a", until_s=3.4)
            await asyncio.sleep(10.0)
            await workshop.hang_up("a")
            return workshop, await workshop.out_until_closed("a")

    _, out = run_virtually(work)

    kinds = [type(record) for record in out if not isinstance(record, SpeechStarted)]
    at = kinds.index(QualityChanged)
    assert kinds[at - 1] is Progress
    assert Final not in kinds
    (said,) = [record for record in out if isinstance(record, QualityChanged)]
    assert said == QualityChanged(1, "a", "", FINAL_LOST)


def test_a_call_that_falls_silent_is_ended_with_its_finals() -> None:
    """Whoever wrote its audio is gone and will never say that it is over."""

    async def work(clock: Clock) -> tuple[Workshop, list[Record]]:
        workshop = Workshop({"a": talk(), "b": talk("b")}, clock=clock, idle_s=60.0)
        async with workshop.running():
            await workshop.open("a")
            await workshop.speak("a")
            await asyncio.sleep(50.0)
            await workshop.open("b")
            out = await workshop.out_until_closed("a")
            assert 60.0 <= clock() <= 62.0
            assert workshop.shard.calls == 1
        return workshop, out

    workshop, out = run_virtually(work)

    assert text_of(out, "a") == workshop.scenes["a"].text
    assert closing(out, "a").reason == "idle"


def test_a_call_whose_gateway_is_gone_is_ended_long_before_one_that_is_only_silent() -> None:
    """Nobody is left to say that the caller hung up; what was heard must still become final soon."""

    async def work(clock: Clock) -> tuple[list[Record], list[Record]]:
        workshop = Workshop({"a": talk(), "b": talk("b")}, clock=clock, idle_s=300.0)
        async with workshop.running():
            for call in ("a", "b"):
                await workshop.open(call, kept=True, resume_s=20.0)
                await workshop.speak(call)
            for _ in range(4):
                await workshop.put(CallKept("b"))
                await workshop.put(CallKept("nobody"))
                await asyncio.sleep(10.0)
            gone = await workshop.out_until_closed("a")
            assert LOST_S + 20.0 <= clock() <= LOST_S + 22.0
            silent = await workshop.out_until_closed("b")
            assert 30.0 + LOST_S + 20.0 <= clock() <= 32.0 + LOST_S + 20.0
        return gone, silent

    gone, silent = run_virtually(work)

    assert closing(gone, "a").reason == closing(silent, "b").reason == "disconnected"


def test_a_silent_call_whose_finals_never_come_is_ended_without_them() -> None:
    """Nothing may stay for ever."""

    async def work(clock: Clock) -> list[Record]:
        workshop = Workshop({"a": talk()}, clock=clock, idle_s=60.0)
        workshop.decoder.held = {Kind.FINAL, Kind.PARTIAL}
        async with workshop.running():
            await workshop.whole("a")
            out = await workshop.out_until_closed("a")
            assert 60.0 <= clock() <= 62.0
        return out

    assert closing(run_virtually(work), "a").reason == INTERNAL


def test_partials_slow_down_where_only_partials_wait() -> None:
    async def work(clock: Clock) -> float:
        workshop = Workshop({"a": talk()}, clock=clock)
        workshop.decoder.work_s = 1.2
        async with workshop.running():
            return (await workshop.notes.rungs.get()).cadence_s

    assert run_virtually(work) == 1.5


def test_a_shard_that_is_stopped_amid_work_leaves_nothing_to_complain_of(recwarn: pytest.WarningsRecorder) -> None:
    """Coroutines that nobody awaits and exceptions that nobody retrieves would be the last lines of every log."""
    complaints: list[str] = []

    async def work(clock: Clock) -> Workshop:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(str(context["message"])))
        workshop = Workshop({"a": talk(), "b": talk("b")}, clock=clock, interim=False)
        decode = workshop.decoder.decode

        async def lost_when_stopped(job: DecodeJob) -> Hypothesis:
            try:
                return await decode(job)
            except asyncio.CancelledError:
                raise DeviceLost("the devices are shut down") from None  # and its session asks once more

        workshop.decoder.decode = lost_when_stopped  # type: ignore[method-assign]  # devices go first
        workshop.decoder.held = {Kind.FINAL}
        async with workshop.running():
            await asyncio.gather(workshop.whole("a"), workshop.whole("b"))
            for _ in range(4):
                await workshop.decoder.asked[Kind.FINAL].get()
        return workshop

    workshop = run_virtually(work)
    gc.collect()

    assert len(workshop.notes.failed) == 4
    assert complaints == []
    assert [str(warning.message) for warning in recwarn] == []
