"""There are as many shards as the promised quality needs, and warm ones for what may come."""

from __future__ import annotations

import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.policy.desired import GIVE_UP_S, QUIET_S, Bounds, DesiredPolicy, Fleet
from scaler.policy.load import ShardLoad
from tests.support.dice import thrown


def shard(used: float, calls: int = 30, *, rung: int = 0, wait_s: float = 0.0) -> ShardLoad:
    return ShardLoad(name="a", calls=calls, room=0, rung=rung, utilisation=(used, used / 2), wait_s=wait_s)


def growing(step: int) -> Fleet:
    """25 calls more at each step, each a hundredth of a shard."""
    return Fleet(shards=[shard(0.25 * step, 25 * step)])


def test_nothing_to_do_needs_the_least_there_may_be() -> None:
    assert DesiredPolicy(Bounds(least=2)).tick(Fleet(shards=[]), 0.0).shards == 2


def test_shards_are_provided_for_three_quarters_of_what_they_can_do_and_one_more_is_warm() -> None:
    desired = DesiredPolicy(Bounds()).tick(Fleet(shards=[shard(0.9), shard(0.6)]), 0.0)

    assert (desired.shards, desired.warm) == (3, 1)
    assert desired.reason == "1.5 shards' work, 1 warm"


def test_a_ladder_that_hides_the_overload_does_not_hide_the_need() -> None:
    """Utilisation is counted at the promised rung, whatever is in force."""
    hidden = Fleet(shards=[shard(2.0, rung=1)])

    assert DesiredPolicy(Bounds()).tick(hidden, 0.0).shards == 4
    assert DesiredPolicy(Bounds(promised=1)).tick(hidden, 0.0).shards == 3


def test_finals_that_wait_ask_for_more_whatever_the_utilisation_says() -> None:
    desired = DesiredPolicy(Bounds()).tick(Fleet(shards=[shard(0.1, wait_s=32.0), shard(0.1, wait_s=28.0)]), 0.0)

    assert desired.shards == 7
    assert desired.reason == "finals wait 30 s"


def test_nothing_is_added_for_them_while_the_last_addition_is_on_its_way() -> None:
    fleet = Fleet(shards=[shard(0.1, wait_s=60.0)], starting=1)

    assert DesiredPolicy(Bounds()).tick(fleet, 0.0).shards == 2


def test_a_shard_without_a_device_says_nothing_of_waits() -> None:
    assert DesiredPolicy(Bounds()).tick(Fleet(shards=[shard(0.1, wait_s=math.inf)]), 0.0).shards == 2


def test_a_shard_whose_devices_all_died_does_not_ask_for_infinitely_many() -> None:
    """It crashed the shard, once."""
    fleet = Fleet(shards=[shard(math.inf, wait_s=math.inf), shard(0.7)])

    assert DesiredPolicy(Bounds()).tick(fleet, 0.0).shards == 2


def test_calls_that_were_refused_are_provided_for() -> None:
    """Else a fleet that refuses would look as if it had just enough."""
    assert DesiredPolicy(Bounds()).tick(Fleet(shards=[shard(0.75, 10)], waiting=20), 0.0).shards == 4


def test_there_is_never_more_than_the_most() -> None:
    assert DesiredPolicy(Bounds(most=5)).tick(Fleet(shards=[shard(80.0)]), 0.0).shards == 5


def test_as_many_are_warm_as_calls_grow_while_a_cold_one_starts() -> None:
    """A quarter of a shard's calls more every ten seconds, a minute to start: a shard and a half, at 75 %."""
    policy = DesiredPolicy(Bounds(cold_s=60.0))
    warm = [policy.tick(growing(step), 10.0 * step).warm for step in range(100)]

    assert warm[-1] == 2


def test_what_was_grown_an_hour_ago_is_forgotten() -> None:
    policy = DesiredPolicy(Bounds(cold_s=60.0))
    for step in range(100):
        policy.tick(growing(step), 10.0 * step)
    warm = [policy.tick(Fleet(shards=[shard(0.5, 50)]), 10.0 * step).warm for step in range(100, 500)]

    assert warm[-1] == 1


def test_too_many_are_given_up_one_by_one_after_a_quiet_while() -> None:
    policy = DesiredPolicy(Bounds())
    assert policy.tick(Fleet(shards=[shard(3.0)]), 0.0).shards == 5
    wanted = [policy.tick(Fleet(shards=[shard(0.3)]), now).shards for now in range(1, 2000)]

    changes = [now + 1 for now in range(1, len(wanted)) if wanted[now] != wanted[now - 1]]
    assert changes == [QUIET_S + 1, QUIET_S + 1 + GIVE_UP_S]
    assert wanted[-1] == 3  # one more than is needed stays


def test_none_is_given_up_while_any_shard_is_below_the_promised_rung_or_calls_are_refused() -> None:
    policy = DesiredPolicy(Bounds())
    policy.tick(Fleet(shards=[shard(3.0)]), 0.0)

    for now in range(1, 2000):
        strained = Fleet(shards=[shard(0.3, rung=now % 2)], waiting=(now + 1) % 2)
        assert policy.tick(strained, now).shards == 5


@settings(max_examples=8, deadline=None)
@given(load=st.floats(0.0, 20.0), spread=st.floats(0.0, 0.1), seed=st.integers(0, 1 << 32))
def test_noise_on_a_constant_load_does_not_make_the_number_swing(load: float, spread: float, seed: int) -> None:
    """It may settle at the highest that the noise asks for, and stays there."""
    rng = thrown(seed)
    policy = DesiredPolicy(Bounds())

    wanted = [
        policy.tick(Fleet(shards=[shard(load * rng.uniform(1 - spread, 1 + spread), 50)]), float(now)).shards
        for now in range(0, 4800, 10)
    ]

    turns = [later - earlier for earlier, later in itertools.pairwise(wanted) if later != earlier]
    ups_after_a_down = [at for at, turn in enumerate(turns) if turn > 0 and any(down < 0 for down in turns[:at])]
    assert len(ups_after_a_down) <= 1
