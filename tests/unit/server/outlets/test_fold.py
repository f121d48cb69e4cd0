"""Which records of a slot are told, and where a successor begins."""

from __future__ import annotations

import json
import random
from collections import defaultdict

from server.outlets.documents import Document, Kind
from server.outlets.fold import Position, SlotFold
from streaming.records import Fence, OutRecord
from tests.support.dialects import partial
from tests.support.dice import dice
from tests.support.outputs import a_call, calls_in_a_slot, started


def fold(records: list[OutRecord], position: Position | None = None) -> tuple[SlotFold, list[tuple[int, Document]]]:
    position = position or Position()
    folding = SlotFold(position, transcripts=True)
    offsets = range(position.read_from, len(records))
    told = [(offset, document) for offset in offsets if (document := folding.take(offset, records[offset])) is not None]
    return folding, told


def test_records_of_former_owners_are_not_told() -> None:
    """The reducer's rule holds for everybody who reads."""
    records = [Fence(5, "new"), *a_call("call-1", 2, epoch=4)]
    assert fold(records)[1] == []


def test_a_slot_whose_fence_is_no_longer_kept_is_told_like_any_other() -> None:
    """Who begins late, a day after the slot's owner did, must not wait in silence for the next owner."""
    records = [Fence(4, "owner"), *a_call("call-1", 1, epoch=4), *a_call("call-2", 2, epoch=4)]
    late, told = fold(records, Position(read_from=4))
    assert [document.kind for _, document in told] == [Kind.STARTED, Kind.FINAL, Kind.FINAL, Kind.ENDED]
    for offset, _ in told:
        late.told(offset)
    assert late.position() == Position(read_from=8, epoch=4, told_to=8)


def test_what_a_former_owner_wrote_before_such_a_slots_own_is_told_and_what_it_writes_later_is_not() -> None:
    records = [*a_call("call-1", 1, epoch=3), *a_call("call-2", 1, epoch=4), *a_call("call-3", 1, epoch=3)]
    assert {document.call for _, document in fold(records)[1]} == {"call-1", "call-2"}


def test_a_successor_begins_after_what_was_told() -> None:
    """A restart repeats nothing that was noted."""
    records = [Fence(0, "owner"), *a_call("call-1", 2)]
    folding, told = fold(records)
    for offset, _ in told:
        folding.told(offset)
    assert folding.position() == Position(read_from=5, epoch=0, told_to=5)
    assert fold(records, folding.position())[1] == []


def test_a_document_under_way_holds_back_the_place_though_later_ones_are_told() -> None:
    """What is not told yet must be told by the successor."""
    records = [Fence(0, "owner"), *a_call("call-1", 3)]
    folding, told = fold(records)
    for offset, _ in told[1:]:
        folding.told(offset)
    assert folding.position().told_to == told[0][0]


def test_a_successor_reads_a_call_from_its_beginning_but_tells_only_the_rest() -> None:
    """The end of a call carries what was said before the restart too."""
    records = [Fence(0, "owner"), *a_call("call-1", 4)]
    first, told = fold(records[:4])
    for offset, _ in told:
        first.told(offset)
    position = first.position()
    assert (position.read_from, position.told_to) == (1, 4)
    rest = fold(records, position)[1]
    assert [document.kind for _, document in rest] == [Kind.FINAL, Kind.FINAL, Kind.ENDED]
    assert len(json.loads(rest[-1][1].json())["transcript"]) == 4


def test_partials_are_told_only_of_text_that_is_not_final_yet() -> None:
    """A partial that comes late would take a final back."""
    folding, _ = fold([Fence(0, "owner"), started("call-1")])
    assert folding.take_partial(partial("I would", 0.0, 1.0)) is not None
    folding, _ = fold([Fence(0, "owner"), *a_call("call-1", 1)[:2]])
    assert folding.take_partial(partial("I would", 0.0, 1.0)) is None


def test_whenever_it_is_restarted_everything_is_told_and_told_alike() -> None:
    """Random restarts, with documents told in any order: none is missing, and what comes twice is the same."""
    chance = dice()
    for _ in range(150):
        records = calls_in_a_slot(chance, calls=chance.randint(1, 6))
        undisturbed = {document.id: document.json() for _, document in fold(records)[1]}
        assert told_with_restarts(chance, records) == undisturbed


def told_with_restarts(chance: random.Random, records: list[OutRecord]) -> dict[str, bytes]:
    position = Position()
    heard: defaultdict[str, set[bytes]] = defaultdict(set)
    while True:
        folding = SlotFold(position, transcripts=True)
        under_way: list[tuple[int, Document]] = []
        stop_at = chance.randint(position.read_from, len(records) + 3)
        for offset in range(position.read_from, min(stop_at, len(records))):
            document = folding.take(offset, records[offset])
            if document is not None:
                under_way.append((offset, document))
            while under_way and (chance.random() < 0.4 or stop_at > len(records)):
                told_at, told = under_way.pop(chance.randrange(len(under_way)))
                heard[told.id].add(told.json())
                folding.told(told_at)
        position = folding.position()
        if stop_at > len(records):
            assert position.told_to == len(records)
            assert all(len(versions) == 1 for versions in heard.values())
            return {name: versions.pop() for name, versions in heard.items()}
