"""What a gateway of a cluster tells of its shards."""

from __future__ import annotations

from server.page.cluster import ClusterSampler
from streaming.control import LEASE_S, ControlView
from streaming.records import Claim, Heartbeat


def test_shards_are_shown_as_they_say_and_moves_are_told() -> None:
    """An operator sees who took whose calls, and when."""
    view = ControlView()
    now = [0.0]
    sampler = ClusterSampler(view, lambda: now[0], wall_clock=lambda: 50.0)
    for slot in range(3):
        view.read(slot, Claim(slot, "a", "a", "new"), now=0.0)
    view.read(3, Heartbeat("a", (0, 1, 2), 0.5, draining=False, calls=7), now=0.0)
    view.read(4, Heartbeat("b", (), 0.0, draining=False), now=0.0)

    first = sampler()
    assert [(shard.name, shard.calls, shard.slots, shard.load) for shard in first.shards] == [
        ("a", 7, 3, 0.5),
        ("b", 0, 0, 0.0),
    ]
    assert [(each.where, each.text) for each in first.happenings] == [("a", "serves"), ("b", "serves")]

    now[0] = LEASE_S + 1.0
    view.read(5, Heartbeat("b", (), 0.0, draining=False), now=now[0])
    for slot in range(3):
        view.read(6 + slot, Claim(slot, "b", "b", "lost"), now=now[0])
    told = sampler().happenings
    assert ("move", "b", "takes 3 slots of a") in [(each.what, each.where, each.text) for each in told]
    assert sampler().happenings == ()
