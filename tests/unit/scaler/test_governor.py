"""A shard measures itself once a second and does what its policies say."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scaler.governor import FEW_FINALS, Governor
from scaler.policy.desired import Bounds
from scaler.policy.health import Act, DeviceSigns, Verdict
from scaler.policy.load import ShardLoad
from streaming.decoding import Kind
from streaming.ladder import Ladder, Rung

LADDER = Ladder((Rung("small", "large"), Rung("small", "small")))


class Bench:
    """Two devices that are told what they say."""

    def __init__(self) -> None:
        self.wait_s = 0.0
        self.silent_s = [0.0, 0.0]
        self.ready = [True, True]
        self.verdicts: list[Verdict] = []
        self.rungs: list[Rung] = []
        self.measured = False

    def expected_wait_s(self) -> float:
        return self.wait_s

    def backlog_s(self) -> float:
        return self.wait_s

    def window_s(self, model: str, seconds: float, beam: int) -> float:
        del seconds, beam
        return 0.1 if model == "large" else 0.02

    def signs(self) -> Sequence[DeviceSigns]:
        return [
            DeviceSigns(name=f"cpu-{number}", ready=ready, silent_s=silent_s)
            for number, (ready, silent_s) in enumerate(zip(self.ready, self.silent_s, strict=True))
        ]

    def obey(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)

    def set_rung(self, rung: Rung) -> None:
        self.rungs.append(rung)


def test_a_quiet_shard_says_so() -> None:
    governor = Governor(LADDER, Bench(), name="a")
    assert governor.has_room(1000)  # nothing is known yet

    assert governor.tick([], 1.0) is None

    assert governor.load is not None
    assert (governor.load.name, governor.load.calls, governor.load.utilisation) == ("a", 0, (0.0, 0.0))
    assert governor.desired is not None
    assert governor.desired.shards == 1


def test_waiting_finals_bring_a_smaller_model_which_the_devices_are_told() -> None:
    bench = Bench()
    governor = Governor(LADDER, bench)
    bench.wait_s = 2.0

    step = governor.tick([0.0], 1.0)

    assert step is not None
    assert step.is_down
    assert governor.rung == LADDER[1]
    assert bench.rungs == [LADDER[1]]


def test_what_calls_ask_for_is_counted_at_every_rung_over_the_devices_that_are_fit() -> None:
    bench = Bench()
    governor = Governor(LADDER, bench)
    for second in range(10):
        governor.asked(Kind.FINAL, 5.0, second)
        governor.asked(Kind.PARTIAL, 3.0, second)

    governor.tick([0.0], 10.0)
    assert governor.load is not None
    both = governor.load.utilisation
    bench.ready = [True, False]
    governor.tick([0.0], 10.0)

    assert governor.load.utilisation == tuple(2 * used for used in both)
    assert both[0] > both[1]


def test_a_device_that_falls_silent_is_held_and_counts_no_more() -> None:
    bench = Bench()
    governor = Governor(LADDER, bench)
    governor.asked(Kind.FINAL, 5.0, 0.5)
    governor.tick([0.0], 1.0)
    assert governor.load is not None
    before = governor.load.utilisation[0]
    bench.silent_s = [1.5, 0.0]

    governor.tick([0.0], 1.1)

    assert [verdict.act for verdict in bench.verdicts] == [Act.HOLD]
    assert governor.load.utilisation[0] == 2 * before


def test_a_server_is_not_ready_before_its_first_device_was_measured() -> None:
    """Who asks whether it is ready and then calls must not be refused for want of a measurement."""
    bench = Bench()
    governor = Governor(LADDER, bench)
    assert not governor.served
    bench.ready = [False, False]
    governor.tick([], 1.0)
    assert not governor.served
    bench.ready = [True, False]
    governor.tick([], 2.0)
    assert governor.served
    assert governor.has_room(0)


def test_without_a_device_there_is_no_room_and_no_judgement_of_the_load() -> None:
    bench = Bench()
    governor = Governor(LADDER, bench)
    bench.ready = [False, False]
    bench.wait_s = 9.0
    governor.asked(Kind.FINAL, 5.0, 0.5)

    assert governor.tick([0.0], 1.0) is None
    assert governor.load is not None
    assert math.isinf(governor.load.wait_s)
    assert not governor.has_room(1)


def test_calls_that_came_since_the_last_look_use_up_room() -> None:
    governor = Governor(LADDER, Bench())
    governor.tick([0.0, 0.0], 1.0)
    assert governor.load is not None
    room = governor.load.room
    assert room > 0

    assert governor.has_room(2 + room - 1)
    assert not governor.has_room(2 + room)


def test_a_shard_that_knows_what_windows_cost_has_room_for_what_fits_at_its_best_rung() -> None:
    """Its devices looked before they were ready; without that it takes a few calls and sees."""
    bench = Bench()
    governor = Governor(LADDER, bench)
    governor.tick([], 1.0)
    assert governor.load is not None
    assumed = governor.load.room
    bench.measured = True
    governor.tick([], 2.0)

    assert assumed == int(0.25 * 0.92 / ((0.02 + 0.2 * 1.3 * 0.02) / 2))
    assert governor.load.room == int(0.92 / (1.25 * (0.02 + 0.2 * 1.3 * 0.1) / 2))


def test_a_shard_that_is_behind_has_no_room() -> None:
    bench = Bench()
    governor = Governor(LADDER, bench)
    bench.wait_s = 1.0

    governor.tick([0.0], 1.0)

    assert not governor.has_room(1)


def test_few_finals_say_nothing_about_the_95th_percentile() -> None:
    governor = Governor(LADDER, Bench())
    for _ in range(FEW_FINALS - 1):
        governor.final(2.0, 1.0)
    governor.tick([], 1.0)
    assert governor.load is not None
    assert governor.load.final_p95_s == 0.0

    governor.final(2.0, 1.0)
    governor.tick([], 2.0)
    assert governor.load.final_p95_s == 2.0
    governor.tick([], 60.0)
    assert governor.load.final_p95_s == 0.0


def test_the_others_count_for_how_many_shards_there_should_be() -> None:
    busy = ShardLoad(name="b", calls=30, room=0, rung=0, utilisation=(1.5,), wait_s=0.0)
    governor = Governor(LADDER, Bench(), others=lambda: [busy, busy])

    governor.tick([], 1.0)

    assert governor.desired is not None
    assert governor.desired.shards == 5


def test_what_is_above_the_promised_rung_is_spare_and_asks_for_no_shard() -> None:
    """One device, with 1.6 of it asked for at the best rung and 0.32 at the one that is promised."""
    bench = Bench()
    bench.ready = [True, False]
    governor = Governor(LADDER, bench, bounds=Bounds(promised=1))
    usual = Governor(LADDER, bench)
    for each in (governor, usual):
        for now in range(10):
            for _ in range(16):
                each.asked(Kind.FINAL, 5.0, now)
        each.tick([0.0], 10.0)

    assert governor.load is not None
    assert governor.told is not None
    assert governor.told.utilisation == governor.load.utilisation[1:]
    assert governor.told.rung == 0
    assert governor.below == -1
    assert governor.desired is not None
    assert usual.desired is not None
    assert usual.told == usual.load
    assert governor.desired.shards < usual.desired.shards
