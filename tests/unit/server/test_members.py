"""Which shards take calls, as a gateway knows it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from server.directory import Directory
from server.members import Members
from server.metrics import Metrics
from streaming.call import AudioFormat, CallSpec, Encoding
from streaming.control import HEARTBEAT_S, LEASE_S
from streaming.log.memory import MemoryLog
from streaming.records import Heartbeat


def test_shards_that_take_calls_are_counted_for_whoever_watches() -> None:
    """One that drains, serves nothing or has fallen silent is not there for new calls, and an alert must know."""
    registry = CollectorRegistry()
    now = 0.0
    members = Members(MemoryLog(4), Metrics(registry), lambda: now)
    for offset, beat in enumerate(
        (
            Heartbeat("a", (0, 1), 0.5, draining=False),
            Heartbeat("b", (2,), 0.5, draining=True),
            Heartbeat("c", (), 0.5, draining=False),
            Heartbeat("d", (3,), 0.5, draining=False),
        )
    ):
        members.view.read(offset, beat, now=now)
    assert registry.get_sample_value("trunkline_ready_shards") == 2

    while now <= LEASE_S:
        now += HEARTBEAT_S
        members.view.read(4, Heartbeat("a", (0, 1), 0.5, draining=False), now=now)
    assert registry.get_sample_value("trunkline_ready_shards") == 1


def test_a_new_call_goes_only_where_there_is_room_for_it() -> None:
    """Calls it cannot know of yet count; a shard of an older version does not say, and is believed to have room."""
    log = MemoryLog(8)
    members = Members(log, Metrics(CollectorRegistry()), lambda: 0.0)
    directory = Directory(log)
    members.view.read(0, Heartbeat("full", (0, 1), 0.1, draining=False, calls=3, room=0), now=0.0)
    assert members.slots(directory) == ()
    counting = Members(log, Metrics(CollectorRegistry()), lambda: 0.0, by_load=False)
    counting.view.read(0, Heartbeat("full", (0, 1), 0.1, draining=False, calls=3, room=0), now=0.0)
    assert counting.slots(directory) == (0, 1)  # whoever set it so wants no measurement to refuse calls

    members.view.read(1, Heartbeat("some", (2, 3), 0.8, draining=False, room=1), now=0.0)
    assert members.slots(directory) == (2, 3)
    directory.place(CallSpec("call", "tenant", AudioFormat(Encoding.MULAW, 8000), ("side",)), 2)
    assert members.slots(directory) == ()

    members.view.read(2, Heartbeat("older", (4,), 0.9, draining=False), now=0.0)
    assert members.slots(directory) == (4,)
