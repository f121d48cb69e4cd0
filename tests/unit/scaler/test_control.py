"""What the control topic adds up to, and what coordinators make of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.control import LAPSE_S, TAKE_UP_S, Coordinator, OwnLease
from streaming.control import FORGET_S, LEASE_S, ControlView
from streaming.records import STANDING, Claim, ControlRecord, Heartbeat, Lease, Snapshot
from tests.support.dice import thrown


class Control:
    """A control topic and one reader of it."""

    def __init__(self) -> None:
        self.view = ControlView()
        self._end = 0

    def append(self, *records: ControlRecord, now: float) -> None:
        """Append and read."""
        for record in records:
            self.view.read(self._end, record, now=now)
            self._end += 1


def beat(owner: str, *slots: int, draining: bool = False) -> Heartbeat:
    return Heartbeat(owner, slots, 0.5, draining)


def snapshot(audio_offset: int, out_offset: int) -> Snapshot:
    return Snapshot(0, out_offset, 1, (), (), audio_offset, ())


@pytest.fixture
def control() -> Control:
    return Control()


def leading(control: Control, *, slots: int = 2, now: float = 0.0) -> Coordinator:
    """A coordinator that leads."""
    coordinator = Coordinator("c", range(slots), 0.0)
    (lease,) = coordinator.tick(control.view, now=now - 1.0)
    control.append(lease, now=now - 1.0)
    assert coordinator.leads(control.view)
    return coordinator


def claims(coordinator: Coordinator, control: Control, *, now: float) -> list[Claim]:
    return [record for record in coordinator.tick(control.view, now=now) if isinstance(record, Claim)]


def test_the_epoch_of_a_slot_is_the_offset_of_its_newest_claim(control: Control) -> None:
    control.append(beat("a"), Claim(4, "a", "c", "new"), Claim(4, "b", "c", "moved"), now=5.0)

    assert (control.view.placements[4].owner, control.view.placements[4].epoch) == ("b", 2)


def test_a_shard_is_alive_for_as_long_as_it_is_heard_of(control: Control) -> None:
    control.append(beat("a"), now=5.0)

    assert control.view.alive("a", now=5.0 + LEASE_S)
    assert not control.view.alive("a", now=5.1 + LEASE_S)
    assert not control.view.alive("stranger", now=5.0)


def test_the_snapshot_that_reaches_furthest_is_kept(control: Control) -> None:
    """Whoever wrote it: audio counts first, for it is let go of first."""
    control.append(snapshot(10, 50), snapshot(20, 40), snapshot(20, 30), snapshot(15, 60), now=0.0)

    assert control.view.snapshots[0] == snapshot(20, 40)


def test_a_free_lead_is_taken_after_a_silence(control: Control) -> None:
    """Coordinators differ in patience, so that one stands before the others."""
    quick, slow = Coordinator("quick", [0], 0.0), Coordinator("slow", [0], 1.0)
    control.append(Lease("gone", STANDING), now=0.0)

    assert quick.tick(control.view, now=LEASE_S) == []
    assert slow.tick(control.view, now=LEASE_S + 0.5) == []
    assert quick.tick(control.view, now=LEASE_S + 0.5) == [Lease("quick", STANDING)]
    control.append(Lease("quick", STANDING), now=LEASE_S + 0.5)
    assert quick.leads(control.view)
    assert slow.tick(control.view, now=LEASE_S + 1.5) == []


def test_of_two_that_stand_at_once_the_later_leads_and_the_other_hears_of_it(control: Control) -> None:
    control.append(Lease("one", STANDING), Lease("two", STANDING), Lease("one", 0), now=1.0)

    assert (control.view.leader, control.view.term) == ("two", 1)


def test_a_former_leader_does_not_keep_the_lead_of_another_alive(control: Control) -> None:
    control.append(Lease("one", STANDING), Lease("two", STANDING), now=1.0)
    control.append(Lease("one", 0), now=2.0)
    assert control.view.led_at == 1.0

    control.append(Lease("two", 1), now=3.0)
    assert control.view.led_at == 3.0


def test_a_leader_renews_its_lead_and_does_no_more_than_that_too_often(control: Control) -> None:
    coordinator = leading(control)

    assert coordinator.tick(control.view, now=0.0) == [Lease("c", 0)]
    assert coordinator.tick(control.view, now=0.1) == []


def test_new_slots_are_shared_out_evenly(control: Control) -> None:
    coordinator = leading(control, slots=4)
    control.append(beat("a"), beat("b"), now=0.0)

    made = claims(coordinator, control, now=0.0)

    assert sorted((claim.slot, claim.reason) for claim in made) == [(slot, "new") for slot in range(4)]
    assert sorted(claim.owner for claim in made) == ["a", "a", "b", "b"]


def test_with_nobody_alive_nothing_is_claimed(control: Control) -> None:
    assert claims(leading(control), control, now=0.0) == []


def test_a_claim_on_its_way_is_not_made_again_until_it_is_overdue(control: Control) -> None:
    coordinator = leading(control, slots=1)
    control.append(beat("a"), now=0.0)
    assert len(claims(coordinator, control, now=0.0)) == 1

    assert claims(coordinator, control, now=1.0) == []
    for moment in (1.0, 2.0, LEASE_S + 1.0):
        control.append(beat("a"), now=moment)
    assert len(claims(coordinator, control, now=LEASE_S + 1.0)) == 1


def test_slots_of_a_shard_that_is_gone_go_to_the_ones_with_fewest(control: Control) -> None:
    coordinator = leading(control, slots=3)
    control.append(beat("a"), beat("b"), beat("c"), now=-5.0)
    control.append(Claim(0, "a", "c", "new"), Claim(1, "b", "c", "new"), Claim(2, "b", "c", "new"), now=-5.0)
    for moment in (-4.0, -3.0, -2.0, -1.0, 0.0):
        control.append(beat("b", 1, 2), beat("c"), now=moment)

    assert claims(coordinator, control, now=0.0) == [Claim(0, "c", "c", "lost")]


def test_slots_of_a_draining_shard_go_to_others(control: Control) -> None:
    coordinator = leading(control, slots=1)
    control.append(Claim(0, "a", "c", "new"), beat("a", 0, draining=True), beat("b"), now=0.0)

    assert claims(coordinator, control, now=0.0) == [Claim(0, "b", "c", "drained")]


def test_a_slot_that_its_owner_does_not_take_up_goes_to_another(control: Control) -> None:
    """It lives but cannot recover the slot, or stopped serving it: another may be luckier."""
    coordinator = leading(control, slots=1)
    control.append(Claim(0, "a", "c", "new"), now=0.0)
    control.append(beat("a"), beat("b"), now=TAKE_UP_S)
    assert claims(coordinator, control, now=TAKE_UP_S) == []

    control.append(beat("a"), beat("b"), now=TAKE_UP_S + 1.0)
    assert claims(coordinator, control, now=TAKE_UP_S + 1.0) == [Claim(0, "b", "c", "idle")]


def test_where_there_is_no_other_the_idle_owner_is_asked_again(control: Control) -> None:
    """A new claim lets it begin anew."""
    coordinator = leading(control, slots=1)
    control.append(Claim(0, "a", "c", "new"), now=0.0)
    control.append(beat("a"), now=TAKE_UP_S + 1.0)

    assert claims(coordinator, control, now=TAKE_UP_S + 1.0) == [Claim(0, "a", "c", "idle")]


def test_a_served_slot_is_left_alone(control: Control) -> None:
    coordinator = leading(control, slots=1)
    control.append(Claim(0, "a", "c", "new"), beat("a", 0), now=0.0)

    assert claims(coordinator, control, now=1.0) == []


def test_a_slot_is_moved_to_a_shard_that_lives_and_has_it_not(control: Control) -> None:
    coordinator = leading(control, slots=1)
    control.append(Claim(0, "a", "c", "new"), beat("a", 0), beat("b"), now=0.0)

    assert coordinator.move(control.view, 0, "a", now=0.0) == []
    assert coordinator.move(control.view, 0, "stranger", now=0.0) == []
    assert coordinator.move(control.view, 0, "b", now=0.0) == [Claim(0, "b", "c", "moved")]
    assert claims(coordinator, control, now=0.5) == []


def test_a_newcomer_is_given_slots_of_those_that_have_more_but_none_with_calls(control: Control) -> None:
    """It could take no call without; and a call that is moved is heard again from its last final."""
    coordinator = leading(control, slots=5)
    control.append(*(Claim(slot, "a", "c", "new") for slot in range(5)), now=0.0)
    control.append(replace(beat("a", *range(5)), busy=(4,)), beat("b"), now=0.0)

    assert claims(coordinator, control, now=0.0) == [Claim(3, "b", "c", "spread"), Claim(2, "b", "c", "spread")]
    assert claims(coordinator, control, now=0.5) == []  # on their way


def test_slots_that_are_all_busy_stay_where_they_are(control: Control) -> None:
    coordinator = leading(control, slots=3)
    control.append(*(Claim(slot, "a", "c", "new") for slot in range(3)), now=0.0)
    control.append(replace(beat("a", 0, 1, 2), busy=(0, 1)), beat("b"), now=0.0)

    assert claims(coordinator, control, now=0.0) == [Claim(2, "b", "c", "spread")]


def test_slots_with_calls_are_shared_out_evenly_by_themselves(control: Control) -> None:
    """A shard that dies leaves a few busy slots among many idle ones; no one heir should get all of those."""
    coordinator = leading(control, slots=6)
    control.append(*(Claim(slot, "a", "c", "new") for slot in range(6)), now=0.0)
    control.append(replace(beat("a", *range(6), draining=True), busy=(0, 2)), beat("b"), beat("c"), now=0.0)

    owners = {claim.slot: claim.owner for claim in claims(coordinator, control, now=0.0)}

    assert owners[0] != owners[2]
    assert sorted(owners.values()) == ["b"] * 3 + ["c"] * 3


def test_who_hears_nothing_at_all_takes_nobody_for_dead(control: Control) -> None:
    """The log was away, or this process slept: everybody is given the time that was missed."""
    coordinator = leading(control, slots=1)
    control.append(Claim(0, "a", "c", "new"), beat("a", 0), beat("b"), now=0.0)

    assert claims(coordinator, control, now=60.0) == []
    control.append(beat("b"), now=60.0)
    assert claims(coordinator, control, now=60.5) == []
    control.append(beat("a", 0), now=61.0)
    assert control.view.alive("a", now=61.0)


def test_shards_that_have_been_gone_for_long_are_forgotten(control: Control) -> None:
    """Each start of a shard has a new name."""
    control.append(beat("a"), now=0.0)
    for moment in range(1, int(FORGET_S) + 2):
        control.append(beat("b"), now=float(moment))
    control.append(beat("c"), now=FORGET_S + 1.0)

    assert set(control.view.members) == {"b", "c"}


def test_a_lead_whose_beginning_is_not_kept_any_more_is_known_from_its_renewal(control: Control) -> None:
    """Heartbeats and leases are kept for a minute."""
    control.append(Lease("one", 700), now=1.0)

    assert (control.view.leader, control.view.term) == ("one", 700)


def test_a_slot_nobody_had_can_be_moved_to_a_shard(control: Control) -> None:
    coordinator = leading(control, slots=1)
    control.append(beat("b"), now=0.0)

    assert coordinator.move(control.view, 0, "b", now=0.0) == [Claim(0, "b", "c", "moved")]


def test_a_shard_stops_before_others_take_over() -> None:
    """Its heartbeats do not reach the log: it cannot know that it is not taken for dead."""
    lease = OwnLease(now=10.0)
    lease.acknowledged(sent_at=11.0)
    lease.acknowledged(sent_at=10.5)

    assert not lease.lapsed(now=11.0 + LAPSE_S)
    assert lease.lapsed(now=11.1 + LAPSE_S)
    assert LAPSE_S < LEASE_S


def full(owner: str, *slots: int, load: float = 0.95, room: int = 0) -> Heartbeat:
    return replace(beat(owner, *slots), load=load, room=room)


def test_slots_are_not_handed_back_to_a_shard_that_is_full(control: Control) -> None:
    """It has few because they were moved away; with more it would get calls that it cannot serve."""
    coordinator = leading(control, slots=6)
    control.append(*(Claim(slot, "a", "c", "new") for slot in range(5)), Claim(5, "b", "c", "moved"), now=0.0)
    control.append(beat("a", *range(5)), full("b", 5), now=0.0)

    assert claims(coordinator, control, now=0.0) == []


def test_a_shard_that_was_full_gets_slots_again_once_it_clearly_has_room(control: Control) -> None:
    """At the line itself it would be given some and lose them with every measurement."""
    coordinator = leading(control, slots=6)
    control.append(*(Claim(slot, "a", "c", "new") for slot in range(5)), Claim(5, "b", "c", "moved"), now=0.0)
    for at, said in enumerate((full("b", 5), full("b", 5, load=0.8, room=3), full("b", 5, load=0.6, room=3))):
        control.append(beat("a", *range(5)), said, now=float(at))
        assert bool(claims(coordinator, control, now=float(at))) is (at == 2)


def test_where_all_shards_are_full_a_slot_without_an_owner_still_gets_one(control: Control) -> None:
    coordinator = leading(control, slots=1)
    control.append(full("a"), full("b"), now=0.0)

    assert len(claims(coordinator, control, now=0.0)) == 1


def test_slots_with_calls_go_to_the_shard_that_has_least_to_do_not_to_the_one_with_fewest(control: Control) -> None:
    """One slot of a busy tenant is more than ten that nobody speaks in."""
    coordinator = leading(control, slots=6)
    control.append(*(Claim(slot, "b", "c", "new") for slot in range(3)), now=0.0)
    control.append(Claim(3, "d", "c", "new"), *(Claim(slot, "gone", "c", "new") for slot in (4, 5)), now=0.0)
    control.append(replace(beat("gone", 4, 5, draining=True), busy=(4, 5), load=0.4), now=0.0)
    control.append(replace(beat("b", 0, 1, 2), load=0.1), replace(beat("d", 3), load=0.6), now=0.0)

    made = claims(coordinator, control, now=0.0)

    assert {claim.slot: claim.owner for claim in made if claim.reason == "drained"} == {4: "b", 5: "b"}


def test_the_load_of_slots_on_their_way_counts_where_they_go(control: Control) -> None:
    coordinator = leading(control, slots=2)
    control.append(*(Claim(slot, "gone", "c", "new") for slot in (0, 1)), now=0.0)
    control.append(replace(beat("gone", 0, 1, draining=True), busy=(0, 1), load=0.8), now=0.0)
    control.append(replace(beat("b"), load=0.2), replace(beat("d"), load=0.3), now=0.0)
    (first, second) = claims(coordinator, control, now=0.0)
    assert (first.owner, second.owner) == ("b", "d")

    control.append(first, second, now=0.2)
    control.append(replace(beat("gone", 0, 1, draining=True), busy=(0, 1), load=0.8), now=0.2)
    assert claims(coordinator, control, now=0.6) == []


@settings(max_examples=30, deadline=None)
@given(
    held=st.lists(st.integers(0, 12), min_size=2, max_size=5),
    loads=st.lists(st.floats(0.0, 1.2), min_size=5, max_size=5),
    seed=st.integers(0, 1 << 32),
)
def test_spreading_comes_to_rest_gives_full_shards_nothing_and_never_goes_to_and_fro(
    held: list[int], loads: list[float], seed: int
) -> None:
    """However noisy what they say of their load is."""
    rng, control = thrown(seed), Control()
    owners = {slot: f"s{at}" for slot, at in enumerate(at for at, count in enumerate(held) for _ in range(count))}
    coordinator = leading(control, slots=len(owners))
    control.append(*(Claim(slot, owner, "c", "new") for slot, owner in owners.items()), now=0.0)
    moved: list[tuple[int, int]] = []
    for now in range(60):
        noisy = [load * rng.uniform(0.95, 1.05) for load in loads[: len(held)]]
        for at, load in enumerate(noisy):
            mine = [slot for slot, owner in owners.items() if owner == f"s{at}"]
            control.append(full(f"s{at}", *mine, load=load, room=0 if load > 0.92 else 5), now=float(now))
        for claim in claims(coordinator, control, now=float(now)):
            assert noisy[int(claim.owner[1:])] <= 0.85
            owners[claim.slot] = claim.owner
            control.append(claim, now=float(now))
            moved.append((now, claim.slot))

    assert len({slot for _, slot in moved}) == len(moved)
    assert not [when for when, _ in moved if when > 30]
