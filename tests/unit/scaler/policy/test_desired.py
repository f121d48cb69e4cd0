"""There are as many shards as the promised quality needs, and warm ones for what may come."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.policy.desired import GIVE_UP_S, QUIET_S, QUIET_STARTS, SLACK, TARGET, Bounds, DesiredPolicy, Fleet
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


def test_one_burst_is_not_taken_for_what_happens_all_the_time() -> None:
    """350 calls came within ten seconds, once: that needs the ladder for half a minute, not twice the fleet for an
    hour. What was not seen yet of the hour counts as calm."""
    policy = DesiredPolicy(Bounds(cold_s=25.0))
    calls = [250] * 6 + [600] * 30
    warm = [policy.tick(Fleet(shards=[shard(each / 100, each)]), 10.0 * at).warm for at, each in enumerate(calls)]

    assert max(warm) == 1


def test_half_of_what_is_too_much_is_given_up_at_a_time_after_a_quiet_while() -> None:
    policy = DesiredPolicy(Bounds(cold_s=60.0))
    assert policy.tick(Fleet(shards=[shard(7.5)]), 0.0).shards == 11
    wanted = [policy.tick(Fleet(shards=[shard(0.3)]), now).shards for now in range(1, 2000)]

    changes = {now + 1: wanted[now] for now in range(1, len(wanted)) if wanted[now] != wanted[now - 1]}
    begins = 1 + QUIET_STARTS * 60.0
    # Two are needed, and one more stays.
    assert changes == {begins: 7, begins + GIVE_UP_S: 5, begins + 2 * GIVE_UP_S: 4, begins + 3 * GIVE_UP_S: 3}


@pytest.mark.parametrize(("cold_s", "quiet_s"), [(5.0, QUIET_S[0]), (60.0, 120.0), (500.0, QUIET_S[1])])
def test_the_longer_a_shard_takes_to_come_the_longer_one_too_many_is_kept(cold_s: float, quiet_s: float) -> None:
    policy = DesiredPolicy(Bounds(cold_s=cold_s))
    policy.tick(Fleet(shards=[shard(3.0)]), 0.0)
    wanted = [policy.tick(Fleet(shards=[shard(0.3)]), now).shards for now in range(1, 700)]

    assert wanted.index(4) == quiet_s


def test_what_is_needed_now_and_then_stays() -> None:
    """The highest need since the last giving up counts, not the one of the moment."""
    policy = DesiredPolicy(Bounds())
    policy.tick(Fleet(shards=[shard(7.5)]), 0.0)
    wanted = [policy.tick(Fleet(shards=[shard(4.5 if now % 20 == 0 else 0.3)]), now).shards for now in range(1, 1000)]

    assert wanted[-1] == 8  # seven, and one more


def test_none_is_given_up_while_any_shard_is_below_the_promised_rung_or_calls_are_refused() -> None:
    policy = DesiredPolicy(Bounds())
    policy.tick(Fleet(shards=[shard(3.0)]), 0.0)

    for now in range(1, 2000):
        strained = Fleet(shards=[shard(0.3, rung=now % 2)], waiting=(now + 1) % 2)
        assert policy.tick(strained, now).shards == 5


def test_of_a_large_fleet_one_shard_below_its_rung_keeps_nothing() -> None:
    """Among a hundred there always is one, by chance: moving its calls is the answer to that."""
    policy = DesiredPolicy(Bounds())
    shards = [shard(0.3, rung=int(at == 0)) for at in range(100)]
    wanted = [policy.tick(Fleet(shards=shards), now).shards for now in range(1000)]

    assert wanted[0] == 100
    assert wanted[-1] == 42  # 30 shards' work at 75 %, a warm one, and one more


@settings(max_examples=8, deadline=None)
@given(load=st.floats(0.0, 20.0), spread=st.floats(0.0, 0.1), seed=st.integers(0, 1 << 32))
def test_noise_on_a_constant_load_does_not_make_the_number_swing(load: float, spread: float, seed: int) -> None:
    """Every shard measures with a noise of its own. It may settle at the highest that it asks for, and stays there."""
    rng = thrown(seed)
    policy = DesiredPolicy(Bounds())
    count = max(1, math.ceil(load / TARGET))

    def measured() -> Fleet:
        return Fleet(shards=[shard(load / count * rng.uniform(1 - spread, 1 + spread)) for _ in range(count)])

    wanted = [policy.tick(measured(), float(now)).shards for now in range(0, 4800, 10)]

    turns = [later - earlier for earlier, later in itertools.pairwise(wanted) if later != earlier]
    ups_after_a_down = [at for at, turn in enumerate(turns) if turn > 0 and any(down < 0 for down in turns[:at])]
    assert len(ups_after_a_down) <= 1


@settings(max_examples=25, deadline=None)
@given(
    peak=st.floats(1.0, 60.0), after=st.floats(0.0, 20.0), cold_s=st.floats(5.0, 300.0), seed=st.integers(0, 1 << 32)
)
def test_a_fleet_that_follows_comes_down_to_what_is_needed_and_never_below(
    peak: float, after: float, cold_s: float, seed: int
) -> None:
    """The load is shared by as many shards as there are: what is measured follows what was decided."""
    rng = thrown(seed)
    policy = DesiredPolicy(Bounds(cold_s=cold_s))
    count = 2

    def follow(load: float, now: float) -> int:
        heard = load * rng.uniform(0.97, 1.03)
        shards = [shard(heard / count, calls=20) for _ in range(count)]
        return policy.tick(Fleet(shards=shards), now).shards

    for now in range(60):
        count = follow(peak, float(now))
    for now in range(60, 1200):
        count = follow(min(after, peak), float(now))
        assert count * TARGET >= 0.97 * min(after, peak)

    assert count <= math.ceil(1.03 * min(after, peak) / TARGET) + 1 + SLACK
