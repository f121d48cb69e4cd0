"""Calls come in while there is room for them, and not past it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.policy.admission import (
    FEW_CALLS,
    FRESH_S,
    FULL,
    LONGEST_RETRY_S,
    RETRY_S,
    SURE,
    AdmissionPolicy,
    Placed,
    Refused,
    at_once,
    room,
    unless_behind,
)
from scaler.policy.ladder import MODEL_DOWN
from scaler.policy.load import ShardLoad
from tests.support.dice import thrown


def shard(name: str = "a", left: int = 10, *, used: float = 0.5, draining: bool = False, at: float = 0.0) -> ShardLoad:
    return ShardLoad(
        name=name, calls=5, room=left, rung=0, utilisation=(used,), wait_s=0.0, draining=draining, seen_at=at
    )


def test_a_call_goes_where_there_is_room() -> None:
    policy = AdmissionPolicy(thrown(1))

    assert policy.decide([shard("full", 0), shard("closing", draining=True), shard("free")], 0.0) == Placed("free")


def test_calls_placed_since_the_shard_spoke_count() -> None:
    """It will see them a heartbeat later; until then only the gateway knows."""
    policy = AdmissionPolicy(thrown(1))
    decisions = [policy.decide([shard(left=2)], 0.1) for _ in range(3)]

    assert decisions[:2] == [Placed("a")] * 2
    assert isinstance(decisions[2], Refused)
    assert policy.decide([shard(left=1, at=0.2)], 0.3) == Placed("a")  # it has spoken again


def test_the_emptier_shards_get_more_but_not_all() -> None:
    """Two at random and the better of them: gateways that all choose the emptiest would fill it at once."""
    policy = AdmissionPolicy(thrown(1))
    shards = [shard("idle", 1000, used=0.1), shard("half", 1000, used=0.5), shard("busy", 1000, used=0.7)]

    placed = Counter(str(policy.decide(shards, 0.0)) for _ in range(300))

    assert [who for who, _ in placed.most_common()] == [str(Placed(name)) for name in ("idle", "half", "busy")]


def test_a_full_house_says_when_to_try_again() -> None:
    policy = AdmissionPolicy(thrown(1))

    refused = policy.decide([shard(left=0)], 0.0)

    assert isinstance(refused, Refused)
    assert refused.reason == "all shards are full"
    assert 0.8 * RETRY_S <= refused.retry_after_s <= 1.2 * RETRY_S


@pytest.mark.parametrize(("eta_s", "hint_s"), [(12.0, 12.0), (0.0, 1.0), (400.0, LONGEST_RETRY_S)])
def test_with_another_shard_on_its_way_the_hint_is_when_it_is_there(eta_s: float, hint_s: float) -> None:
    refused = AdmissionPolicy(thrown(1)).decide([shard(left=0)], 0.0, next_shard_s=eta_s)

    assert isinstance(refused, Refused)
    assert 0.8 * hint_s <= refused.retry_after_s <= 1.2 * hint_s


def test_what_a_shard_said_long_ago_is_not_believed() -> None:
    policy = AdmissionPolicy(thrown(1))

    refused = policy.decide([shard(at=0.0)], FRESH_S + 1)

    assert isinstance(refused, Refused)
    assert refused.reason == "no shard has been heard of lately"


def test_an_empty_shard_takes_only_some_calls_before_it_has_seen_any() -> None:
    """What was expected of a call may be wrong by much."""
    assert room(0.0, settled=0, young=0, expected=0.01) == 23
    assert room(0.0, settled=0, young=20, expected=0.01) == 3
    assert room(0.0, settled=0, young=0, expected=0.5) == 1
    assert room(0.0, settled=0, young=0, expected=0.1) == FEW_CALLS


def test_a_cold_shard_that_knows_what_windows_cost_takes_at_once_what_fits_at_its_best_rung() -> None:
    """It was measured before it was ready: there is nothing to find out with a few calls first."""
    assert at_once(0.0, 0.06) == 12
    assert room(0.0, settled=0, young=0, expected=0.015, sure=12) == 12
    assert room(0.0, settled=0, young=12, expected=0.015, sure=12) == 0


def test_a_shard_below_its_best_rung_still_grows_by_a_share_of_what_its_last_one_holds() -> None:
    """What does not fit at the best rung does at a lower one, a few calls at a time."""
    assert at_once(1.2, 0.06) == 0
    assert room(0.3, settled=20, young=0, expected=0.015, sure=0) == 15


def test_where_the_best_rung_holds_hardly_anybody_a_few_calls_are_taken_for_the_last_one() -> None:
    assert room(0.0, settled=0, young=0, expected=0.1, sure=1) == FEW_CALLS


def test_calls_so_dear_that_a_few_fill_the_last_rung_are_taken_with_the_care_that_many_are() -> None:
    """Three that each need a quarter more than was measured would be asked for more than all that there is."""
    assert room(0.0, settled=0, young=0, expected=0.28, sure=2) == 2
    assert room(0.56, settled=2, young=0, expected=0.28, sure=1) == 1
    assert room(0.0, settled=0, young=0, expected=2.0, sure=0) == 1


def test_an_empty_shard_takes_one_call_even_if_it_may_be_too_slow_for_it() -> None:
    """It would serve nobody for ever, whatever callers are really like."""
    assert room(0.0, settled=0, young=0, expected=2.0) == 1
    assert room(0.0, settled=0, young=1, expected=2.0) == 0


def test_a_shard_whose_finals_are_late_takes_nobody_whatever_it_should_be_able_to_do() -> None:
    """What was measured of windows may be wrong; that callers wait is not."""
    fine = shard(left=10)

    assert unless_behind(fine) is fine
    assert unless_behind(replace(fine, final_p95_s=MODEL_DOWN.p95_s + 0.1)).room == 0
    assert unless_behind(replace(fine, wait_s=MODEL_DOWN.wait_s + 0.1)).room == 0


def test_a_shard_without_calls_is_not_behind_for_how_late_its_last_finals_were() -> None:
    """Whoever had a recording written, faster than it was said, may call at once."""
    late = replace(shard(), calls=0, final_p95_s=MODEL_DOWN.p95_s + 0.1)

    assert unless_behind(late) is late
    assert unless_behind(replace(late, wait_s=MODEL_DOWN.wait_s + 0.1)).room == 0


def test_what_calls_turned_out_to_need_counts_more_than_what_was_expected() -> None:
    assert room(0.1, settled=50, young=0, expected=0.05) > room(0.8, settled=50, young=0, expected=0.001)
    assert room(0.95, settled=10, young=0, expected=0.01) == 0


@settings(max_examples=30, deadline=None)
@given(
    needs=st.floats(0.002, 0.2),
    expected=st.floats(0.002, 0.2),
    lag=st.integers(0, 15),
    per_second=st.integers(1, 50),
    seed=st.integers(0, 1 << 32),
)
def test_calls_are_never_taken_past_what_the_shard_can_do(
    needs: float, expected: float, lag: int, per_second: int, seed: int
) -> None:
    """However many come at once, however late their load shows, and if each needs up to twice what was expected."""
    expected = max(expected, needs / 2)
    policy = AdmissionPolicy(thrown(seed))
    joined: list[float] = []
    for now in range(240):
        seen = sum(1 for at in joined if now - at >= lag) * needs
        young = sum(1 for at in joined if now - at < 20)
        said = ShardLoad(
            name="a",
            calls=len(joined),
            room=room(seen, len(joined) - young, young, expected),
            rung=0,
            utilisation=(seen,),
            wait_s=0.0,
            seen_at=now,
        )
        joined += [now for _ in range(per_second) if isinstance(policy.decide([said], now), Placed)]

    assert len(joined) * needs <= max(1.0, needs)
    assert len(joined) >= int(FULL / max(needs, expected)) - 2 or len(joined) >= FEW_CALLS


@settings(max_examples=30, deadline=None)
@given(
    best=st.floats(0.01, 0.3),
    saved=st.floats(1.0, 6.0),
    more=st.floats(0.5, SURE),
    lag=st.integers(0, 15),
    per_second=st.integers(1, 50),
    seed=st.integers(0, 1 << 32),
)
def test_a_shard_that_knows_its_costs_fills_its_best_rung_at_once_and_its_last_one_in_time_and_neither_past_its_end(
    *, best: float, saved: float, more: float, lag: int, per_second: int, seed: int
) -> None:
    """However late the load of callers shows, and if they say a quarter more than was expected."""
    last = best / saved
    policy = AdmissionPolicy(thrown(seed))
    joined: list[float] = []
    for now in range(240):
        seen = sum(1 for at in joined if now - at >= lag) * more
        young = sum(1 for at in joined if now - at < 20)
        spare = room(seen * last, len(joined) - young, young, last, sure=at_once(seen * best, best))
        said = ShardLoad(
            name="a", calls=len(joined), room=spare, rung=0, utilisation=(seen * best,), wait_s=0.0, seen_at=now
        )
        if now == 0:
            assert spare >= min(int(FULL / (SURE * best)), int(FULL / last), FEW_CALLS)
            assert spare * best * more <= 1.0 or spare <= FEW_CALLS
        joined += [now for _ in range(per_second) if isinstance(policy.decide([said], now), Placed)]

    assert len(joined) * last * more <= max(1.0, last * more) + 1e-9
    assert len(joined) >= int(FULL / (last * max(more, 1.0))) - 2 or len(joined) >= FEW_CALLS
