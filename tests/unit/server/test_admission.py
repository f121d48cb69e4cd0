"""Admission by counting, and the directory that counts."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from server.admission import SPREAD, Accepted, CountingAdmission, Refused
from server.directory import ENDED_KEPT, Directory, Place
from streaming.call import AudioFormat, CallSpec, Encoding
from streaming.log import Topic
from streaming.log.memory import MemoryLog
from streaming.record_codec import decode
from streaming.records import CallPlaced, CallRemoved
from tests.support.dice import thrown


def spec(call: str, tenant: str = "acme") -> CallSpec:
    return CallSpec(call=call, tenant=tenant, audio=AudioFormat(Encoding.MULAW, 8000), labels=("customer",))


def admission(directory: Directory, slots: Collection[int] = range(3), calls: int = 4) -> CountingAdmission:
    return CountingAdmission(
        directory, lambda: slots, max_calls=calls, max_calls_per_tenant=3, retry_after_s=5.0, rng=thrown(1)
    )


def admit(directory: Directory, call: str, tenant: str = "acme") -> Accepted | Refused:
    decision = admission(directory).decide(spec(call, tenant), 0.0)
    if isinstance(decision, Accepted):
        directory.place(spec(call, tenant), decision.slot)
    return decision


def test_calls_are_spread_over_the_slots() -> None:
    """A slot is what moves and replays: the fewer calls in it, the better."""
    directory = Directory(MemoryLog(slots=3))
    assert [admit(directory, call) for call in "abc"] == [Accepted(0), Accepted(1), Accepted(2)]
    directory.end("b")
    assert admit(directory, "d") == Accepted(1)


def test_the_limits_of_a_tenant_and_of_all_are_different_answers() -> None:
    """429 tells one customer, 503 tells everybody."""
    directory = Directory(MemoryLog(slots=3))
    for call in "abc":
        admit(directory, call)
    refused = admit(directory, "d")
    assert isinstance(refused, Refused)
    assert (refused.status, refused.code) == (429, "overloaded")
    assert isinstance(admit(directory, "d", "other"), Accepted)
    full = admission(directory).room("third", 0.0)
    assert full is not None
    assert full.status == 503


def test_callers_who_are_refused_together_are_told_to_come_back_at_different_times() -> None:
    """Hundreds that are turned away in a burst would be the next burst; the same seed spreads them the same way."""
    directory = Directory(MemoryLog(slots=3))
    full = admission(directory, calls=0)
    told = [refused.retry_after_s or 0.0 for refused in (full.room("acme", 0.0) for _ in range(100)) if refused]
    again = admission(directory, calls=0)
    first = again.room("acme", 0.0)

    assert len(told) == 100
    assert min(told) >= 5.0
    assert max(told) <= SPREAD * 5.0
    assert max(sum(low <= wait < low + 1.0 for wait in told) for low in range(5, 10)) < 40
    assert first is not None
    assert first.retry_after_s == told[0]


def test_an_id_is_refused_while_its_call_is_known_even_if_it_is_over() -> None:
    """A second call of the same id would be written into the first one's transcript."""
    directory = Directory(MemoryLog(slots=3))
    admit(directory, "a")
    refused = admit(directory, "a")
    assert isinstance(refused, Refused)
    assert (refused.code, refused.retry_after_s) == ("duplicate_call", None)
    directory.end("a")
    directory.end("a")
    assert isinstance(admit(directory, "a"), Refused)


def test_nothing_is_admitted_where_no_slot_is_served() -> None:
    refused = admission(Directory(MemoryLog(slots=1)), slots=()).room("acme", 0.0)
    assert refused is not None
    assert refused.status == 503


def test_an_ended_call_is_still_found_until_too_many_came_after_it() -> None:
    directory = Directory(MemoryLog(slots=1))
    directory.place(spec("first"), 0)
    directory.end("first")
    assert directory.find("first") == Place(spec("first"), 0)
    for number in range(ENDED_KEPT):
        directory.place(spec(str(number)), 0)
        directory.end(str(number))
    assert directory.find("first") is None
    assert directory.live == directory.live_of("acme") == 0


async def theirs_has_read_too() -> None:
    """Let every task that is ready run: readers of one record wake in no particular order."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_gateways_tell_one_another_through_the_log() -> None:
    """A duplicate is a duplicate whichever gateway it comes to."""
    log = MemoryLog(slots=4)
    ours, theirs = Directory(log), Directory(log)
    reader = log.reader(Topic.CALLS)
    reader.assign({0: 0})
    tasks = [asyncio.create_task(ours.run()), asyncio.create_task(theirs.run())]
    ours.place(spec("a"), 3)
    assert [decode(entry.value) for entry in await reader.next()] == [CallPlaced(spec("a"), 3)]
    await theirs_has_read_too()
    assert theirs.find("a") == Place(spec("a"), 3)
    ours.end("a")
    assert [decode(entry.value) for entry in await reader.next()] == [CallRemoved("a")]
    await theirs_has_read_too()
    assert (theirs.is_live("a"), theirs.live, ours.live) == (False, 0, 0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await reader.close()
