"""A simulated fleet: calls that come and go, gateways that place them, shards, what happens to them, what is done.

One call is one channel on which somebody speaks all the time; a slot holds one call, so moving one is moving the other.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Final

from scaler.policy.admission import AdmissionPolicy, Placed
from scaler.policy.mover import BETWEEN_SHARDS, Item, Mover, Place
from scaler.sim.clock import Clock
from scaler.sim.provision import Provision
from scaler.sim.queueing import QueueFactory
from scaler.sim.scenario import Happening, Kind, Scenario, Strategy
from scaler.sim.shard import Call, Shard, windows
from scaler.sim.tally import FAILED_S, Moment, Result, Tally
from streaming.call import SAMPLE_RATE
from streaming.decoding import DecodeJob
from streaming.decoding import Kind as JobKind
from streaming.ladder import Rung
from streaming.leads import Told
from streaming.utterance import WindowSettings

__all__ = ["Fleet", "simulate"]

UTTERANCE_S: Final = (2.5, 6.5)
PAUSE_S: Final = 0.5
HESITATIONS: Final = 0.55
"""Share of utterances with a pause that looks like their end: of 204 that were measured 73 were not, 131 were."""
HESITATED: Final = (0.2, 0.9)
"""Where in an utterance that is."""
FIRST_PARTIAL_S: Final = 0.4
FINAL_DEADLINE_S: Final = 1.0
PARTIAL_DEADLINE_S: Final = 1.5

TAKEN_OVER_S: Final = 2.5
"""From a death to the claim of its slots: a lease of 2 s, and the coordinator's next look."""
REPLAY_S: Final = 0.3
"""From a claim to the first window of its new owner."""
RECONNECT_S: Final = 10.0
"""Until a caller of a plain server is back after its server died."""
HOT_S: Final = 5.0
"""Seconds below the best rung from which a shard wants to be rid of calls."""
TRIES: Final = 12
"""Times a refused caller asks before it gives up."""
SLOW: Final = 3.0


class Fleet:
    """One run.

    Args:
        scenario: What happens.
        strategy: What is done about it.
        queue: Makes the lines before devices.
        seed: Of all that is random.
    """

    def __init__(self, scenario: Scenario, strategy: Strategy, queue: QueueFactory, seed: int) -> None:
        self.clock = Clock()
        self.shards: list[Shard] = []
        self.waiting: dict[int, Call] = {}
        """Calls that were refused and will ask again."""
        self._scenario = scenario
        self._strategy = strategy
        self._queue = queue
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        harmed_at = min((each.at_s for each in scenario.happenings), default=scenario.burst_at_s)
        burst = scenario.burst_at_s, scenario.burst_ends_s
        self._tally = Tally(burst, scenario.warm_up_s, harmed_at)
        self._admission = AdmissionPolicy(self._rng)
        self._mover = Mover[int](BETWEEN_SHARDS)
        self._calls: dict[int, Call] = {}
        self._promised = {rung.final_model for rung in scenario.ladder.rungs[: scenario.promised + 1]}
        self._jobs = 0
        self._numbers = 0
        self._gone: list[Shard] = []
        self._last = (0, 0, 0.0, 0.0)
        self._provision = Provision(scenario, strategy, self.clock, self._rng, self._add_shard)

    def run(self) -> Result:
        """Run to the end."""
        scenario = self._scenario
        for _ in range(scenario.devices):
            self._add_shard()
        for _ in range(scenario.base):
            self.clock.at(self._rng.uniform(0, scenario.ramp_s), self._arrive, False, None)
        for number in range(scenario.burst - scenario.base):
            at = scenario.burst_at_s + scenario.ramp_s * number / (scenario.burst - scenario.base)
            self.clock.at(at, self._arrive, True, scenario.burst_ends_s + self._rng.uniform(0, scenario.ramp_s))
        self.clock.after(self._rng.expovariate(scenario.base / scenario.call_s), self._turn_over)
        for happening in scenario.happenings:
            self.clock.at(happening.at_s, self._happen, happening)
        self.clock.every(1.0, self._tick)
        self.clock.run(scenario.warm_up_s)
        before = self._used()
        self.clock.run(scenario.ends_s)
        return self._sum_up(before)

    # --- calls -----------------------------------------------------------------------------------------------------

    def _turn_over(self) -> None:
        self._arrive(True, None)
        self.clock.after(self._rng.expovariate(self._scenario.base / self._scenario.call_s), self._turn_over)

    def _arrive(self, asks: bool, ends_at: float | None) -> None:
        self._numbers += 1
        lasts_s = self._rng.expovariate(1 / self._scenario.call_s)
        hot = self._rng.random() < self._scenario.hot_share
        call = Call(self._numbers, hot, ends_at or self.clock.now + lasts_s)
        self._ask(call, asks, TRIES)

    def _ask(self, call: Call, asks: bool, tries: int) -> None:
        """Ask a gateway for a place."""
        self.waiting.pop(call.number, None)
        if not (asks and self._strategy.admission):
            self._begin(call, self._emptiest())
            return
        loads = [shard.load for shard in self.shards if shard.load is not None]
        decision = self._admission.decide(loads, self.clock.now, next_shard_s=self._provision.next_s())
        if isinstance(decision, Placed):
            self._begin(call, next(shard for shard in self.shards if shard.name == decision.shard))
            return
        self._tally.refused += 1
        if tries == 1:
            self._tally.turned_away += 1
            return
        self.waiting[call.number] = call
        self.clock.after(decision.retry_after_s, self._ask, call, asks, tries - 1)

    def _begin(self, call: Call, shard: Shard | None) -> None:
        self._calls[call.number] = call
        self._give(call, shard)
        self._next_utterance(call, self.clock.now + self._rng.uniform(0, 1))
        self.clock.at(call.ends_at, self._end, call)

    def _end(self, call: Call) -> None:
        call.over = True
        self._calls.pop(call.number, None)
        if call.shard is not None:
            call.shard.calls.pop(call.number, None)

    def _give(self, call: Call, shard: Shard | None) -> None:
        if shard is None or not shard.alive:
            self.clock.after(1.0, self._find_home, call)
        elif not call.over:
            shard.take(call)

    def _find_home(self, call: Call) -> None:
        if not call.over and call.shard is None:
            self._give(call, self._emptiest())

    def _emptiest(self) -> Shard | None:
        open_to = [shard for shard in self.shards if shard.alive and not shard.leaving]
        return min(open_to, key=lambda shard: (len(shard.calls), shard.name), default=None)

    # --- speech ----------------------------------------------------------------------------------------------------

    def _next_utterance(self, call: Call, at: float) -> None:
        call.utterance_at = at
        call.utterance_ends = at + self._rng.uniform(*UTTERANCE_S)
        call.decoded_at = at
        self.clock.at(at + FIRST_PARTIAL_S, self._speak, call)
        if self._rng.random() < HESITATIONS:
            hesitates_at = at + self._rng.uniform(*HESITATED) * (call.utterance_ends - at)
            self.clock.at(hesitates_at, self._hesitate, call)

    def _speak(self, call: Call) -> None:
        now = self.clock.now
        if call.over:
            return
        if now >= call.utterance_ends - 1e-6:
            self._emit(call, JobKind.FINAL, now)
            call.leads.add(Told(_sample(call.utterance_at), _sample(now)))
            self._next_utterance(call, now + PAUSE_S)
            return
        cadence_s = call.shard.quality.cadence_s if call.shard else 1.0
        due_at = call.decoded_at + cadence_s
        if call.decoded_at > call.utterance_at and now < due_at - 1e-6:  # a guess came between
            self.clock.at(min(due_at, call.utterance_ends), self._speak, call)
            return
        if not (self._strategy.deadlines and call.partials_out):  # ours waits for the answer to the last
            self._emit(call, JobKind.PARTIAL, now)
        self.clock.at(min(now + cadence_s, call.utterance_ends), self._speak, call)

    def _hesitate(self, call: Call) -> None:
        """Begin a final that is thrown away, since the speaker goes on, where the rung in force allows that."""
        if not call.over and call.shard is not None and call.shard.quality.speculate and self._strategy.deadlines:
            self._emit(call, JobKind.FINAL, self.clock.now, thrown_away=True)
            call.decoded_at = self.clock.now

    def _lead_s(self, call: Call, now: float) -> float:
        """Earlier speech in front of a final that begins now."""
        if call.shard is None or call.shard.quality.lead_s == 0 or not self._strategy.deadlines:
            return 0.0
        start, settings = _sample(call.utterance_at), _settings(call.shard.quality)
        call.leads.begin(start, settings)
        return call.leads.before(start, _sample(now), settings).samples / SAMPLE_RATE

    def _emit(self, call: Call, kind: JobKind, now: float, *, thrown_away: bool = False) -> None:
        lead_s = self._lead_s(call, now) if kind is JobKind.FINAL else 0.0
        for side in range(2 if call.hot else 1):
            self._jobs += 1
            patience_s = FINAL_DEADLINE_S if kind is JobKind.FINAL else PARTIAL_DEADLINE_S
            job = DecodeJob(
                job=self._jobs,
                call=str(call.number),
                channel=side,
                tenant="hot" if call.hot else str(call.number % 20),
                window=windows(kind, lead_s + now - call.utterance_at),
                submitted_at=now,
                deadline=now + patience_s,
            )
            if call.shard is not None:
                call.partials_out += kind is JobKind.PARTIAL
                if thrown_away:
                    call.guesses.add(job.job)
                call.shard.submit(call, job, now, lead_s=lead_s)
            elif kind is JobKind.FINAL:
                call.held.append((job, now))

    def _answered(self, call: Call, job: DecodeJob, audio_end: float, model: str) -> None:
        if job.window.kind is JobKind.FINAL:
            self._tally.final(self.clock.now, self.clock.now - audio_end, hot=call.hot, kept=model in self._promised)

    # --- what happens ----------------------------------------------------------------------------------------------

    def _add_shard(self) -> None:
        self._numbers += 1
        self.shards.append(
            Shard(
                f"shard-{self._numbers}",
                self.clock,
                self._rng,
                self._scenario.hardware,
                ladder=self._scenario.ladder,
                queue=self._queue,
                promised=self._scenario.promised,
                climbs=self._strategy.ladder,
                tally=self._tally,
                answered=self._answered,
            )
        )

    def _happen(self, happening: Happening) -> None:
        fullest = sorted((shard for shard in self.shards if shard.alive), key=lambda shard: -len(shard.calls))
        for shard in fullest[: happening.devices]:
            match happening.kind:
                case Kind.KILL:
                    self._kill(shard)
                case Kind.SPOT:
                    shard.leaving = self._strategy.mover
                    self.clock.after(self._scenario.notice_s, self._kill, shard)
                case Kind.SLOW:
                    shard.slow = SLOW
                    self.clock.after(happening.lasts_s, self._recover, shard)

    def _recover(self, shard: Shard) -> None:
        shard.slow = 1.0

    def _kill(self, shard: Shard) -> None:
        if shard not in self.shards:  # emptied and given back in time
            return
        shard.die()
        self.shards.remove(shard)
        self._gone.append(shard)
        self._provision.died()
        orphans = list(shard.calls.values())
        for call in orphans:
            owed = shard.release(call)
            if self._strategy.deadlines:
                call.held += owed
                self.clock.after(TAKEN_OVER_S + REPLAY_S, self._find_home, call)
            else:
                self._tally.lost(self.clock.now, len(owed))
                self.clock.after(RECONNECT_S, self._reconnect, call)

    def _reconnect(self, call: Call) -> None:
        """A caller of a plain server is back; what was said meanwhile is lost."""
        self._tally.lost(self.clock.now, len(call.held))
        call.held.clear()
        self._find_home(call)

    # --- what is done ----------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self.clock.now
        loads = [shard.tick() for shard in self.shards]
        if self._strategy.mover:
            self._move(now)
        emptied = self._provision.tick(self.shards, loads, len(self.waiting))
        for shard in emptied:
            self.shards.remove(shard)
            self._gone.append(shard)
            shard.die()
        busy_s, paid_s, _ = self._used()
        moves, refused = self._tally.moves, self._tally.refused
        self._tally.moments.append(
            Moment(
                at=now,
                calls=len(self._calls),
                devices=len(self.shards) + self._provision.warm,
                rung=sum(shard.rung for shard in self.shards) / max(1, len(self.shards)),
                p95_s=self._tally.recent_p95(now),
                idle=1 - (busy_s - self._last[2]) / max(1.0, paid_s - self._last[3]),
                moves=moves - self._last[0],
                refused=refused - self._last[1],
            )
        )
        self._last = moves, refused, busy_s, paid_s

    def _move(self, now: float) -> None:
        by_name = {shard.name: shard for shard in self.shards}
        for move in self._mover.tick([self._place(shard, now) for shard in self.shards], now):
            call = by_name[move.origin].calls[move.item]
            call.held += by_name[move.origin].release(call)
            self._tally.moves += 1
            self.clock.after(REPLAY_S, self._arrive_at, call, by_name[move.target])

    def _arrive_at(self, call: Call, shard: Shard) -> None:
        if not call.over and call.shard is None:
            self._give(call, shard)

    def _place(self, shard: Shard, now: float) -> Place[int]:
        assert shard.load is not None
        used = shard.load.utilisation[self._scenario.promised]
        each = used / max(1, len(shard.calls))
        items = tuple(Item(call.number, each, now - call.utterance_at) for call in shard.calls.values())
        hot = shard.below_since is not None and now - shard.below_since > HOT_S
        return Place(name=shard.name, utilisation=used, items=items, hot=hot, leaving=shard.leaving)

    def _used(self) -> tuple[float, float, float]:
        """Device seconds with batches, device seconds, and those that were needed, until now."""
        everybody = [*self.shards, *self._gone]
        for shard in everybody:
            shard.close()
        return sum(shard.busy_s for shard in everybody), self._provision.paid_s, self._provision.needed_s

    def _sum_up(self, before: tuple[float, float, float]) -> Result:
        now = self.clock.now
        for call in self._calls.values():
            owed = [*(each for number, each in call.out.items() if number not in call.guesses), *call.held]
            self._tally.lost(now, sum(job.window.kind is JobKind.FINAL and now - end > FAILED_S for job, end in owed))
        busy_s, paid_s, needed_s = (after - then for after, then in zip(self._used(), before, strict=True))
        return self._tally.result(self._strategy.name, busy_s=busy_s, paid_s=paid_s, needed_s=needed_s)


def _sample(at: float) -> int:
    return int(at * SAMPLE_RATE)


@cache
def _settings(rung: Rung) -> WindowSettings:
    return WindowSettings().at(rung)


def simulate(scenario: Scenario, strategy: Strategy, plain: QueueFactory, ours: QueueFactory, seed: int) -> Result:
    """Run a scenario.

    Args:
        scenario: What happens.
        strategy: What is done about it.
        plain: Makes lines as a plain server has them.
        ours: Makes lines as Trunkline has them.
        seed: Of all that is random: the same seed gives the same result.
    """
    return Fleet(scenario, strategy, ours if strategy.deadlines else plain, seed).run()
