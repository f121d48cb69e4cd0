"""Several shards on one log, as they are on several machines, but on virtual time: joined, lost, drained, moved."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import pytest

from gpu.loudness import LoudnessVad
from scaler.control import TAKE_UP_S
from scaler.governor import Governor
from scaler.membership import AGAIN_S
from scaler.policy.load import ShardLoad
from scaler.shard import Shard
from streaming.call import AudioFormat, CallSpec
from streaming.control import LEASE_S, ControlView
from streaming.errors import LogRefused, LogUnavailable
from streaming.log import Topic
from streaming.log.memory import MemoryLog
from streaming.record_codec import decode, encode
from streaming.records import (
    UNTIMED,
    AudioChunk,
    AudioRecord,
    CallClosed,
    CallEnded,
    CallOpened,
    Claim,
    Dtmf,
    DtmfReceived,
    Fence,
    Finalized,
    FinalizeRequested,
    OutRecord,
    PauseChanged,
    Paused,
    Snapshot,
    SpeechEnded,
    SpeechStarted,
)
from streaming.records import Final as FinalRecord
from streaming.reducer import Reducer
from tests.support.conversation import settings_for_tests
from tests.support.scene import Scene, Turn
from tests.support.shards import LADDER, Notes, SceneDecoder
from tests.support.virtual_time import run_virtually

SLOTS: Final = 4
CHUNK_S: Final = 0.1
SEEDS: Final = int(os.environ.get("TRUNKLINE_SCHEDULES", "1000")) // 100
KEYS: Final = "0123456789*#ABCD01234567"
KEEP_S: Final = dict.fromkeys(Topic, 3600.0)

Clock = Callable[[], float]


class Moves:
    """A policy that moves what it is told to, once."""

    def __init__(self) -> None:
        self.wanted: list[tuple[int, str]] = []

    def moves(self, view: ControlView, *, now: float) -> Iterable[tuple[int, str]]:
        """Return what is wanted."""
        del view, now
        wanted, self.wanted = self.wanted, []
        return wanted

    def load(self) -> ShardLoad | None:
        """Nothing was measured."""
        return None

    def hear(self, view: ControlView, *, now: float) -> None:
        """Whatever others say."""


@dataclass(slots=True)
class Machine:
    """A shard with what it runs on."""

    shard: Shard
    policy: Moves
    leave: asyncio.Event
    notes: Notes
    running: asyncio.Task[None]


class FlakyLog(MemoryLog):
    """A log whose brokers can be away: nothing is taken, and some records fail."""

    refused: set[tuple[Topic, int]]
    """Where the next record is refused."""
    closed: set[tuple[Topic, int]]
    """Where all are."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(SLOTS, KEEP_S, clock)
        self.refused, self.closed = set(), set()

    async def append(self, topic: Topic, slot: int, key: str, value: bytes) -> asyncio.Future[int]:
        """Append, unless told not to."""
        if (topic, slot) in self.refused:
            self.refused.discard((topic, slot))
            raise LogUnavailable("as it was told")
        if (topic, slot) in self.closed:
            raise LogRefused("as it was told")
        return await super().append(topic, slot, key, value)


class World:
    """A log, its shards, and the hands of a gateway."""

    def __init__(self, scenes: Mapping[str, Scene], clock: Clock) -> None:
        self.scenes = scenes
        self.log = FlakyLog(clock)
        self.machines: dict[str, Machine] = {}
        self._clock = clock
        self._stack = AsyncExitStack()

    async def join(self, name: str) -> Machine:
        """Start a shard and wait until it is a member."""
        policy = Moves()
        decoder = SceneDecoder(self.scenes)
        notes = Notes()
        shard = Shard(
            self.log,
            LoudnessVad(),
            decoder,
            settings=settings_for_tests(),
            governor=Governor(LADDER, decoder),
            observer=notes,
            name=name,
            clock=self._clock,
        )
        joined, leave = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(shard.join(joined, leave, drain_s=10.0, policy=policy))
        await joined.wait()
        self.machines[name] = Machine(shard, policy, leave, notes, running)
        return self.machines[name]

    async def served(self, *names: str) -> None:
        """Wait until these shards serve all slots between them."""
        shards = [self.machines[name].shard for name in names]
        await self.until(lambda: sorted(slot for shard in shards for slot in shard.slots) == list(range(SLOTS)))

    async def kill(self, name: str) -> None:
        """End a shard at once."""
        running = self.machines.pop(name).running
        running.cancel()
        await asyncio.wait([running])

    async def close(self) -> None:
        """End what runs."""
        for name in list(self.machines):
            await self.kill(name)

    async def play(self, call: str, slot: int, *, until_s: float | None = None, from_s: float = 0.0) -> None:
        """Send a call's audio in real time; all of it opens and ends the call."""
        scene = self.scenes[call]
        audio = AudioFormat(scene.encoding, scene.rate)
        if not from_s:
            await self._put(slot, CallOpened(CallSpec(call, "tenant", audio, ("side",))))
        size = round(CHUNK_S * scene.rate) * 2
        stop = len(scene.payload) if until_s is None else round(until_s / CHUNK_S) * size
        for at in range(round(from_s / CHUNK_S) * size, stop, size):
            await self._put(slot, AudioChunk(call, at // size, 0, UNTIMED, scene.payload[at : at + size]))
            await asyncio.sleep(CHUNK_S)
        if until_s is None:
            await self._put(slot, CallEnded(call, "hangup"))

    async def output(self, call: str, slot: int) -> list[OutRecord]:
        """Return what counts of a call, for any reader, once it is closed."""
        reader = self.log.reader(Topic.OUT)
        reader.assign({slot: 0})
        reducer, counted = Reducer(), list[OutRecord]()
        while not (counted and isinstance(counted[-1], CallClosed)):
            for entry in await reader.next():
                record = decode(entry.value)
                assert isinstance(record, OutRecord)
                if reducer.accept(record) and not isinstance(record, Fence) and record.call == call:
                    counted.append(record)
        await reader.close()
        return counted

    async def text(self, call: str, slot: int) -> list[str]:
        """Return what a reader takes for the call's words, once it is closed."""
        output = await self.output(call, slot)
        finals = [record for record in output if isinstance(record, FinalRecord)]
        assert isinstance(output[-1], CallClosed)
        assert output[-1].reason == "hangup"
        assert [final.number for final in finals] == list(range(len(finals)))
        return [word.text for final in finals for word in final.words]

    async def press(self, call: str, slot: int, keys: str) -> None:
        """Press a key every 0.8 s; between two turns of ``talk`` ask for what was said to become final, and pause."""
        await asyncio.sleep(0.1)
        for number, key in enumerate(keys):
            await self._put(slot, DtmfReceived(call, 0, key))
            if number % 5 == 4:
                await self._put(slot, FinalizeRequested(call, None, key))
                await self._put(slot, PauseChanged(call, paused=number % 2 == 0))
            await asyncio.sleep(0.8)

    def owner_of(self, slot: int) -> str:
        """Return who serves a slot."""
        (name,) = [name for name, machine in self.machines.items() if slot in machine.shard.slots]
        return name

    def claims(self, slot: int) -> list[Claim]:
        """Return all claims of a slot."""
        records = [decode(entry.value) for entry in self.log.read(Topic.CONTROL, 0, 0, 100_000)]
        return [record for record in records if isinstance(record, Claim) and record.slot == slot]

    def snapshots(self, slot: int) -> list[Snapshot]:
        """Return all snapshots of a slot."""
        records = [decode(entry.value) for entry in self.log.read(Topic.CONTROL, 0, 0, 100_000)]
        return [record for record in records if isinstance(record, Snapshot) and record.slot == slot]

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is true."""
        while not true():  # noqa: ASYNC110  of several shards: no one event says it, and time is virtual
            await asyncio.sleep(0.05)

    async def _put(self, slot: int, record: AudioRecord) -> None:
        call = record.spec.call if isinstance(record, CallOpened) else record.call
        await self.log.append(Topic.AUDIO, slot, call, encode(record))


def assert_told_once(output: Iterable[OutRecord], keys: str) -> None:
    """Check that every key, answer and pause of ``World.press`` is there once, in order."""
    told = list(output)
    assert "".join(record.digit for record in told if isinstance(record, Dtmf)) == keys
    assert "".join(record.marker for record in told if isinstance(record, Finalized)) == keys[4::5]
    pauses = [record.paused for record in told if isinstance(record, Paused)]
    assert pauses == [number % 2 == 0 for number in range(len(pauses))]
    assert len(pauses) == len(keys[4::5])


def talk(name: str = "w", turns: int = 6) -> Scene:
    """A side that speaks a few words every 4 s."""
    return Scene([Turn(0.5 + 4.0 * number, 4) for number in range(turns)], name=name)


def test_shards_share_the_slots_and_a_newcomer_is_given_some() -> None:
    async def work(clock: Clock) -> None:
        world = World({}, clock)
        await world.join("a")
        await world.served("a")
        newcomer = await world.join("b")
        await world.until(lambda: len(newcomer.shard.slots) == SLOTS // 2)
        await world.served("a", "b")
        await asyncio.sleep(10.0)
        moves = sum(len(world.claims(slot)) for slot in range(SLOTS))
        assert moves == SLOTS + SLOTS // 2  # and nothing goes back and forth
        await world.close()

    run_virtually(work)


def test_the_calls_of_a_shard_that_is_lost_go_on_elsewhere_without_a_word_lost_or_said_twice() -> None:
    """In whatever it was doing: it is killed at many different moments of a call."""

    async def work(clock: Clock, killed_s: float) -> float:
        world = World({"one": talk()}, clock)
        await world.join("a")
        await world.join("b")
        await world.served("a", "b")
        playing = asyncio.create_task(world.play("one", 2))
        await asyncio.sleep(killed_s)
        lost = world.owner_of(2)
        await world.kill(lost)
        killed_at = clock()
        (left,) = world.machines
        await world.served(left)
        again_s = clock() - killed_at
        notes = world.machines[left].notes
        assert "lost" in notes.claimed
        assert 0 <= max(notes.hand_overs_s) < 3.0
        await playing
        assert await world.text("one", 2) == world.scenes["one"].text
        await world.close()
        return again_s

    for tenths in range(5, 200, 13):
        moment = tenths / 10

        async def at_that_moment(clock: Clock, moment: float = moment) -> float:
            return await work(clock, moment)

        assert run_virtually(at_that_moment) < LEASE_S + 3.0


def test_a_shard_that_leaves_gives_its_calls_away_within_seconds() -> None:
    """The source serves until the other has fenced: nothing pauses."""

    async def work(clock: Clock) -> None:
        world = World({"one": talk()}, clock)
        await world.join("a")
        await world.join("b")
        await world.served("a", "b")
        playing = asyncio.create_task(world.play("one", 1))
        await asyncio.sleep(9.0)
        leaving = world.machines[world.owner_of(1)]
        leaving.leave.set()
        asked_at = clock()
        await leaving.running
        assert clock() - asked_at < 2.0
        assert world.claims(1)[-1].reason == "drained"
        await playing
        assert await world.text("one", 1) == world.scenes["one"].text
        del world.machines[next(name for name, each in world.machines.items() if each is leaving)]
        await world.close()

    run_virtually(work)


def test_a_shard_with_nobody_to_take_its_calls_stops_when_its_time_is_over() -> None:
    async def work(clock: Clock) -> None:
        world = World({}, clock)
        alone = await world.join("a")
        await world.served("a")
        alone.leave.set()
        asked_at = clock()
        await alone.running
        assert clock() - asked_at >= 10.0

    run_virtually(work)


def test_a_call_that_is_moved_again_and_again_loses_nothing() -> None:
    async def work(clock: Clock) -> None:
        world = World({"one": talk(turns=10)}, clock)
        await world.join("a")
        await world.join("b")
        await world.served("a", "b")
        playing = asyncio.create_task(world.play("one", 3))
        while not playing.done():
            await asyncio.sleep(1.7)
            (target,) = set(world.machines) - {world.claims(3)[-1].owner}
            for machine in world.machines.values():  # whoever leads
                machine.policy.wanted = [(3, target)]
        assert len([claim for claim in world.claims(3) if claim.reason == "moved"]) > 15
        assert await world.text("one", 3) == world.scenes["one"].text
        await world.close()

    run_virtually(work)


def test_keys_answers_and_edges_of_speech_are_told_once_however_often_a_call_is_moved() -> None:
    """A key told twice is another key: somebody is asked for the wrong account."""

    async def work(clock: Clock) -> None:
        world = World({"one": talk(turns=10)}, clock)
        await world.join("a")
        await world.join("b")
        await world.served("a", "b")
        playing = asyncio.gather(world.play("one", 3), world.press("one", 3, KEYS))
        while not playing.done():
            await asyncio.sleep(1.7)
            (target,) = set(world.machines) - {world.claims(3)[-1].owner}
            for machine in world.machines.values():  # whoever leads
                machine.policy.wanted = [(3, target)]
        output = await world.output("one", 3)
        edges = [type(record) for record in output if isinstance(record, SpeechStarted | SpeechEnded)]
        assert edges == [SpeechStarted, SpeechEnded] * (len(edges) // 2)
        assert_told_once(output, KEYS)
        assert await world.text("one", 3) == world.scenes["one"].text
        await world.close()

    run_virtually(work)


def test_a_slot_whose_record_could_not_be_written_is_begun_anew() -> None:
    """What follows a missing record cannot count; the slot is claimed again at once, by whoever has it."""

    async def work(clock: Clock) -> None:
        world = World({"one": talk()}, clock)
        await world.join("a")
        await world.served("a")
        playing = asyncio.create_task(world.play("one", 0))
        await asyncio.sleep(6.0)
        world.log.refused.add((Topic.OUT, 0))
        await playing
        assert [claim.reason for claim in world.claims(0)] == ["new", "again"]
        assert await world.text("one", 0) == world.scenes["one"].text
        await world.close()

    run_virtually(work)


def test_a_slot_that_cannot_be_written_is_not_claimed_all_the_time_and_goes_on_when_it_can() -> None:
    """A right that is missing is missing for minutes: a claim a millisecond would fill the log with nothing."""

    async def work(clock: Clock) -> None:
        world = World({"one": talk()}, clock)
        await world.join("a")
        await world.served("a")
        playing = asyncio.create_task(world.play("one", 0))
        await asyncio.sleep(6.0)
        world.log.closed.add((Topic.OUT, 0))
        await asyncio.sleep(2.5 * AGAIN_S)
        assert [claim.reason for claim in world.claims(0)] == ["new", "again", "again", "again"]
        world.log.closed.clear()
        await playing
        assert await world.text("one", 0) == world.scenes["one"].text
        await world.close()

    run_virtually(work)


def test_snapshots_follow_the_calls_and_name_none_when_they_are_over() -> None:
    """A new owner replays seconds, not the whole call; and what was said is not kept beside the log for longer."""

    async def work(clock: Clock) -> None:
        world = World({"one": talk()}, clock)
        await world.join("a")
        await world.served("a")
        await world.play("one", 0)
        await world.text("one", 0)
        await asyncio.sleep(12.0)
        reached = [snapshot.audio_offset for snapshot in world.snapshots(0)]
        assert len(reached) > 3
        assert reached == sorted(reached)
        last = world.snapshots(0)[-1]
        assert (last.calls, last.progress, last.closed) == ((), (), ("one",))
        assert last.audio_offset == await world.log.end_offset(Topic.AUDIO, 0)
        await world.close()

    run_virtually(work)


def test_a_shard_that_joins_late_knows_what_was_claimed_before() -> None:
    """It reads who owns what before it says that it lives."""

    async def work(clock: Clock) -> None:
        world = World({}, clock)
        await world.join("a")
        await world.served("a")
        await world.kill("a")
        await world.join("b")
        began = clock()
        await world.served("b")
        assert clock() - began < TAKE_UP_S
        assert [claim.reason for claim in world.claims(0)] == ["new", "lost"]
        await world.close()

    run_virtually(work)


async def disturb(world: World, dice: random.Random, names: Iterator[str]) -> None:
    """Do something to the cluster that may happen to it."""
    name = dice.choice(list(world.machines))
    match dice.choice(["kill", "leave", "move", "join", "refuse"]):
        case "kill":
            await world.kill(name)
            await world.join(next(names))
        case "leave":
            machine = world.machines[name]
            if len(world.machines) == 1:
                await world.join(next(names))
            machine.leave.set()
            await machine.running
            del world.machines[name]
        case "move":
            for machine in world.machines.values():
                machine.policy.wanted = [(dice.randrange(SLOTS), name)]
        case "join":
            await world.join(next(names))
        case _:
            world.log.refused.add((dice.choice([Topic.OUT, Topic.LOAD, Topic.PARTIALS]), dice.randrange(SLOTS)))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_happens_to_shards_every_word_is_final_once(seed: int) -> None:
    """Killed, drained, started, moved and refused at random, with a call in each slot; the seed is in the name."""

    async def work(clock: Clock) -> None:
        dice = random.Random(seed)  # noqa: S311  a game
        names = (f"shard-{number}" for number in itertools.count())
        calls = {f"call-{slot}": talk(f"w{slot}-") for slot in range(SLOTS)}
        world = World(calls, clock)
        await world.join(next(names))
        await world.join(next(names))
        playing = [asyncio.create_task(world.play(call, slot)) for slot, call in enumerate(calls)]
        playing += [asyncio.create_task(world.press(call, slot, KEYS)) for slot, call in enumerate(calls)]
        while not all(each.done() for each in playing):
            await asyncio.sleep(dice.uniform(0.0, 4.0))
            await disturb(world, dice, names)
        async with asyncio.timeout(60.0):
            for slot, call in enumerate(calls):
                assert await world.text(call, slot) == calls[call].text
                assert_told_once(await world.output(call, slot), KEYS)
        await world.close()

    run_virtually(work)
