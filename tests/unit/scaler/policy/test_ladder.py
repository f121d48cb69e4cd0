"""A shard goes down the ladder at once, comes back slowly, and never swings."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.policy.ladder import (
    MODEL_CALM_S,
    MODEL_REST_S,
    MOST_PATIENCE,
    PACE_CALM_S,
    LadderPolicy,
    Marks,
    Step,
)
from scaler.policy.load import P95_WINDOW_S, ShardLoad
from tests.support.dice import thrown

MODELS = ("large", "medium", "small")
PACES = ("large", "large", "large", "small")


def load(
    wait_s: float = 0.0,
    *,
    used: Sequence[float] = (0.5, 0.3, 0.2, 0.1),
    p95_s: float = 0.5,
    backlog_s: float = 0.0,
    rung: int = 0,
) -> ShardLoad:
    return ShardLoad(
        name="a",
        calls=10,
        room=10,
        rung=rung,
        utilisation=tuple(used),
        wait_s=wait_s,
        backlog_s=backlog_s,
        final_p95_s=p95_s,
    )


def test_without_load_nothing_changes() -> None:
    policy = LadderPolicy(MODELS)

    assert [policy.tick(load(), now) for now in range(100)] == [None] * 100


def test_a_ladder_has_no_rung_beyond_its_last() -> None:
    with pytest.raises(ValueError, match="no rung 3 on a ladder of 3"):
        LadderPolicy(MODELS, rung=3)


def test_a_smaller_model_takes_over_after_two_hot_seconds() -> None:
    """One hot second is a hiccup; two in a row are load."""
    policy = LadderPolicy(MODELS)

    assert policy.tick(load(1.0), 0.0) is None
    assert policy.tick(load(0.0), 1.0) is None
    assert policy.tick(load(1.0), 2.0) is None
    assert policy.tick(load(1.0), 3.0) == Step(1, 0, "finals wait 1.0 s, more than 0.8 s")
    assert policy.rung == 1


def test_partials_slow_down_after_two_hot_seconds() -> None:
    """A slower pace costs nobody much, but one batch before a final is no line: two looks in a row see one."""
    policy = LadderPolicy(PACES)

    assert policy.tick(load(0.5), 0.0) is None
    assert policy.tick(load(0.5), 1.0) == Step(1, 0, "finals wait 0.5 s, more than 0.4 s")
    assert policy.tick(load(0.5), 1.5) is None  # the first step must have had a chance
    assert policy.tick(load(0.5), 2.0) == Step(2, 1, "finals wait 0.5 s, more than 0.4 s")


@given(looks=st.lists(st.tuples(st.floats(0.0, 0.4), st.floats(0.0, 1.5), st.floats(0.0, 4.0)), max_size=40))
def test_what_is_over_at_the_next_look_moves_nothing(looks: Sequence[tuple[float, float, float]]) -> None:
    """Batches are seen while they run, at any moment of theirs: short of an emergency, each by itself says nothing."""
    policy = LadderPolicy(PACES)
    seen = [each for calm, hot, behind in looks for each in (load(hot, backlog_s=behind), load(calm))]

    assert [step for now, each in enumerate(seen) if (step := policy.tick(each, now))] == []


@pytest.mark.parametrize(
    ("hot", "reason"),
    [
        (load(backlog_s=5.0), "5.0 s of work lie before the devices, more than 4 s"),
        (load(p95_s=2.5), "p95 of finals is 2.5 s, above 2.4 s"),
        (load(2.0), "finals wait 2.0 s, more than 1.5 s"),
    ],
)
def test_an_emergency_is_not_looked_at_twice(hot: ShardLoad, reason: str) -> None:
    assert LadderPolicy(MODELS).tick(hot, 0.0) == Step(1, 0, reason)


def test_more_than_devices_can_do_is_a_reason_before_anything_waits() -> None:
    policy = LadderPolicy(MODELS)
    asked = load(used=(1.2, 0.8, 0.4))

    assert [policy.tick(asked, now) for now in (0.0, 1.0)] == [
        None,
        Step(1, 0, "devices are asked for 120% of what they can do, more than 95%"),
    ]


def test_long_waits_take_two_rungs_at_a_time_but_none_that_is_not_there() -> None:
    policy = LadderPolicy(MODELS)

    assert policy.tick(load(4.0), 0.0) == Step(2, 0, "finals wait 4.0 s, more than 1.5 s")
    assert policy.tick(load(4.0), 10.0) is None


def test_latency_of_the_time_before_a_step_does_not_cause_the_next() -> None:
    """Else every spike would end on the last rung: a 95th percentile over 5 s stays bad for 5 s."""
    policy = LadderPolicy(MODELS)
    bad = load(p95_s=2.8)

    steps = [policy.tick(bad, now) for now in range(8)]

    assert [step.rung for step in steps if step] == [1, 2]
    assert steps.index(next(step for step in steps if step and step.rung == 2)) == P95_WINDOW_S


def test_devices_that_start_are_not_taken_for_devices_that_are_busy() -> None:
    policy = LadderPolicy(MODELS)

    assert [policy.tick(load(math.inf), now) for now in range(60)] == [None] * 60


def test_calm_brings_back_the_pace_soon_and_the_model_later() -> None:
    policy = LadderPolicy(PACES, rung=3)
    calm = load(used=(0.4, 0.4, 0.4, 0.1))

    changed = {step.rung: now for now in range(200) if (step := policy.tick(calm, now))}

    assert changed == {2: MODEL_CALM_S, 1: MODEL_CALM_S + PACE_CALM_S + 1, 0: MODEL_CALM_S + 2 * (PACE_CALM_S + 1)}


def test_a_start_of_devices_interrupts_the_calm() -> None:
    policy = LadderPolicy(MODELS, rung=1)
    for now in range(int(MODEL_CALM_S)):
        assert policy.tick(load(), now) is None
    assert policy.tick(load(math.inf), MODEL_CALM_S) is None

    assert policy.tick(load(), MODEL_CALM_S + 1) is None


def test_a_rung_that_would_be_full_is_not_climbed_to() -> None:
    """What counts is the load at the rung above: below it everything looks calm."""
    policy = LadderPolicy(MODELS, rung=1)

    assert [policy.tick(load(used=(0.8, 0.4, 0.2)), now) for now in range(100)] == [None] * 100


def test_a_rung_that_did_not_hold_is_tried_again_later_and_later() -> None:
    """The measurements say that it would hold, and it does not: a model slower than it was thought to be."""
    policy = LadderPolicy(MODELS, rung=1)
    climbs: list[float] = []
    for now in range(4 * 3600):
        step = policy.tick(load(2.0 if policy.rung == 0 else 0.0), now)
        if step and not step.is_down:
            climbs.append(now)

    rests = [later - earlier for earlier, later in itertools.pairwise(climbs)]
    assert rests[:3] == sorted(rests[:3])
    assert min(rests[5:]) >= MODEL_REST_S * MOST_PATIENCE


def test_a_rung_that_held_is_forgiven() -> None:
    policy = LadderPolicy(MODELS, rung=1)
    now = _climb(policy, 0.0)
    assert policy.tick(load(2.0), now + 5) is not None
    now = _climb(policy, now + 5)
    assert policy.tick(load(2.0), now + 1000) is not None  # it held for a quarter of an hour

    assert _climb(policy, now + 1000) <= now + 1000 + MODEL_REST_S + 1


def _climb(policy: LadderPolicy, since: float) -> float:
    now = since
    while not (step := policy.tick(load(), now)) or step.is_down:
        now += 1
    return now


class Queue:
    """A shard as a tank: work flows in, and out as fast as the rung allows."""

    def __init__(self, policy: LadderPolicy, costs: Sequence[float], noise: random.Random, spread: float) -> None:
        self.policy = policy
        self.costs = costs
        self.noise = noise
        self.spread = spread
        self.backlog_s = 0.0

    def second(self, demand: float, now: float) -> Step | None:
        self.backlog_s = max(0.0, self.backlog_s + demand * self.costs[self.policy.rung] - 1)
        heard = demand * self.noise.uniform(1 - self.spread, 1 + self.spread)
        measured = load(
            self.backlog_s,
            backlog_s=self.backlog_s,
            p95_s=0.3 + self.backlog_s,
            used=[heard * cost for cost in self.costs],
            rung=self.policy.rung,
        )
        return self.policy.tick(measured, now)


COSTS = st.lists(st.floats(0.3, 0.9), min_size=1, max_size=4)
LEVELS: Sequence[Callable[[int], object]] = (lambda rung: rung, lambda rung: rung // 2, lambda _: "one")


@settings(max_examples=40, deadline=None)
@given(ratios=COSTS, demand=st.floats(0.0, 3.0), seed=st.integers(0, 1 << 32), levels=st.sampled_from(LEVELS))
def test_on_constant_load_it_never_oscillates(
    ratios: Sequence[float], demand: float, seed: int, levels: Callable[[int], object]
) -> None:
    """Down to where it holds, perhaps up again after the queue is gone, and there it stays; noise moves nothing."""
    costs = [math.prod(ratios[:rung]) for rung in range(len(ratios) + 1)]
    policy = LadderPolicy([levels(rung) for rung in range(len(costs))])
    queue = Queue(policy, costs, thrown(seed), spread=0.05)

    steps = [step for now in range(600) if (step := queue.second(demand, now))]

    turns = [step.is_down for step in steps]
    assert turns == sorted(turns, reverse=True), steps


@settings(max_examples=25, deadline=None)
@given(ratios=COSTS, peak=st.floats(0.5, 5.0), lasts=st.integers(1, 200), seed=st.integers(0, 1 << 32))
def test_after_the_load_has_left_the_best_rung_comes_back(
    ratios: Sequence[float], peak: float, lasts: int, seed: int
) -> None:
    costs = [math.prod(ratios[:rung]) for rung in range(len(ratios) + 1)]
    policy = LadderPolicy(range(len(costs)))
    queue = Queue(policy, costs, thrown(seed), spread=0.1)
    for now in range(lasts):
        queue.second(peak, now)
    queue.backlog_s = 0.0  # whatever waited is done

    for now in range(lasts, lasts + 1200):
        queue.second(0.1, now)

    assert policy.rung == 0


def test_marks_say_what_is_passed_only_if_something_is() -> None:
    assert Marks(1.0, 1.0, 1.0, 1.0).passed(load(), 0.5, p95_known=True) == ""
