"""A bad device takes itself out, and a good one is left alone."""

from __future__ import annotations

import pytest

from scaler.policy.health import REST_S, STEADY_S, Act, DeviceSigns, HealthPolicy, Verdict


def signs(*, silent_s: float = 0.1, ready: bool = True, deaths: int = 0, **faults: int) -> list[DeviceSigns]:
    return [DeviceSigns(name="gpu", ready=ready, silent_s=silent_s, deaths=deaths, faults=faults)]


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


@pytest.mark.parametrize("again", [signs(ready=False), signs(deaths=1)])
def test_a_device_that_starts_again_is_not_held_any_more(again: list[DeviceSigns]) -> None:
    """A process that starts within a second is never seen down; without this its calls had no device for good."""
    policy = HealthPolicy()
    assert policy.tick(signs(silent_s=5.0), 0.0)

    assert [verdict.act for verdict in policy.tick(again, 1.0)] == [Act.RESUME]
    assert policy.tick(signs(ready=False, deaths=1), 2.0) == []
    assert policy.fit("gpu", 1.0)


def test_three_batches_in_five_minutes_that_do_not_fit_are_one_too_many() -> None:
    policy = HealthPolicy()
    assert policy.tick(signs(out_of_memory=1), 0.0) == []
    assert policy.tick(signs(out_of_memory=2), 200.0) == []
    assert policy.tick(signs(out_of_memory=3), 301.0) == []  # the first is forgotten

    [verdict] = policy.tick(signs(out_of_memory=4), 302.0)

    assert verdict == Verdict("gpu", Act.RESTART, "its memory was too small 3 times within 5 min")
    assert policy.tick(signs(out_of_memory=4), 303.0) == []


def test_a_device_that_each_lack_of_memory_has_ended_is_not_started_once_more_for_it() -> None:
    """Its new process is loading models: to end that, too, would only take longer."""
    policy = HealthPolicy()
    for count in (1, 2, 3):
        assert policy.tick(signs(deaths=count - 1, out_of_memory=count), 10.0 * count) == []
        assert policy.tick(signs(deaths=count, out_of_memory=count, ready=False), 10.0 * count + 1) == []

    assert policy.tick(signs(deaths=3, out_of_memory=5), 50.0) == []
    [verdict] = policy.tick(signs(deaths=3, out_of_memory=6), 51.0)
    assert verdict.act is Act.RESTART


def test_a_device_that_dies_again_and_again_is_left_down_for_a_while() -> None:
    policy = HealthPolicy()
    assert policy.tick(signs(deaths=1, crash=1), 0.0) == []
    [verdict] = policy.tick(signs(deaths=4, crash=4), 100.0)

    assert verdict == Verdict("gpu", Act.REST, "its process ended 4 times within 10 min")
    assert policy.tick(signs(deaths=9), 100.0 + REST_S - 1) == []
    assert not policy.fit("gpu", 100.0 + REST_S - 1)
    assert policy.tick(signs(deaths=9), 100.0 + REST_S) == [Verdict("gpu", Act.RESUME, "it has rested for 5 min")]
    assert policy.fit("gpu", 100.0 + REST_S)


@pytest.mark.parametrize("kind", ["engine", "front_end", "stuck", "silent"])
def test_of_which_kind_the_faults_are_that_end_a_process_does_not_matter(kind: str) -> None:
    """Each such end takes along what was inside: two fail a final."""
    three, four = (DeviceSigns(name="gpu", ready=True, deaths=count, faults={kind: count}) for count in (3, 4))
    policy = HealthPolicy()
    assert policy.tick([three], 0.0) == []

    [verdict] = policy.tick([four], 100.0)

    assert verdict == Verdict("gpu", Act.REST, "its process ended 4 times within 10 min")


def test_faults_that_end_no_process_do_not_bring_a_device_down() -> None:
    """An engine that refuses one window after another may well be right: it decodes those of all other calls."""
    policy = HealthPolicy()

    assert policy.tick(signs(engine=100), 0.0) == []


def test_a_device_that_lost_its_card_is_never_trusted_again() -> None:
    policy = HealthPolicy()

    assert policy.tick(signs(card=1), 0.0) == [Verdict("gpu", Act.CONDEMN, "its driver lost its card")]
    assert policy.tick(signs(card=2), 1e6) == []
    assert not policy.fit("gpu", 1e6)
