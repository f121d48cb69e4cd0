"""The protocol of ownership as a game: real rules, pretended shards, coordinators, gateways and network.

A schedule is a seed. In its first half anything may happen: shards are killed or paused and go on as zombies, records
are delayed, doubled, lost with their sender, or overtaken; gateways send again what they do not know to be safe; two
coordinators claim against one another; slots are moved; audio is let go of. In its second half nothing is disturbed any
more, and every call must come to its end. Then what readers accepted is compared with what was said.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final as Constant
from typing import TypeVar
from zlib import crc32

import numpy as np

from scaler.control import Coordinator
from scaler.ownership import Phase, Serve, SlotOwner, Stop
from streaming.call import AudioFormat, CallSpec, Encoding
from streaming.control import HEARTBEAT_S, ControlView
from streaming.decoding import Float32Array, Word
from streaming.media import NEW_CLOCK, MediaClock
from streaming.records import (
    STANDING,
    UNTIMED,
    AudioChunk,
    AudioRecord,
    CallClosed,
    CallEnded,
    CallOpened,
    CallState,
    Claim,
    ControlRecord,
    EndReason,
    Fence,
    Final,
    Heartbeat,
    OutRecord,
    Progress,
    Record,
    Snapshot,
)
from streaming.reducer import Reducer

T = TypeVar("T")

RATE: Constant = 8_000
PER_SAMPLE: Constant = 16_000 // RATE
CHUNK: Constant = 160
MAX_GAP_S: Constant = 1.0
SLOT: Constant = 0
STEP_S: Constant = 0.05
SHARDS: Constant = 3
FORMAT: Constant = AudioFormat(Encoding.MULAW, RATE, 2)


class Dice(random.Random):
    """Chance from a seed; quick, because a game throws hundreds of times."""

    def below(self, count: int) -> int:
        """Return 0 and up, below a number."""
        return int(self.random() * count)

    def between(self, least: int, stop: int) -> int:
        """Return a number from ``least`` on, below ``stop``."""
        return least + int(self.random() * (stop - least))

    def pick(self, options: Sequence[T]) -> T:
        """Return one of some."""
        return options[int(self.random() * len(options))]


class Violation(AssertionError):
    """The protocol broke a promise."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The protocol's rules, to be broken one by one."""

    reducer: type[Reducer] = Reducer
    """What every reader folds ``out`` with."""
    owner: type[SlotOwner] = SlotOwner
    epoch_of: Callable[[int, Claim], int] = lambda offset, _: offset
    """Which epoch a claim gives."""
    fences: bool = True
    """Whether a new owner fences at all."""
    overtaking: bool = False
    """Whether records of one sender may overtake each other."""
    knows_heard_chunks: bool = True
    """Whether a chunk that was heard before is dropped."""
    goes_on_from: str = "log"
    """Where a new owner takes from how far a call is final: ``log``, or ``committed``, kept beside it as it is sent."""
    clocks_restored: bool = True
    """Whether a new owner's media clocks go on from the snapshot's."""
    snapshots_anywhere: bool = False
    """Whether a snapshot may begin behind audio that is not final."""
    stops_when_fenced: bool = True
    """Whether an owner writes nothing more once it has read a newer fence."""


class Channel:
    """Audio of one side, from where it was first heard."""

    def __init__(self, clock: MediaClock, number: int, done_to: int) -> None:
        self.clock = clock
        self.number = number
        self.done_to = done_to
        self._start = clock.position
        self._pieces: list[Float32Array] = []

    def hear(self, samples: Float32Array, position: int) -> None:
        """Take a chunk."""
        self._pieces.append(self.clock.place(samples, position))

    @property
    def heard_to(self) -> int:
        """Samples at 16 kHz."""
        return self.clock.position * PER_SAMPLE

    def text(self, start: int, end: int) -> str:
        """Return what was said between two places: a function of the samples alone."""
        heard = np.concatenate([*self._pieces, np.zeros(0, np.float32)])
        piece = heard[start // PER_SAMPLE - self._start : end // PER_SAMPLE - self._start]
        if start // PER_SAMPLE < self._start or piece.size != (end - start) // PER_SAMPLE:
            return "unheard"
        return f"{crc32(piece.tobytes()):08x}"


@dataclass(slots=True)
class Session:
    """A call as an owner hears it."""

    spec: CallSpec
    channels: list[Channel]
    next_sequence: int = 0
    ended: bool = False
    closed: bool = False

    def state(self) -> CallState:
        """Return what a snapshot says of it."""
        return CallState(self.spec, self.next_sequence, tuple(channel.clock.state() for channel in self.channels))


def said_by(script: Sequence[AudioRecord]) -> dict[int, Channel]:
    """Hear a whole call undisturbed."""
    channels = {index: Channel(MediaClock(RATE, MAX_GAP_S), 0, 0) for index in range(2)}
    for record in script:
        if isinstance(record, AudioChunk):
            channels[record.channel].hear(samples(record), record.position)
    return channels


def samples(chunk: AudioChunk) -> Float32Array:
    """Return samples that no other chunk has."""
    return np.frombuffer(chunk.payload, np.float32)


def script_of(call: str, dice: Dice) -> list[AudioRecord]:
    """Make up a call: two sides in turn, some timed with gaps and jitter, some not."""
    spec = CallSpec(call, "tenant", FORMAT, ("a", "b"))
    records: list[AudioRecord] = [CallOpened(spec)]
    places, timed = [0, 0], dice.random() < 0.7
    for sequence in range(dice.between(8, 24)):
        channel = dice.below(2)
        if dice.random() < 0.2:
            places[channel] += dice.below(900)
        value = np.full(CHUNK, 1000.0 * (sequence + 1) + channel, np.float32)
        position = places[channel] + dice.between(-9, 9) if timed else UNTIMED
        records.append(AudioChunk(call, sequence, channel, max(UNTIMED, position), value.tobytes()))
        places[channel] += CHUNK
    return [*records, CallEnded(call, "hangup")]


@dataclass(slots=True)
class Topic:
    """One slot of a topic: records in order; the first ones may be gone."""

    records: list[Record] = field(default_factory=list[Record])
    start: int = 0

    def read(self, offset: int, limit: int) -> Iterator[tuple[int, Record]]:
        """Return up to so many kept records from an offset on."""
        first = max(offset, self.start)
        if first >= len(self.records):
            return iter(())
        return zip(range(first, len(self.records)), self.records[first : first + limit], strict=False)


class Wire:
    """Records on their way from one sender to one topic."""

    def __init__(self, topic: Topic, dice: Dice, *, overtaking: bool) -> None:
        self._topic = topic
        self._dice = dice
        self._overtaking = overtaking
        self.waiting: deque[Record] = deque()

    def send(self, record: Record) -> None:
        """Hand a record over."""
        self.waiting.append(record)

    def deliver(self, *, doubling: float) -> None:
        """Let some records arrive: in their order, and sometimes all of them again, as a retried batch does."""
        count = self._dice.between(1, 4)
        if self._overtaking and len(self.waiting) > 1:
            self.waiting.rotate(self._dice.below(len(self.waiting)))
        batch = [self.waiting.popleft() for _ in range(min(count, len(self.waiting)))]
        self._topic.records += batch
        if self._dice.random() < doubling:
            self._topic.records += batch


class Shard:
    """A shard with one slot to care for: the shell around ``SlotOwner``, as the real one must be."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.out = Wire(world.out, world.dice, overtaking=world.rules.overtaking)
        self.control = Wire(world.control, world.dice, overtaking=False)
        self._world = world
        self._view = ControlView()
        self._read_control = 0
        self.owner: SlotOwner | None = None
        self._read_audio = 0
        self._sessions: dict[str, Session] = {}
        self._beat_at = float("-inf")
        self.written_after_fence = 0
        reads = (self.follow_control, self.follow_out, self.follow_out, self.follow_audio)
        self._deeds = (*reads, self.write, self.write, self.mark)

    @property
    def serving(self) -> bool:
        """Whether it hears and writes."""
        return self.owner is not None and self.owner.phase is Phase.SERVING

    def act(self, what: int) -> None:
        """Do a little of one thing."""
        self.beat()
        self._deeds[what]()

    def beat(self) -> None:
        """Say that it lives."""
        now = self._world.now
        if now - self._beat_at >= HEARTBEAT_S:
            self._beat_at = now
            self.control.send(Heartbeat(self.name, (SLOT,) if self.serving else (), 0.5, draining=False))

    def follow_control(self) -> None:
        """Hear of claims."""
        for offset, record in self._world.control.read(self._read_control, 8):
            self._read_control = offset + 1
            assert isinstance(record, ControlRecord)
            self._view.read(offset, record, now=self._world.now)
            if isinstance(record, Claim) and record.owner == self.name:
                self._take_over(self._world.rules.epoch_of(offset, record))

    def follow_out(self) -> None:
        """Hear what counts."""
        if self.owner is None:
            return
        for offset, record in self._world.out.read(self.owner.read_out_from, 8):
            assert isinstance(record, OutRecord)
            match self.owner.read(offset, record):
                case Serve() as serve:
                    self._serve(serve)
                case Stop():
                    if self._world.rules.stops_when_fenced:
                        self._sessions.clear()
                case None:
                    pass

    def follow_audio(self) -> None:
        """Hear calls."""
        if not self.serving:
            return
        for offset, record in self._world.audio.read(self._read_audio, 6):
            if offset != self._read_audio:
                self._miss_audio()
                return
            self._read_audio = offset + 1
            self._hear(record)

    def _miss_audio(self) -> None:
        """Find that audio was let go of before it was heard: only a former owner may."""
        assert self.owner is not None
        if self.owner.epoch == self._world.newest_fence:
            raise Violation("audio that was still needed is gone")
        self.owner.stop()
        self._sessions.clear()

    def write(self) -> None:
        """Make something final: any side, up to any place heard."""
        dice = self._world.dice
        if self.owner is None or not self._sessions:
            return
        session = dice.pick(list(self._sessions.values()))
        index = dice.below(2)
        channel = session.channels[index]
        ahead = (channel.heard_to - channel.done_to) // PER_SAMPLE
        if ahead > 0:
            to = channel.heard_to if session.ended else channel.done_to + PER_SAMPLE * dice.between(1, ahead + 1)
            self._send(self._made(session, index, channel, to))
        elif session.ended and not session.closed and all(side.heard_to == side.done_to for side in session.channels):
            session.closed = True
            self._send(CallClosed(self.owner.epoch, session.spec.call, "hangup", 0.0, 0.0))

    def mark(self) -> None:
        """Note a place for snapshots, and write one."""
        if self.owner is None or not self.serving:
            return
        open_calls = [session for session in self._sessions.values() if not session.ended]
        owing = [session.spec.call for session in self._sessions.values() if session.ended]
        self.owner.note(self._read_audio, [session.state() for session in open_calls], owing)
        snapshot = self.owner.snapshot()
        if snapshot is None:
            return
        if self._world.rules.snapshots_anywhere:
            calls = tuple(session.state() for session in open_calls)
            snapshot = replace(snapshot, audio_offset=self._read_audio, calls=calls)
        self.control.send(snapshot)

    def _take_over(self, epoch: int) -> None:
        rules = self._world.rules
        self._sessions.clear()
        snapshot = self._view.snapshots.get(SLOT)
        self.owner = rules.owner(SLOT, epoch, self.name, snapshot)
        self.owner.reducer = rules.reducer()
        if snapshot is not None:
            self.owner.reducer = rules.reducer.resumed(snapshot.epoch, snapshot.progress, snapshot.closed)
        if rules.fences:
            self.out.send(self.owner.fence)
        else:
            self.owner.phase = Phase.SERVING
            self._serve(Serve(0, ()))

    def _serve(self, serve: Serve) -> None:
        self._read_audio = serve.audio_offset
        for state in serve.calls:
            clocks = state.clocks if self._world.rules.clocks_restored else (NEW_CLOCK,) * 2
            self._open(state.spec, [MediaClock(RATE, MAX_GAP_S, clock) for clock in clocks], state.next_sequence)

    def _open(self, spec: CallSpec, clocks: Sequence[MediaClock], next_sequence: int) -> None:
        assert self.owner is not None
        if spec.call in self._sessions or self.owner.reducer.is_closed(spec.call):
            return
        channels = [
            Channel(clock, *self._world.progress(self.owner, spec.call, side)) for side, clock in enumerate(clocks)
        ]
        self._sessions[spec.call] = Session(spec, channels, next_sequence)

    def _hear(self, record: Record) -> None:
        match record:
            case CallOpened(spec):
                self._open(spec, [MediaClock(RATE, MAX_GAP_S), MediaClock(RATE, MAX_GAP_S)], 0)
            case AudioChunk() if record.call in self._sessions:
                session = self._sessions[record.call]
                if record.sequence < session.next_sequence and self._world.rules.knows_heard_chunks:
                    return
                session.next_sequence = record.sequence + 1
                session.channels[record.channel].hear(samples(record), record.position)
            case CallEnded(call) if call in self._sessions:
                self._sessions[call].ended = True
            case _:
                pass

    def _made(self, session: Session, index: int, channel: Channel, to: int) -> Final | Progress:
        assert self.owner is not None
        epoch, call, start = self.owner.epoch, session.spec.call, channel.done_to
        channel.done_to = to
        if self._world.dice.random() < 0.3:
            return Progress(epoch, call, index, start, to)
        channel.number += 1
        words = (Word(channel.text(start, to), 0.0, 0.0, 1.0),)
        return Final(
            epoch, call, index, channel.number - 1, start, to, words, "en", 1.0, "model", EndReason.CUT, 0.0, 0.0
        )

    def _send(self, record: OutRecord) -> None:
        assert self.owner is not None
        if self.owner.phase is Phase.STOPPED:
            self.written_after_fence += 1
        if isinstance(record, Final | Progress):
            number = record.number + 1 if isinstance(record, Final) else None
            self._world.commit(record, number)
        self.out.send(record)


class Gateway:
    """Sends one call's audio, each record until it is known to be in the log, and now and then some of it again."""

    def __init__(self, script: Sequence[AudioRecord], world: World) -> None:
        self._script = script
        self._world = world
        self._next = 0
        self._wire = Wire(world.audio, world.dice, overtaking=False)

    @property
    def wire(self) -> Wire:
        """Its records on their way."""
        return self._wire

    def act(self) -> None:
        """Send a little."""
        dice = self._world.dice
        if self._next > 1 and self._next < len(self._script) and dice.random() < 0.08:
            # Its client came to another gateway, which sends on from the last record known to be safe.
            self._next = dice.between(1, self._next)
        for _ in range(dice.between(1, 4)):
            if self._next < len(self._script):
                self._wire.send(self._script[self._next])
                self._next += 1

    @property
    def done(self) -> bool:
        """Whether all is in the log."""
        return self._next == len(self._script) and not self._wire.waiting


class World:
    """Everything of one schedule."""

    def __init__(self, seed: int, rules: Rules) -> None:
        self.dice = Dice(seed)
        self.rules = rules
        self.now = 0.0
        self.audio, self.out, self.control = Topic(), Topic(), Topic()
        self.scripts = {call: script_of(call, self.dice) for call in ("one", "two")}
        self.shards: list[Shard] = []
        self.gateways = [Gateway(script, self) for script in self.scripts.values()]
        self.coordinators = [Coordinator(f"coordinator-{index}", [SLOT], 0.3 * index) for index in range(2)]
        self._views = [ControlView(), ControlView()]
        self._read_control = [0, 0]
        self._coordinator_wires = [Wire(self.control, self.dice, overtaking=False) for _ in range(2)]
        self._wires = [*(gateway.wire for gateway in self.gateways), *self._coordinator_wires]
        for index in range(SHARDS):
            self._join(f"shard-{index}")
        self._committed: dict[tuple[str, int], tuple[int, int]] = {}
        self._reader = rules.reducer()
        self._read_out = 0
        self.accepted: list[Final | Progress] = []
        self.closed: set[str] = set()

    @property
    def newest_fence(self) -> int:
        """Epoch of the owner whose records count."""
        return max((record.epoch for record in self.out.records if isinstance(record, Fence)), default=STANDING)

    @property
    def dropped(self) -> int:
        """Finals and progress that did not count."""
        return self._reader.dropped

    # --- for owners ------------------------------------------------------------------------------------------------

    def progress(self, owner: SlotOwner, call: str, side: int) -> tuple[int, int]:
        """Return from which number and place an owner goes on."""
        if self.rules.goes_on_from == "committed":
            return self._committed.get((call, side), (0, 0))
        at = owner.reducer.progress(call, side)
        return at.next_number, at.done_to

    def commit(self, record: Final | Progress, number: int | None) -> None:
        """Keep beside the log how far a call is, as the usual consumer does."""
        before, _ = self._committed.get((record.call, record.channel), (0, 0))
        self._committed[record.call, record.channel] = (before if number is None else number, record.to_sample)

    # --- the game --------------------------------------------------------------------------------------------------

    def play(self, steps: int) -> None:
        """Run a schedule.

        Raises:
            Violation: If a promise was broken.
        """
        for _ in range(steps):
            self.now += STEP_S
            self._disturb()
            self._step(doubling=0.15)
        for shard in self.shards:
            shard.paused = False
        if not any(shard.alive for shard in self.shards):
            self._join("shard-late")
        for _ in range(40):
            if self.closed == set(self.scripts):
                break
            for _ in range(25):
                self.now += STEP_S
                self._step(doubling=0.0)
        self._judge()

    def _step(self, *, doubling: float) -> None:
        dice = self.dice
        for wire in self._wires:
            if wire.waiting and dice.random() < 0.6:
                wire.deliver(doubling=doubling)
        for shard in self.shards:
            if shard.alive and not shard.paused:
                shard.act(dice.below(7))
        for gateway in self.gateways:
            if dice.random() < 0.15:
                gateway.act()
        for index in range(2):
            if dice.random() < 0.5:
                self._coordinate(index)
        self._follow_out()

    def _join(self, name: str) -> None:
        shard = Shard(name, self)
        self.shards.append(shard)
        self._wires += [shard.out, shard.control]

    def _disturb(self) -> None:
        dice, what = self.dice, self.dice.random()
        shard = dice.pick(self.shards)
        if what < 0.01:
            shard.alive = False
            if dice.random() < 0.5:
                shard.out.waiting.clear()
                shard.control.waiting.clear()
            self._join(f"shard-{len(self.shards)}")
        elif what < 0.05:
            shard.paused = True
        elif what < 0.09:
            shard.paused = False
        elif what < 0.12:
            self._coordinator_wires[dice.below(2)].send(Claim(SLOT, shard.name, "operator", "moved"))
        elif what < 0.17:
            self._let_go_of_audio()

    def _coordinate(self, index: int) -> None:
        view = self._views[index]
        for offset, record in self.control.read(self._read_control[index], 8):
            self._read_control[index] = offset + 1
            assert isinstance(record, ControlRecord)
            view.read(offset, record, now=self.now)
        for record in self.coordinators[index].tick(view, now=self.now):
            self._coordinator_wires[index].send(record)

    def _let_go_of_audio(self) -> None:
        """Drop audio that nobody who follows the rules can still need: what retention in minutes stands for."""
        newest = self.newest_fence
        claims = [at for at, each in enumerate(self.control.records) if isinstance(each, Claim) and at >= newest]
        needed = [
            record.audio_offset
            for record in self.control.records[: min(claims, default=0)]
            if isinstance(record, Snapshot)
        ]
        if needed:
            self.audio.start = max(self.audio.start, *needed)

    def _follow_out(self) -> None:
        for offset, record in self.out.read(self._read_out, 1_000_000):
            self._read_out = offset + 1
            assert isinstance(record, OutRecord)
            if self._reader.accept(record):
                if isinstance(record, Final | Progress):
                    self.accepted.append(record)
                elif isinstance(record, CallClosed):
                    self.closed.add(record.call)

    # --- the verdict -----------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        for call, script in self.scripts.items():
            for side, said in said_by(script).items():
                self._judge_side(call, side, said)
        if self.closed != set(self.scripts):
            raise Violation("a call never came to its end, though nothing disturbed it any more")
        if any(shard.written_after_fence for shard in self.shards):
            raise Violation("an owner went on after it had seen a newer fence")

    def _judge_side(self, call: str, side: int, said: Channel) -> None:
        at, number = 0, 0
        for record in self.accepted:
            if (record.call, record.channel) != (call, side):
                continue
            if record.from_sample != at:
                raise Violation(f"audio was {'repeated' if record.from_sample < at else 'left out'}")
            at = record.to_sample
            if isinstance(record, Final):
                if record.number != number:
                    raise Violation("a final was repeated or left out")
                number += 1
                if record.words[0].text != said.text(record.from_sample, record.to_sample):
                    raise Violation("a final does not say what was said")
        if call in self.closed and at != said.heard_to:
            raise Violation("a call was closed before all of it was final")


def run(seed: int, rules: Rules | None = None, steps: int = 150) -> World:
    """Run one schedule.

    Raises:
        Violation: If a promise was broken; the message says by which seed.
    """
    world = World(seed, rules or Rules())
    try:
        world.play(steps)
    except Violation as broken:
        raise Violation(f"{broken} (seed {seed})") from None
    return world


@dataclass(frozen=True, slots=True)
class Tally:
    """What happened in some schedules."""

    fences: int
    dropped: int
    """Records of former owners, or doubled, that did not count."""
    let_go: int
    """Schedules in which audio was let go of."""


def tally(seeds: Sequence[int]) -> Tally:
    """Run schedules and count what happened in them.

    Raises:
        Violation: If a promise was broken in one.
    """
    fences = dropped = let_go = 0
    for seed in seeds:
        world = run(seed)
        fences += sum(isinstance(record, Fence) for record in world.out.records)
        dropped += world.dropped
        let_go += world.audio.start > 0
    return Tally(fences, dropped, let_go)
