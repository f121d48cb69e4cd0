"""A shard from log to log, with models that know what is said; nothing here waits for a clock."""

from __future__ import annotations

import asyncio

import pytest

import scaler.calls
import scaler.ears
from streaming.decoding import Kind
from streaming.log import Topic
from streaming.record_codec import decode, encode
from streaming.records import (
    AudioChunk,
    CallClosed,
    Fence,
    Final,
    FinalizeRequested,
    Partial,
    QualityChanged,
    SpeechStarted,
)
from streaming.reducer import Reducer
from tests.support.scene import Scene, Turn
from tests.support.shards import LADDER, Workshop, text_of


@pytest.fixture(autouse=True)
def nothing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between batches of voice activity, nor before a final is tried again."""
    monkeypatch.setattr(scaler.calls, "RETRY_AFTER_S", (0,))
    monkeypatch.setattr(scaler.ears, "JUDGE_EVERY_S", 0)


def talk(name: str = "w") -> Scene:
    return Scene([Turn(0.5, 4), Turn(3.5, 3)], name=name)


async def test_a_call_in_is_its_finals_in_the_out_topic_and_its_partials_beside_them() -> None:
    """The way of a word, without sockets and devices."""
    workshop = Workshop({"a": talk()})
    async with workshop.running():
        await workshop.whole("a", slot=2)
        out = await workshop.out_until_closed("a")

    assert text_of(out, "a") == workshop.scenes["a"].text
    assert workshop.partials()
    assert not any(isinstance(record, Partial) for record in out)
    assert {type(record) for record in workshop.log_of("a", slot=2)} >= {Final, SpeechStarted, CallClosed}


async def test_the_owner_fences_its_slots_and_a_reader_takes_all_it_writes() -> None:
    """Whoever reads the slot must be able to tell this owner from the one before."""
    workshop = Workshop({"a": talk()})
    reducer = Reducer()
    async with workshop.running():
        await workshop.whole("a")
        await workshop.out_until_closed("a")

    for slot in range(4):
        entries = workshop.log.read(Topic.OUT, slot, 0, 1000)
        assert decode(entries[0].value) == Fence(slot, "standalone")  # its claims were records 0 to 3
    reducer.accept(Fence(1, "standalone"))
    accepted = [reducer.accept(record) for record in workshop.log_of("a")]
    assert all(accepted)
    assert len(accepted) > 4


async def test_a_call_from_before_the_shard_came_is_served_too() -> None:
    """A slot may be without an owner for a while; what was said meanwhile waits in the log."""
    workshop = Workshop({"early": talk()})
    await workshop.whole("early")
    async with workshop.running():
        out = await workshop.out_until_closed("early")

    assert text_of(out, "early") == workshop.scenes["early"].text


async def test_two_calls_never_mix_their_words() -> None:
    """The promise that matters most, in one slot and across slots, judged in the same batches."""
    workshop = Workshop({"a": talk("a"), "b": talk("b"), "c": talk("c")})
    async with workshop.running():
        for call, slot in (("a", 1), ("b", 1), ("c", 3)):
            await workshop.open(call, slot)
        await asyncio.gather(workshop.speak("a", 1), workshop.speak("b", 1), workshop.speak("c", 3))
        for call, slot in (("a", 1), ("b", 1), ("c", 3)):
            await workshop.hang_up(call, slot)
        out = await workshop.out_until_closed("a", "b", "c")

    for call in "abc":
        assert text_of(out, call) == workshop.scenes[call].text
    for partial in workshop.partials():
        assert all(word.text.startswith(partial.call) for word in partial.words)
    assert max(workshop.detector.batches) == 3
    assert len({job.job for job in workshop.decoder.jobs}) == len(workshop.decoder.jobs)


async def test_a_window_that_a_device_dropped_is_decoded_again_and_reported() -> None:
    """A device may die of anything; the transcript does not."""
    workshop = Workshop({"a": talk()})
    workshop.decoder.failures = [RuntimeError("out of memory"), ConnectionError("gone")]
    async with workshop.running():
        await workshop.whole("a")
        out = await workshop.out_until_closed("a")

    assert text_of(out, "a") == workshop.scenes["a"].text
    assert [type(error) for _, error in workshop.notes.failed] == [RuntimeError, ConnectionError]


async def test_a_call_whose_finals_all_fail_closes_and_harms_no_other() -> None:
    workshop = Workshop({"a": talk("a"), "b": talk("b")})
    workshop.decoder.failures = [RuntimeError()] * 100
    async with workshop.running():
        await workshop.whole("a")
        await workshop.out_until_closed("a")
        workshop.decoder.failures = []
        await workshop.whole("b")
        out = await workshop.out_until_closed("b")

    assert text_of(out, "b") == workshop.scenes["b"].text
    assert {kind for kind, _ in workshop.notes.failed} >= {Kind.FINAL}


async def test_records_that_cannot_be_read_or_do_not_belong_harm_no_call() -> None:
    """One bad writer must not end all calls of a slot."""
    workshop = Workshop({"a": talk()})
    async with workshop.running():
        await workshop.open("a")
        await workshop.log.append(Topic.AUDIO, 1, "", b"\x63who knows")
        await workshop.log.append(Topic.AUDIO, 1, "", encode(Fence(1, "lost")))
        await workshop.open("a")
        await workshop.speak("a")
        await workshop.put(AudioChunk("a", 96, 7, 0, b"\0\0"))
        await workshop.put(AudioChunk("a", 97, 0, 0, b"\0"))
        await workshop.put(AudioChunk("nobody", 0, 0, 0, b"\0\0"))
        await workshop.put(FinalizeRequested("a", 9, "m"))
        await workshop.hang_up("a")
        await workshop.put(AudioChunk("a", 99, 0, 0, b"\0\0"))
        out = await workshop.out_until_closed("a")

    assert text_of(out, "a") == workshop.scenes["a"].text


async def test_a_closed_call_leaves_nothing_behind() -> None:
    """A shard runs for weeks."""
    workshop = Workshop({"a": talk(), "b": talk()})
    async with workshop.running():
        await workshop.whole("a")
        await workshop.out_until_closed("a")
        assert workshop.shard.calls == 0
        await workshop.whole("b")  # its first batch closes the ears of what is over
        await workshop.out_until_closed("b")

    assert ("a", 0) in workshop.detector.closed
    assert ("a", 0) not in workshop.detector.scored


async def test_a_chunk_that_is_written_again_is_heard_once() -> None:
    """Gateways write again what they do not know to be safe."""
    workshop = Workshop({"a": talk()})
    async with workshop.running():
        await workshop.open("a")
        await workshop.speak("a", until_s=2.0)
        await workshop.speak("a")
        await workshop.open("a")
        await workshop.hang_up("a")
        out = await workshop.out_until_closed("a")

    assert text_of(out, "a") == workshop.scenes["a"].text


async def test_nothing_is_heard_of_a_call_that_is_over() -> None:
    """Readers would drop it: what is over stays as it is."""
    workshop = Workshop({"a": talk(), "b": talk()})
    async with workshop.running():
        await workshop.whole("a")
        await workshop.out_until_closed("a")
        await workshop.whole("a")
        await workshop.whole("b")
        out = await workshop.out_until_closed("b")

    assert text_of(out, "a") == workshop.scenes["a"].text
    assert sum(isinstance(record, CallClosed) and record.call == "a" for record in out) == 1


async def test_the_caller_of_a_call_that_cannot_be_read_is_told() -> None:
    """A newer gateway may know formats that this shard does not."""
    workshop = Workshop({"a": talk()})
    async with workshop.running():
        await workshop.log.append(Topic.AUDIO, 1, "new", b"\x01{}")
        out = await workshop.out_until_closed("new")

    assert [type(record) for record in out if not isinstance(record, Fence)] == [CallClosed]


async def test_pace_follows_the_wait_of_the_devices_and_every_call_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under load partials give first."""
    monkeypatch.setattr(scaler.calls, "TEND_EVERY_S", 0)
    workshop = Workshop({"a": talk()})
    workshop.decoder.wait_s = 1.0
    async with workshop.running():
        await workshop.open("a")
        rung = await workshop.notes.rungs.get()

    assert rung == LADDER[1]
    assert workshop.decoder.rungs[0] == rung
    assert workshop.shard.calls == 1


async def test_every_record_is_told_to_the_observer_in_the_order_written() -> None:
    """Metrics are made from it."""
    workshop = Workshop({"a": talk()})
    async with workshop.running():
        await workshop.whole("a")
        await workshop.out_until_closed("a")
        await workshop.notes.until(CallClosed, 1)

    in_log = workshop.log_of("a")
    assert [record for record in workshop.notes.written if not isinstance(record, Partial)] == in_log


async def test_callers_are_told_when_another_model_writes_their_finals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transcript that gets worse without a word looks like a fault; who insisted on a model keeps it."""
    monkeypatch.setattr(scaler.calls, "TEND_EVERY_S", 0)
    workshop = Workshop({"a": talk(), "insists": talk()})
    async with workshop.running():
        await workshop.open("a")
        await workshop.open("insists", model="large")
        await workshop.speak("a", until_s=0.5)
        workshop.decoder.wait_s = 1.0
        await workshop.notes.until(QualityChanged, 1)

    told = [record for record in workshop.notes.written if isinstance(record, QualityChanged)]
    assert [(record.call, record.model, record.reason) for record in told] == [("a", "small", "load")]


async def test_a_call_whose_model_is_gone_goes_on_with_the_one_there_is_and_its_caller_is_told() -> None:
    """A shard of another version takes it over: a model that it lacks must cost a choice, and no word."""
    workshop = Workshop({"a": talk()})
    async with workshop.running():
        await workshop.open("a", model="of last year")
        await workshop.speak("a")
        await workshop.hang_up("a")
        records = await workshop.out_until_closed("a")

    assert text_of(records, "a") == workshop.scenes["a"].text
    assert {job.window.model for job in workshop.decoder.jobs} == {None}
    told = [record for record in records if isinstance(record, QualityChanged)]
    assert [(record.model, record.reason) for record in told] == [("large", "model_gone")]
