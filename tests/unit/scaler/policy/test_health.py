"""A bad device takes itself out, and a good one is left alone."""

from __future__ import annotations

import pytest

from scaler.policy.health import REST_S, STEADY_S, Act, DeviceSigns, HealthPolicy, Verdict


def signs(*, silent_s: float = 0.1, ready: bool = True, **faults: int) -> list[DeviceSigns]:
    return [DeviceSigns(name="gpu", ready=ready, silent_s=silent_s, faults=faults)]


def failed(kind: str, times: int) -> list[DeviceSigns]:
    return [DeviceSigns(name="gpu", ready=True, faults={kind: times})]


def test_a_device_that_works_is_left_alone() -> None:
    policy = HealthPolicy()

    assert [policy.tick(signs(), now) for now in range(10)] == [[]] * 10
    assert policy.fit("gpu", 10.0)
    assert policy.fit("another", 10.0)


def test_a_device_that_says_nothing_is_held_until_it_speaks_steadily() -> None:
    """A process that is stopped in bursts would else keep whatever it was given for as long as it is stopped."""
    policy = HealthPolicy()

    assert policy.tick(signs(silent_s=1.2), 0.0) == [Verdict("gpu", Act.HOLD, "it has said nothing for 1.2 s")]
    assert not policy.fit("gpu", 0.0)
    assert policy.tick(signs(silent_s=2.2), 1.0) == []
    assert policy.tick(signs(), 2.0) == []
    assert policy.tick(signs(silent_s=1.1), 3.0) == []  # not steady yet
    assert policy.tick(signs(), 4.0) == []
    [verdict] = policy.tick(signs(), 4.0 + STEADY_S)
    assert verdict.act is Act.RESUME
    assert policy.fit("gpu", 6.0)


@pytest.mark.parametrize("again", [signs(ready=False), signs(silent=1)])
def test_a_device_that_starts_again_is_not_held_any_more(again: list[DeviceSigns]) -> None:
    """A process that starts within a second is never seen down; without this its calls had no device for good."""
    policy = HealthPolicy()
    assert policy.tick(signs(silent_s=5.0), 0.0)

    assert [verdict.act for verdict in policy.tick(again, 1.0)] == [Act.RESUME]
    assert policy.tick(signs(ready=False, silent=1), 2.0) == []
    assert policy.fit("gpu", 1.0)


def test_three_batches_in_five_minutes_that_do_not_fit_are_one_too_many() -> None:
    policy = HealthPolicy()
    assert policy.tick(signs(out_of_memory=1), 0.0) == []
    assert policy.tick(signs(out_of_memory=2), 200.0) == []
    assert policy.tick(signs(out_of_memory=3), 301.0) == []  # the first is forgotten

    [verdict] = policy.tick(signs(out_of_memory=4), 302.0)

    assert verdict == Verdict("gpu", Act.RESTART, "its memory was too small 3 times within 5 min")
    assert policy.tick(signs(out_of_memory=4), 303.0) == []


def test_a_device_that_dies_again_and_again_is_left_down_for_a_while() -> None:
    policy = HealthPolicy()
    assert policy.tick(signs(crash=1), 0.0) == []
    [verdict] = policy.tick(signs(crash=2, stuck=1, silent=1), 100.0)

    assert verdict == Verdict("gpu", Act.REST, "its process ended 4 times within 10 min")
    assert policy.tick(signs(crash=9), 100.0 + REST_S - 1) == []
    assert not policy.fit("gpu", 100.0 + REST_S - 1)
    assert policy.tick(signs(crash=9), 100.0 + REST_S) == [Verdict("gpu", Act.RESUME, "it has rested for 5 min")]
    assert policy.fit("gpu", 100.0 + REST_S)


def test_a_device_whose_front_end_fails_again_and_again_is_left_down_too() -> None:
    """Each time its process ends, and takes along what was inside: two such ends fail a final."""
    policy = HealthPolicy()
    assert policy.tick(signs(front_end=3), 0.0) == []

    [verdict] = policy.tick(signs(front_end=4), 100.0)

    assert verdict == Verdict("gpu", Act.REST, "its process ended 4 times within 10 min")


@pytest.mark.parametrize("kind", ["card", "driver"])
def test_a_card_that_failed_is_never_trusted_again(kind: str) -> None:
    policy = HealthPolicy()

    assert policy.tick(failed(kind, 1), 0.0) == [Verdict("gpu", Act.CONDEMN, f"its {kind} failed")]
    assert policy.tick(failed(kind, 2), 1e6) == []
    assert not policy.fit("gpu", 1e6)
