"""The load feed: what is kept, what late comers get, what is told."""

from __future__ import annotations

import json

from server.dialect import Close, Ill, Send, Trouble
from server.page.load import (
    KEPT,
    KEPT_CHARACTERS,
    DeviceLoad,
    Finals,
    Happening,
    LoadDialect,
    LoadHistory,
    Sample,
    ShardLoad,
)


def no_finals() -> Finals:
    return Finals(None, None, 0)


def sample() -> Sample:
    device = DeviceLoad(name="cpu-0", state="ready", utilisation=1 / 3, final_wait_s=0.0)
    shard = ShardLoad(name="standalone", calls=2, slots=64, devices=(device,))
    return Sample((shard,), (Happening(at=7.0, what="device", where="cpu-0", text="ready"),))


def test_a_sample_says_what_is_known_and_rounds_it() -> None:
    """Sixteen digits of a share are a line of noise in every frame."""
    history = LoadHistory(sample, lambda: 3, no_finals, wall_clock=lambda: 100.0)
    history.take()
    taken, (frame,) = history.after(0)

    told = json.loads(frame)
    assert taken == 1
    assert (told["type"], told["at"], told["calls"]) == ("load", 100.0, 3)
    (shard,) = told["shards"]
    assert shard["devices"][0]["utilisation"] == 0.3333
    assert told["finals"] == {"p50_s": None, "p95_s": None, "count": 0}
    assert told["happenings"] == [{"at": 7.0, "what": "device", "where": "cpu-0", "text": "ready"}]


def test_who_comes_late_gets_the_last_minutes_and_who_stays_only_what_is_new() -> None:
    """A plot that begins empty says nothing for two minutes."""
    history = LoadHistory(Sample, lambda: 0, no_finals)
    for _ in range(KEPT + 5):
        history.take()

    dialect = LoadDialect(history)
    assert len(dialect.begin(0.0)) == KEPT
    assert dialect.tick(1.0) == []
    history.take()
    assert len(dialect.tick(dialect.deadline)) == 1
    assert dialect.receive("hello", 2.0) == dialect.hung_up() == []


def test_many_devices_do_not_fill_the_outbox_of_who_has_just_come() -> None:
    """What is kept is bounded in characters, too."""
    devices = tuple(DeviceLoad(name=f"cuda:{number}", state="ready") for number in range(64))
    history = LoadHistory(
        lambda: Sample((ShardLoad(name="s", calls=0, slots=1, devices=devices),)), lambda: 0, no_finals
    )
    for _ in range(KEPT):
        history.take()

    _, frames = history.after(0)
    assert 1 < len(frames) < KEPT
    assert sum(map(len, frames)) <= KEPT_CHARACTERS


def test_watchers_are_told_why_it_ends() -> None:
    """Where the server stops they connect again."""
    said, closed = LoadDialect(LoadHistory(Sample, lambda: 0, no_finals)).deliver(Trouble(Ill.DRAINING, "later"), 0.0)

    assert isinstance(said, Send)
    assert json.loads(said.payload)["code"] == "draining"
    assert closed == Close(1012, "draining")
