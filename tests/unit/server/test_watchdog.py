"""What should have come by now, for each stage of a connection."""

from __future__ import annotations

import pytest

from server.settings import Limits
from server.watchdog import ASK_AGAIN_S, HAND_OVER_S, Overdue, Stage, Watchdog

LIMITS = Limits(resume_s=60.0, closing_s=20.0)


def watchdog(stage: Stage) -> Watchdog:
    """A connection that came to a stage at 100 s."""
    dog = Watchdog(10.0, 30.0, LIMITS, 100.0)
    if stage is not Stage.NEW:
        dog.enter(stage, 100.0)
    return dog


@pytest.mark.parametrize(
    ("stage", "after_s", "overdue"),
    [
        (Stage.NEW, 10.0, Overdue.START),
        (Stage.LIVE, 30.0, Overdue.FRAMES),
        (Stage.HELD, 60.0, Overdue.PEER),
        (Stage.REJOINING, HAND_OVER_S, Overdue.HANDOVER),
        (Stage.ENDING, 20.0, Overdue.FINALS),
    ],
)
def test_every_stage_that_waits_for_something_ends(stage: Stage, after_s: float, overdue: Overdue) -> None:
    """A connection that waits for ever holds a call, a slot and a file handle."""
    assert watchdog(stage).overdue(100.0 + after_s) is overdue
    assert watchdog(stage).overdue(100.0 + min(after_s, ASK_AGAIN_S) - 0.1) is None


@pytest.mark.parametrize("stage", [Stage.WATCHING, Stage.CLOSED])
def test_who_only_watches_and_who_is_leaving_may_take_any_time(stage: Stage) -> None:
    assert watchdog(stage).overdue(1e9) is None


def test_a_call_is_asked_for_again_every_few_seconds_until_its_shard_counts_as_lost() -> None:
    """One question may reach a shard that dies with it; a storm of them helps nobody."""
    dog = watchdog(Stage.REJOINING)
    asked = [second for second in range(1, int(HAND_OVER_S)) if dog.overdue(100.0 + second) is Overdue.ANSWER]
    assert asked == [3, 6, 9, 12]


def test_a_peer_that_is_heard_is_not_overdue() -> None:
    dog = watchdog(Stage.LIVE)
    dog.heard_at = 120.0
    assert dog.overdue(149.9) is None
    assert dog.overdue(150.0) is Overdue.FRAMES
