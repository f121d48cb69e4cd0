"""The leading shard moves slots from loaded shards to those with room, and all say how they fare."""

from __future__ import annotations

import pytest

from scaler.governor import Governor
from scaler.leading import Leading, Others
from streaming.control import ControlView
from streaming.records import Heartbeat
from tests.support.shards import LADDER, SceneDecoder


def view_of(*heartbeats: Heartbeat) -> ControlView:
    view = ControlView()
    for offset, heartbeat in enumerate(heartbeats):
        view.read(offset, heartbeat, now=0.0)
    return view


def beat(owner: str, load: float, *, draining: bool = False) -> Heartbeat:
    slots = tuple(range(10)) if owner == "a" else tuple(range(10, 20))
    return Heartbeat(owner, slots, load, draining, busy=slots if load else (), calls=10, room=7, wait_s=0.5)


@pytest.fixture
def others() -> Others:
    return Others()


@pytest.fixture
def leading(others: Others) -> Leading:
    return Leading("a", Governor(LADDER, SceneDecoder({})), others)


def test_a_slot_goes_from_a_full_shard_to_one_with_room(leading: Leading) -> None:
    view = view_of(beat("a", 0.95), beat("b", 0.3))

    assert list(leading.moves(view, now=0.1)) == [(0, "b")]
    assert list(leading.moves(view, now=0.2)) == []  # one look a second


def test_slots_leave_a_slow_shard_for_one_where_they_cost_less(leading: Leading) -> None:
    """At what they cost the slow device, three calls would fill any other: nobody would ever be helped."""
    slow = Heartbeat("a", (0, 1, 2), 1.5, False, busy=(0, 1, 2), calls=3, room=0, rung=2)
    quick = Heartbeat("b", (3, 4), 0.3, False, busy=(3, 4), calls=2, room=2)

    assert list(leading.moves(view_of(slow, quick), now=0.1)) == [(0, "b")]


def test_nothing_goes_to_a_shard_that_drains_or_is_gone(leading: Leading) -> None:
    assert list(leading.moves(view_of(beat("a", 0.95), beat("b", 0.0, draining=True)), now=0.1)) == []
    assert list(leading.moves(view_of(beat("a", 0.95), beat("b", 0.0)), now=60.0)) == []


def test_what_drains_is_left_to_the_coordinator(leading: Leading) -> None:
    """Two that empty the same shard would claim its slots twice."""
    assert list(leading.moves(view_of(beat("a", 0.95, draining=True), beat("b", 0.0)), now=0.1)) == []


def test_what_the_others_say_is_heard_and_nothing_of_ourselves(leading: Leading, others: Others) -> None:
    leading.hear(view_of(beat("a", 0.9), beat("b", 0.3)), now=0.1)

    [heard] = others()
    assert (heard.name, heard.utilisation, heard.room, heard.wait_s) == ("b", (0.3,), 7, 0.5)
    assert leading.load() is None


def test_shards_that_take_calls_are_counted_this_one_among_them(leading: Leading, others: Others) -> None:
    """As gateways count them: whoever asks a shard, and no gateway, must not hear that there are none."""
    homeless = Heartbeat("c", (), 0.0, draining=False)
    leading.hear(view_of(beat("a", 0.9), beat("b", 0.3), beat("d", 0.1, draining=True), homeless), now=0.1)

    assert others.ready == 2
