"""The batcher: who goes with whom, who waits, who is dropped. No test waits: time is what the test says."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gpu.batcher import LINGER_S, SHRUNK_S, STALE_S, Batch, Batcher, Dropped, Load, Why
from gpu.cost import DRIFT_S, Cost, CostModel, Lane
from streaming.decoding import DecodeJob, Kind
from tests.support.jobs import job

FINAL, PARTIAL = Kind.FINAL, Kind.PARTIAL


def by_model_and_length(asked: DecodeJob) -> Lane:
    if asked.window.features.shape[1] > 3000:
        raise ValueError("the window is too long")
    return asked.window.model or "tiny", asked.window.features.shape[1]


def batcher(
    *, fixed_s: float = 0.1, each_s: float = 0.01, streams: int = 1, max_batch: int = 8, frames: int = 300
) -> Batcher:
    costs = CostModel([Cost("tiny", str(frames), fixed_s, each_s)])
    return Batcher(by_model_and_length, costs, streams=streams, max_batch=max_batch)


def take(batches: Batcher, now: float = 0.0) -> Batch:
    batch = batches.take(now)
    assert batch is not None
    return batch


def take_and_finish(batches: Batcher, now: float) -> Batch:
    batch = take(batches, now)
    batches.finished(batch, 0.05, now)
    return batch


def numbers(batch: Batch) -> list[int]:
    return [member.job for member in batch.jobs]


# --- the line ---------------------------------------------------------------------------------------------------------


def test_an_idle_device_takes_a_job_at_once() -> None:
    """Waiting for company that may not come costs latency for nothing."""
    batches = batcher()
    asked = job()

    assert batches.add(asked, 0.0) == []
    assert batches.wake_at(0.0) == 0.0
    batch = take(batches, 0.5)

    assert batch.jobs == (asked,)
    assert batch.queued_s == (0.5,)
    assert (batch.model, batch.bucket) == ("tiny", ("tiny", 300))
    assert batch.predicted_s == pytest.approx(0.11)


def test_an_empty_line_gives_no_batch() -> None:
    """And nothing to wake up for."""
    assert batcher().take(0.0) is None
    assert batcher().wake_at(0.0) is None


def test_finals_go_before_partials_whatever_their_deadlines() -> None:
    """A final carries the promise; a partial will be replaced anyway."""
    batches = batcher(max_batch=1)
    batches.add(job(PARTIAL, "a", deadline=1.0), 0.0)
    final = job(FINAL, "b", deadline=5.0)
    batches.add(final, 0.0)

    assert take(batches).jobs == (final,)


def test_the_earliest_deadline_leads() -> None:
    """Among equals, who has least time goes first."""
    batches = batcher(max_batch=1)
    batches.add(job(PARTIAL, "a", deadline=5.0), 0.0)
    hurried = job(PARTIAL, "b", deadline=4.0)
    batches.add(hurried, 0.0)

    assert take(batches).jobs == (hurried,)


def of_two_lengths(*, streams: int = 1, long_s: float = 0.02, late: bool = False) -> Batcher:
    """Two short windows, a short final and a long one of each kind; a short window costs 0.1 s and 0.01 s more."""
    costs = CostModel([Cost("tiny", "300", 0.1, 0.01), Cost("tiny", "600", 0.1, long_s)])
    batches = Batcher(by_model_and_length, costs, streams=streams, max_batch=8)
    deadline = 0.05 if late else 10.0
    batches.add(job(FINAL, "a", deadline=deadline), 0.0)
    batches.add(job(PARTIAL, "b", deadline=deadline), 0.0)
    batches.add(job(FINAL, "c", frames=600, deadline=deadline + 1), 0.0)
    batches.add(job(PARTIAL, "d", frames=600, deadline=deadline + 1), 0.0)
    return batches


def calls(batch: Batch) -> str:
    return "".join(member.call for member in batch.jobs)


def test_jobs_of_other_models_are_other_batches() -> None:
    """One call of an engine computes with one set of weights."""
    batches = batcher()
    first, other = job(call="a"), job(call="c", model="base")
    batches.add(first, 0.0)
    batches.add(other, 0.0)
    batch = take(batches)
    batches.finished(batch, 0.1, 0.0)

    assert batch.jobs == (first,)
    assert take(batches).jobs == (other,)


def test_lengths_share_a_batch_where_that_is_cheaper_than_two() -> None:
    """Where starting a batch is what costs, padding is cheap: most of a GPU's batches of few windows."""
    batch = take(of_two_lengths())

    assert calls(batch) == "acbd"
    assert batch.bucket == ("tiny", 600)


def test_lengths_are_parted_where_padding_costs_more() -> None:
    """Where work grows with length, a short window padded to a long one is a waste."""
    assert calls(take(of_two_lengths(long_s=0.05))) == "ab"


def test_lengths_are_parted_where_another_stream_is_free() -> None:
    """Two batches side by side are done sooner than one after the other."""
    batches = of_two_lengths(streams=2)

    assert calls(take(batches)) == "ab"
    assert calls(take(batches, LINGER_S)) == "cd"


def test_a_device_that_is_behind_joins_finals_only() -> None:
    """Partials of another length would make the next finals wait longer."""
    assert calls(take(of_two_lengths(late=True))) == "acb"


def test_a_suspect_is_joined_by_nobody() -> None:
    """It would take them with it."""
    batches = batcher()
    batches.add(job(FINAL, "suspect"), 0.0, alone=True)
    batches.add(job(call="other", frames=600), 0.0)

    assert calls(take(batches)) == "suspect"
    assert calls(take(of_two_lengths())) == "acbd"


def test_a_full_batch_is_joined_by_nobody() -> None:
    """There is no room."""
    batches = batcher(max_batch=2, each_s=0.0)
    for call in "ab":
        batches.add(job(call=call, deadline=5.0), 0.0)
    batches.add(job(call="c", frames=600), 0.0)

    assert calls(take(batches)) == "ab"


def test_a_change_of_models_moves_what_waits() -> None:
    """Stepping down the ladder must help the queue that made it necessary."""
    models = {"now": "turbo"}
    batches = Batcher(lambda _: (models["now"], 0), CostModel(), streams=1, max_batch=8)
    batches.add(job(), 0.0)
    models["now"] = "tiny"
    batches.rearrange()

    assert take(batches).model == "tiny"


def test_what_the_new_model_cannot_take_stays_with_the_old_one() -> None:
    """Models differ in their features; the old one is still there."""
    refused: list[int] = []

    def bucket(asked: DecodeJob) -> Lane:
        if asked.job in refused:
            raise ValueError("128 mel bands wanted")
        return "turbo", 0

    batches = Batcher(bucket, CostModel(), streams=1, max_batch=8)
    asked = job()
    batches.add(asked, 0.0)
    refused.append(asked.job)
    batches.rearrange()

    assert take(batches).jobs == (asked,)


def test_a_window_that_no_bucket_takes_changes_nothing() -> None:
    """It must not cost the channel the partial that waits."""
    batches = batcher()
    batches.add(job(), 0.0)
    with pytest.raises(ValueError, match="too long"):
        batches.add(job(frames=3001), 0.0)

    assert batches.load(0.0).partials == 1


# --- one partial a channel --------------------------------------------------------------------------------------------


def test_the_newest_partial_of_a_channel_replaces_the_one_that_waits() -> None:
    """Backlog is bounded by the number of channels: overload slows partials down and never piles them up."""
    batches = batcher()
    old, new = job(), job()
    batches.add(old, 0.0)

    assert batches.add(new, 0.0) == [Dropped(old, Why.SUPERSEDED)]
    assert take(batches).jobs == (new,)


def test_a_partial_that_comes_late_does_not_replace_a_newer_one() -> None:
    """After a device died its jobs come again, in any order."""
    batches = batcher()
    old, new = job(), job()
    batches.add(new, 0.0)

    assert batches.add(old, 0.0) == [Dropped(old, Why.SUPERSEDED)]


def test_a_replacement_inherits_the_place_in_line() -> None:
    """Else a channel that speaks on, renewed just before each of its turns, would never have one."""
    batches = batcher(max_batch=1)
    batches.add(job(call="a", deadline=1.0), 0.0)
    batches.add(job(call="b", deadline=1.5), 0.0)
    renewed = job(call="a", deadline=2.0)
    batches.add(renewed, 0.0)

    assert take(batches).jobs == (renewed,)


def test_a_final_removes_the_partial_of_its_channel() -> None:
    """The final says all the partial would have said."""
    batches = batcher()
    old, other = job(), job(channel=1)
    batches.add(old, 0.0)
    batches.add(other, 0.0)
    final = job(FINAL)

    assert batches.add(final, 0.0) == [Dropped(old, Why.SUPERSEDED)]
    assert take(batches).jobs == (final, other)


def test_a_final_that_comes_late_leaves_the_next_utterances_partial_alone() -> None:
    """That partial is newer audio."""
    batches = batcher()
    final, newer = job(FINAL), job(PARTIAL)
    batches.add(newer, 0.0)

    assert batches.add(final, 0.0) == []
    assert take(batches).jobs == (final, newer)


def test_finals_of_a_channel_all_stay() -> None:
    """Nothing replaces a final."""
    batches = batcher()
    first, second = job(FINAL), job(FINAL)

    assert batches.add(first, 0.0) + batches.add(second, 0.0) == []
    assert take(batches).jobs == (first, second)


def test_a_partial_long_past_its_deadline_is_dropped() -> None:
    """Nobody reads it any more; a final is read always."""
    batches = batcher()
    partial, final, fresh = job(deadline=1.0), job(FINAL, "b", deadline=1.0), job(call="c", deadline=2.0)
    for asked in (partial, final, fresh):
        batches.add(asked, 0.0)

    assert batches.expire(1.0 + STALE_S) == []
    assert batches.expire(1.1 + STALE_S) == [Dropped(partial, Why.STALE)]
    assert take(batches, 1.1 + STALE_S).jobs == (final, fresh)
    assert batches.expire(1000.0) == []


def test_a_cancelled_job_leaves_the_line() -> None:
    """A call that ended wants nothing more."""
    batches = batcher()
    asked = job()
    batches.add(asked, 0.0)

    assert batches.cancel(asked.job) == [Dropped(asked, Why.CANCELLED)]
    assert batches.cancel(asked.job) == []
    assert batches.take(0.0) is None


# --- how large, how long ----------------------------------------------------------------------------------------------


def test_a_batch_grows_only_while_the_earliest_deadline_is_met() -> None:
    """One window too many makes the leader late, and all the others with it."""
    batches = batcher(fixed_s=0.1, each_s=0.1)
    batches.add(job(FINAL, "lead", deadline=0.45), 0.0)
    for number in range(6):
        batches.add(job(FINAL, f"{number}"), 0.0)

    assert len(take(batches).jobs) == 3


def test_a_partial_in_a_finals_batch_is_in_time_too() -> None:
    """A final with time to spare must not be the reason for partials that stutter."""
    batches = batcher(fixed_s=0.1, each_s=0.1)
    for number in range(4):
        batches.add(job(FINAL, f"{number}", deadline=10.0), 0.0)
    batches.add(job(PARTIAL, "hurried", deadline=0.35), 0.0)

    assert len(take(batches).jobs) == 2


def test_a_batch_grows_no_further_than_pays() -> None:
    """Where a window costs almost as much in company as alone, company is only delay."""
    batches = batcher(fixed_s=0.1, each_s=0.1)
    for number in range(8):
        batches.add(job(call=f"{number}"), 0.0)

    assert len(take(batches).jobs) == 3


def test_a_device_that_is_behind_takes_full_batches() -> None:
    """Once the leader is late, only throughput brings the others back into time."""
    batches = batcher(fixed_s=0.1, each_s=0.1)
    for number in range(9):
        batches.add(job(call=f"{number}", deadline=0.1), 0.0)

    assert len(take(batches).jobs) == 8


def test_no_more_batches_run_than_there_are_streams() -> None:
    """CTranslate2 blocks its caller when its queue is full."""
    batches = batcher(streams=2, max_batch=1, fixed_s=0.0)
    for number in range(3):
        batches.add(job(call=f"{number}"), 0.0)
    first = take(batches)
    take(batches)

    assert batches.take(0.0) is None
    assert batches.wake_at(0.0) is None
    batches.finished(first, 0.1, 0.1)
    assert batches.take(0.1) is not None


def test_a_second_stream_waits_a_moment_for_company() -> None:
    """The device is busy anyway, so the moment costs no work and the batch is fuller."""
    batches = batcher(streams=2)
    batches.add(job(call="a"), 0.0)
    take(batches)
    late = job(call="b", deadline=10.0)
    batches.add(late, 0.0)

    assert batches.take(0.0) is None
    assert batches.wake_at(0.0) == LINGER_S
    company = job(call="c")
    batches.add(company, 0.01)
    assert take(batches, LINGER_S).jobs == (late, company)


def test_nobody_waits_for_company_without_time_to_spare() -> None:
    """A quarter of the slack at most."""
    batches = batcher(streams=2)
    batches.add(job(call="a"), 0.0)
    take(batches)
    batches.add(job(call="b", deadline=0.12 + 0.02), 0.0)

    assert batches.wake_at(0.0) == pytest.approx(0.005)
    assert batches.wake_at(1.0) == 1.0


def test_one_size_fits_all_where_company_is_free() -> None:
    """A line without slope never says a batch is full enough; the limit does."""
    batches = batcher(each_s=0.0, streams=2, max_batch=2)
    batches.add(job(call="a"), 0.0)
    take(batches)
    batches.add(job(call="b"), 0.0)
    assert batches.take(0.0) is None
    batches.add(job(call="c"), 0.0)

    assert len(take(batches).jobs) == 2


def test_what_a_batch_took_is_learnt() -> None:
    """The next prediction is better."""
    batches = batcher()
    batches.add(job(), 0.0)
    batches.finished(take(batches), 1.0, 1.0)
    batches.add(job(), 1.0)

    assert take(batches, 1.0).predicted_s == pytest.approx(1.0)


# --- tenants ----------------------------------------------------------------------------------------------------------


def test_a_tenant_gets_half_a_batch_while_others_wait() -> None:
    """One customer's rush is not another customer's delay."""
    batches = batcher(each_s=0.0)
    for number in range(20):
        batches.add(job(call=f"big-{number}", tenant="big", deadline=5.0), 0.0)
    for number in range(6):
        batches.add(job(call=f"small-{number}", tenant="small", deadline=6.0), 0.0)

    assert Counter(member.tenant for member in take(batches).jobs) == {"big": 4, "small": 4}


def test_what_others_leave_is_the_tenants() -> None:
    """Fairness wastes nothing."""
    batches = batcher(each_s=0.0)
    for number in range(20):
        batches.add(job(FINAL, f"big-{number}", tenant="big", deadline=5.0), 0.0)
    batches.add(job(PARTIAL, "big-1000", tenant="big"), 0.0)
    batches.add(job(FINAL, "small", tenant="small", deadline=6.0), 0.0)

    assert Counter(member.tenant for member in take(batches).jobs) == {"big": 7, "small": 1}


def test_partials_fill_up_after_finals_with_the_same_fairness() -> None:
    """Finals count towards their tenant's half."""
    batches = batcher(each_s=0.0)
    for number in range(4):
        batches.add(job(FINAL, f"big-{number}", tenant="big"), 0.0)
    for number in range(3):
        batches.add(job(PARTIAL, f"big-{10 + number}", tenant="big", deadline=1.0), 0.0)
        batches.add(job(PARTIAL, f"small-{number}", tenant="small", deadline=2.0), 0.0)

    members = take(batches).jobs
    assert [(member.tenant, member.window.kind) for member in members] == (
        [("big", FINAL)] * 4 + [("small", PARTIAL)] * 3 + [("big", PARTIAL)]
    )


def test_tenants_take_turns_to_lead_when_the_device_is_behind() -> None:
    """Where one tenant's windows are all of one length, half a batch of that length helps nobody else."""
    batches = batcher(max_batch=2)
    for number in range(6):
        batches.add(job(call=f"big-{number}", tenant="big", deadline=0.0), 0.0)
    batches.add(job(call="small", tenant="small", frames=600, deadline=0.05), 0.0)
    tenants: list[str] = []
    while batch := batches.take(1.0):
        tenants.append(batch.jobs[0].tenant)
        batches.finished(batch, 0.12, 1.0)

    assert tenants == ["big", "small", "big", "big"]


# --- failures ---------------------------------------------------------------------------------------------------------


def test_out_of_memory_halves_the_batches_for_a_while() -> None:
    """The same batch would fail the same way."""
    batches = batcher(each_s=0.0)
    for number in range(8):
        batches.add(job(call=f"{number}"), 0.0)

    assert batches.failed(take(batches), 0.0, out_of_memory=True) == ([], [])
    first, second = take(batches), batches.take(0.0)
    assert len(first.jobs) == 4
    assert second is None

    batches.finished(first, 0.1, 0.0)
    for number in range(8, 12):
        batches.add(job(call=f"{number}", deadline=1000.0), 0.0)
    assert len(take(batches, SHRUNK_S).jobs) == 8


def test_a_batch_that_failed_is_tried_again_one_by_one() -> None:
    """The one window an engine cannot decode takes no other with it."""
    batches = batcher()
    one, other = job(call="a"), job(call="b")
    batches.add(one, 0.0)
    batches.add(other, 0.0)
    assert batches.failed(take(batches), 0.0, out_of_memory=False) == ([], [])

    alone = take(batches)
    assert alone.jobs == (one,)
    assert batches.failed(alone, 0.0, out_of_memory=False) == ([one], [])
    assert take(batches).jobs == (other,)


def test_a_suspect_waits_for_nobody() -> None:
    """Company is what it must not have."""
    batches = batcher(streams=2)
    batches.add(job(call="a"), 0.0)
    take(batches)
    suspect = job(call="b")
    batches.add(suspect, 0.0, alone=True)

    assert take(batches).jobs == (suspect,)


def test_a_partial_that_failed_gives_way_to_a_newer_one() -> None:
    """While it ran, its channel spoke on."""
    batches = batcher()
    old, other = job(call="a"), job(call="b")
    batches.add(old, 0.0)
    batches.add(other, 0.0)
    batch = take(batches)
    batches.add(job(call="a"), 0.0)

    assert batches.failed(batch, 0.0, out_of_memory=False) == ([], [Dropped(old, Why.SUPERSEDED)])


# --- load -------------------------------------------------------------------------------------------------------------


def test_an_idle_device_says_so() -> None:
    """All zeros."""
    assert batcher().idle
    assert batcher().load(0.0) == Load(finals=0, partials=0, running=0, final_wait_s=0.0, wait_s=0.0)


def test_the_wait_is_what_runs_and_what_goes_first() -> None:
    """A final waits for the running batch and the finals before it, not for partials."""
    batches = batcher(fixed_s=1.0, each_s=0.0, max_batch=2)
    batches.add(job(call="running"), 0.0)
    take(batches)
    for number in range(3):
        batches.add(job(FINAL, f"{number}"), 0.25)
    batches.add(job(PARTIAL, "partial"), 0.5)
    load = batches.load(0.75)

    assert batcher().idle
    assert (load.finals, load.partials, load.running) == (3, 1, 1)
    assert load.final_wait_s == pytest.approx(0.25 + 2.0)
    assert load.wait_s == pytest.approx(0.25 + 2.0)


def test_a_final_does_not_wait_where_a_stream_is_free() -> None:
    """Though the other is busy."""
    batches = batcher(streams=2)
    batches.add(job(), 0.0)
    take(batches)

    assert batches.load(0.0).final_wait_s == 0
    assert batches.load(0.0).wait_s > 0


# --- whatever happens -------------------------------------------------------------------------------------------------


def erratic(max_batch: int = 8) -> Batcher:
    """A batcher of a device whose batches take now 50 ms and now a second, whatever is in them, for half a minute."""
    batches = batcher(max_batch=max_batch)
    for second in range(int(DRIFT_S) + 2):
        batches.add(job(FINAL, deadline=second + 0.9), float(second))
        took_s = 0.05 if second % 2 else 1.0
        batches.finished(take(batches, float(second)), took_s, second + took_s)
    return batches


def test_where_nothing_can_be_predicted_the_size_of_batches_is_felt_for() -> None:
    """Batches that took too long for what waited in them made the next ones smaller; what was late anyway did not."""
    batches = erratic()
    for number in range(12):
        batches.add(job(FINAL, f"{number}", deadline=150.0), 100.0)
    first = take(batches, 100.0)
    batches.finished(first, 60.0, 160.0)
    second = take(batches, 160.0)
    batches.finished(second, 60.0, 220.0)

    assert 1 <= len(first.jobs) < 8
    assert len(second.jobs) < len(first.jobs)
    assert len(take(batches, 220.0).jobs) == len(second.jobs) + 1, "all were late when the second began"


def test_where_nothing_can_be_predicted_tenants_still_take_turns_once_late() -> None:
    """Late is then what has passed its deadline."""
    batches = erratic(max_batch=1)
    for number in range(6):
        batches.add(job(FINAL, f"{number}", tenant="many", deadline=90.0), 100.0)
    batches.add(job(FINAL, "other", tenant="few", deadline=95.0), 100.0)
    led = [take_and_finish(batches, 100.0 + number).jobs[0].tenant for number in range(2)]

    assert led == ["many", "few"]


def test_where_nothing_can_be_predicted_nobody_waits_for_company_or_joins_other_lengths() -> None:
    """Both rest on predictions."""
    batches = erratic()
    batches.add(job(FINAL, "a", deadline=200.0), 100.0)
    batches.add(job(FINAL, "b", frames=600, deadline=201.0), 100.0)

    assert batches.wake_at(100.0) == 100.0
    assert len(take(batches, 100.0).jobs) == 1


class AnyHistory(RuleBasedStateMachine):
    """Every job leaves exactly once, finals only decoded, cancelled or given up; the line stays short and fair."""

    STREAMS = 2
    MAX_BATCH = 4

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.waiting: dict[int, DecodeJob] = {}
        self.running: list[Batch] = []
        self.left: set[int] = set()
        self.batches = Batcher(by_model_and_length, CostModel(), streams=self.STREAMS, max_batch=self.MAX_BATCH)

    def leave(self, gone: DecodeJob) -> None:
        assert gone.job not in self.left
        self.left.add(gone.job)

    def drop(self, dropped: list[Dropped]) -> None:
        for gone in dropped:
            del self.waiting[gone.job.job]
            self.leave(gone.job)
            assert gone.job.window.kind is PARTIAL or gone.why is Why.CANCELLED

    @rule(
        kind=st.sampled_from(Kind),
        call=st.integers(0, 5),
        frames=st.sampled_from((300, 600)),
        patience_s=st.floats(-1, 3),
        alone=st.booleans(),
    )
    def add(self, kind: Kind, call: int, frames: int, patience_s: float, alone: bool) -> None:
        asked = job(kind, f"{call}", tenant=f"{call % 3}", frames=frames, deadline=self.now + patience_s)
        self.waiting[asked.job] = asked
        self.drop(self.batches.add(asked, self.now, alone=alone))

    @rule()
    def take(self) -> None:
        batch = self.batches.take(self.now)
        if batch is None:
            return
        for member in batch.jobs:
            assert self.waiting.pop(member.job) is member
        assert len(self.running) < self.STREAMS
        assert 1 <= len(batch.jobs) <= self.MAX_BATCH
        assert batch.bucket in {by_model_and_length(member) for member in batch.jobs}
        self.running.append(batch)

    @precondition(lambda self: self.running)
    @rule(seconds=st.floats(0.01, 1))
    def finish(self, seconds: float) -> None:
        batch = self.running.pop(0)
        self.batches.finished(batch, seconds, self.now)
        for member in batch.jobs:
            self.leave(member)

    @precondition(lambda self: self.running)
    @rule(out_of_memory=st.booleans())
    def fail(self, out_of_memory: bool) -> None:
        batch = self.running.pop()
        given_up, dropped = self.batches.failed(batch, self.now, out_of_memory=out_of_memory)
        self.waiting |= {member.job: member for member in batch.jobs}
        assert not given_up or len(batch.jobs) == 1
        for gone in given_up:
            del self.waiting[gone.job]
            self.leave(gone)
        self.drop(dropped)

    @rule(number=st.integers(0, 1000))
    def cancel(self, number: int) -> None:
        if self.waiting:
            self.drop(self.batches.cancel(sorted(self.waiting)[number % len(self.waiting)]))

    @rule(seconds=st.floats(0, 2))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.drop(self.batches.expire(self.now))

    @rule()
    def rearrange(self) -> None:
        self.batches.rearrange()

    @invariant()
    def the_line_is_what_was_added_and_did_not_leave(self) -> None:
        load = self.batches.load(self.now)
        assert load.finals + load.partials == len(self.waiting)
        assert load.running == len(self.running)
        assert load.final_wait_s >= 0

    @invariant()
    def a_channel_has_one_partial_at_most(self) -> None:
        partials = Counter(waiting.call for waiting in self.waiting.values() if waiting.window.kind is PARTIAL)
        assert all(count == 1 for count in partials.values())

    def teardown(self) -> None:
        """Whatever came before, the line empties once the device works."""
        for _ in range(1000):
            self.now += 1.0
            if self.running:
                self.finish(0.1)
            self.drop(self.batches.expire(self.now))
            self.take()
        assert not self.waiting
        assert not self.running


AnyHistory.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyHistory = AnyHistory.TestCase


@pytest.mark.parametrize("kind", Kind)
def test_a_tenants_second_half_means_that_nobody_else_waits(kind: Kind) -> None:
    """The rule of fairness as it is promised, over many mixes."""
    for seed in range(50):
        batches = batcher(each_s=0.0, max_batch=6)
        tenants = [f"{(seed * 7 + number * number) % 3}" for number in range(12)]
        for number, tenant in enumerate(tenants):
            batches.add(job(kind, f"{number}", tenant=tenant, deadline=10.0 + seed * number % 5), 0.0)
        count = Counter(member.tenant for member in take(batches).jobs)
        waiting = Counter(tenants) - count
        greedy = {tenant for tenant, size in count.items() if size > 3}
        assert all(set(waiting) <= {tenant} for tenant in greedy), f"seed {seed}"
