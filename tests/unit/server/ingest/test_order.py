"""Records put in order, and placed on the call's clock."""

from __future__ import annotations

from server.ingest.cloud_events import Chunk
from server.ingest.order import HELD, WAIT_S, Clocks, Numbered, Order
from streaming.call import AudioFormat, Encoding
from streaming.records import ALL_CHANNELS
from tests.support.dice import dice

MULAW = AudioFormat(Encoding.MULAW, 8000)


def chunk(*, ms: int = 100, offset_ms: int | None = None, channel: int = 0) -> Chunk:
    return Chunk("call-1", None, channel, offset_ms, MULAW, b"\xff" * (8 * ms))


def numbered(number: int, offset: int = 0) -> Numbered:
    return Numbered(number, True, offset, chunk())


def numbers(records: list[Numbered]) -> list[int]:
    return [record.number for record in records]


def test_what_is_in_order_is_not_delayed() -> None:
    """Order costs nothing where it is kept already."""
    order = Order()
    assert [numbers(order.push(numbered(number), 0.0)[0]) for number in range(3)] == [[0], [1], [2]]


def test_some_count_from_one() -> None:
    """Nothing is missing before it."""
    order = Order()
    assert numbers(order.push(numbered(1), 0.0)[0]) == [1]


def test_what_comes_early_waits_for_what_is_missing() -> None:
    """And then both are given out."""
    order = Order(first=5)
    assert order.push(numbered(6), 1.0)[0] == []
    assert order.deadline == 1.0 + WAIT_S
    assert numbers(order.push(numbered(5), 1.5)[0]) == [5, 6]
    assert order.deadline == float("inf")


def test_what_never_comes_is_given_up_and_counted() -> None:
    """A lost record must not hold a call for ever."""
    order = Order(first=0)
    order.push(numbered(2), 0.0)
    order.push(numbered(3), 0.0)
    assert numbers(order.skip()) == [2, 3]
    assert order.missing == 2


def test_it_is_given_up_sooner_if_much_waits_for_it() -> None:
    """Memory is bounded, whatever a producer does."""
    order = Order(first=0)
    for number in range(1, HELD):
        assert order.push(numbered(number), 0.0)[0] == []
    assert len(order.push(numbered(HELD), 0.0)[0]) == HELD


def test_what_was_had_before_is_dropped_by_its_offset() -> None:
    """Producers and brokers write at least once."""
    order = Order(first=3)
    assert order.push(numbered(2, offset=17), 0.0) == ([], [17])
    order.push(numbered(5, offset=18), 0.0)
    assert order.push(numbered(5, offset=19), 0.0) == ([], [19])


def test_records_that_are_not_counted_keep_the_order_of_the_topic() -> None:
    """Their offsets have gaps where other calls' records lie; only what was had is dropped."""
    order = Order(first=8)
    given = [order.push(Numbered(at, False, at, chunk()), 0.0) for at in (7, 8, 12)]
    assert [(numbers(ready), had) for ready, had in given] == [([], [7]), ([8], []), ([12], [])]


def test_any_order_with_repeats_comes_out_counted_up_and_once() -> None:
    """At random, within what is held."""
    chance = dice()
    for _ in range(200):
        sent = [number for number in range(60) for _ in range(chance.choice((1, 1, 2)))]
        for _ in range(30):
            at = chance.randrange(len(sent) - 1)
            sent[at], sent[at + 1] = sent[at + 1], sent[at]
        order = Order(first=0)
        given = [number for each in sent for number in numbers(order.push(numbered(each), 0.0)[0])]
        assert given + numbers(order.flush()) == list(range(60))


def test_a_missing_record_leaves_its_time() -> None:
    """Where no stamps say how long it was, it was as long as the one before."""
    clocks = Clocks(MULAW)
    assert clocks.place(chunk(), 0) == 0
    assert clocks.place(chunk(), 2) == 2400
    assert clocks.end_s == 0.4


def test_stamps_place_audio_but_do_not_cut_it_by_their_rounding() -> None:
    """A stamp a few milliseconds off is no gap; one that is far off is."""
    clocks = Clocks(MULAW)
    assert clocks.place(chunk(offset_ms=0), 0) == 0
    assert clocks.place(chunk(offset_ms=105), 0) == 800
    assert clocks.place(chunk(offset_ms=900), 3) == 7200


def test_sides_have_clocks_of_their_own() -> None:
    """One side may be silent while the other speaks."""
    clocks = Clocks(AudioFormat(Encoding.MULAW, 8000, 2))
    assert clocks.place(chunk(channel=1), 0) == 0
    assert clocks.place(chunk(channel=1), 0) == 800
    assert clocks.place(chunk(channel=0), 0) == 0


def test_a_call_taken_over_goes_on_where_the_log_has_it() -> None:
    """By side, and for both at once."""
    clocks = Clocks(AudioFormat(Encoding.MULAW, 8000, 2), heard=(1600, 800))
    assert clocks.place(chunk(channel=1), 0) == 800
    assert clocks.place(chunk(channel=ALL_CHANNELS), 0) == 1600
