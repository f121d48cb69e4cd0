"""A connection played on a bridge's dialect, and broken sessions to play: what holds of every dialect is checked."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from server.dialect import (
    Acked,
    Action,
    Audio,
    Close,
    Dialect,
    Dtmf,
    End,
    Event,
    Finalize,
    Follow,
    Ill,
    Open,
    Opened,
    Pause,
    Resume,
    Send,
    Trouble,
    Upgrade,
    Watch,
)
from streaming import record_codec, records
from streaming.call import CallSpec
from streaming.records import ALL_CHANNELS, UNTIMED, CallClosed
from tests.support.dialects import final, partial

Frame = str | bytes

SESSIONS: Final = int(os.environ.get("TRUNKLINE_FUZZ_SESSIONS", "300"))
"""Broken sessions a dialect gets to see; 10,000 before a release."""

_JUNK: Final[tuple[object, ...]] = (
    None,
    True,
    -1,
    0,
    1 << 62,
    10**400,
    1e308,
    float("nan"),
    "",
    "\ud800",
    "ä" * 300,
    "PT1e309S",
    "0",
    "-5",
    [],
    ["x", None, 3],
    {},
    {"name": "x", "value": {}},
)


def upgrade(**query: str) -> Upgrade:
    """Return the request behind a bridge's connection."""
    return Upgrade(tenant="acme", request_id="request-1", path="/bridges/x", query=tuple(query.items()))


class Line:
    """Plays the connection for a dialect, without a socket: admits its calls and checks all that it wants done.

    Args:
        dialect: To be played on.
        refuse: The trouble that its call meets instead of being admitted.
    """

    def __init__(self, dialect: Dialect, refuse: Trouble | None = None) -> None:
        self.dialect = dialect
        self._refuse = refuse
        self.now = 100.0
        self.spec: CallSpec | None = None
        self.audio: list[Audio] = []
        self.keys: list[Dtmf] = []
        self.finalizes: list[Finalize] = []
        self.sent: list[Frame] = []
        self.ended: str | None = None
        self.close: Close | None = None
        self._apply(dialect.begin(self.now))

    def say(self, *frames: Frame) -> Line:
        """Send frames to the dialect, 20 ms apart, until it closes."""
        for frame in frames:
            if self.close is not None:
                break
            self.now += 0.02
            self._apply(self.dialect.receive(frame, self.now))
        return self

    def tell(self, *events: Event) -> Line:
        """Tell the dialect what happened to its call."""
        for event in events:
            if self.close is not None:
                break
            self._apply(self.dialect.deliver(event, self.now))
        return self

    def finish(self) -> Line:
        """Tell the dialect that all of its call's text is out, as the shard does after the call's end."""
        assert self.ended is not None, "the call was not ended"
        return self.tell(CallClosed(0, self.call, self.ended, 1.0, 0.0))

    def wait(self, seconds: float) -> Line:
        """Let time pass, and the dialect know when its deadline did."""
        self.now += seconds
        if self.close is None and self.now >= self.dialect.deadline:
            self._apply(self.dialect.tick(self.now))
        return self

    def hang_up(self) -> Line:
        """Break the connection."""
        if self.close is None:
            self._apply([action for action in self.dialect.hung_up() if not isinstance(action, Send | Close)])
        return self

    @property
    def call(self) -> str:
        """The call's id."""
        assert self.spec is not None, "no call was opened"
        return self.spec.call

    @property
    def messages(self) -> list[dict[str, object]]:
        """What was sent, as JSON."""
        return [json.loads(frame) for frame in self.sent]

    def samples(self, channel: int = ALL_CHANNELS) -> bytes:
        """Everything heard on a channel, one piece."""
        return b"".join(audio.payload for audio in self.audio if audio.channel == channel)

    def _apply(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if self.close is not None:
                return
            match action:
                case Open(spec):
                    self._open(spec)
                case Audio():
                    self._hear(action)
                case Dtmf(channel, digit):
                    assert self.spec is not None
                    assert 0 <= channel < self.spec.sides
                    assert digit in "0123456789*#ABCD"
                    self.keys.append(action)
                case End(reason):
                    self.ended = self.ended or reason
                case Send(payload):
                    json.loads(payload) if isinstance(payload, str) else None
                    self.sent.append(payload)
                case Close(code, reason):
                    assert 1000 <= code < 5000
                    assert len(reason.encode()) <= 123
                    self.close = action
                case Finalize():
                    assert self.spec is not None, "a finalize came before its call"
                    self.finalizes.append(action)
                case Watch() | Follow() | Resume() | Pause():
                    raise AssertionError("no bridge does this")

    def _open(self, spec: CallSpec) -> None:
        assert self.spec is None, "a second call was opened"
        record_codec.decode(record_codec.encode(records.CallOpened(spec)))  # or the log could not hold it
        if self._refuse is not None:
            self._apply(self.dialect.deliver(self._refuse, self.now))
            return
        self.spec = spec
        self._apply(self.dialect.deliver(Opened(spec), self.now))

    def _hear(self, audio: Audio) -> None:
        spec = self.spec
        assert spec is not None, "audio came before its call"
        assert self.ended is None, "audio came after the end"
        assert audio.channel == ALL_CHANNELS or 0 <= audio.channel < spec.audio.channels
        wide = spec.audio.channels if audio.channel == ALL_CHANNELS else 1
        assert audio.payload
        assert len(audio.payload) % (spec.audio.encoding.sample_bytes * wide) == 0
        assert audio.position == UNTIMED or audio.position >= 0
        record_codec.encode(records.AudioChunk(spec.call, 0, audio.channel, audio.position, audio.payload))
        self.audio.append(audio)


def fuzz(build: Callable[[], Dialect], sessions: Sequence[Sequence[Frame]]) -> None:
    """Play broken sessions on dialects: each must take whatever comes, and end in a state that says so.

    Args:
        build: Makes a dialect, a new one for each session.
        sessions: What peers that are in order send.
    """
    seed = int(os.environ.get("TRUNKLINE_FUZZ_SEED", "0")) or random.randrange(1, 1 << 32)  # noqa: S311 - no secret
    print(f"fuzz seed {seed}: set TRUNKLINE_FUZZ_SEED to see it again")  # noqa: T201 - shown if the test fails
    dice = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(SESSIONS):
        frames = _broken(list(dice.choice(sessions)), dice)
        _play(Line(build(), dice.choice((None, None, None, Trouble(Ill.OVERLOADED, "full", 5.0)))), frames, dice)


def _play(line: Line, frames: Sequence[Frame], dice: random.Random) -> None:
    for frame in frames:
        line.say(frame)
        if line.spec is not None and dice.random() < 0.1:
            line.tell(_event(line, dice))
        line.wait(dice.choice((0.0, 0.0, 0.0, 1.0, 30.0)))
    if dice.random() < 0.2:
        line.tell(Trouble(dice.choice(list(Ill)), "trouble"))
    line.hang_up()
    if line.spec is not None and line.close is None:
        assert line.ended is not None
        line.finish()


def _event(line: Line, dice: random.Random) -> Event:
    channel = dice.randrange(line.spec.sides if line.spec is not None else 1)
    return dice.choice(
        (
            Acked(1.0),
            final("good morning", 0.0, 1.0, channel=channel),
            partial("good", 0.0, 0.5, channel=channel),
            records.SpeechStarted(0, line.call, channel, 0.5),
            records.SpeechEnded(0, line.call, channel, 1.0),
            records.UtteranceEnded(0, line.call, channel, 1.0),
            records.Progress(0, line.call, channel, 0, 32_000),
            records.Finalized(0, line.call, None, line.finalizes[0].marker if line.finalizes else "x"),
            records.Dtmf(0, line.call, channel, "5", 0.5),
            CallClosed(0, line.call, "hangup", 1.0, 0.0),
        )
    )


def _broken(frames: list[Frame], dice: random.Random) -> list[Frame]:
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(frames))
        match dice.randrange(7):
            case 0:
                frames.insert(at, frames[at])
            case 1 if len(frames) > 1:
                del frames[at]
            case 2:
                other = dice.randrange(len(frames))
                frames[at], frames[other] = frames[other], frames[at]
            case 3:
                frames[at] = _other_kind(frames[at])
            case 4:
                frames[at] = _flipped(frames[at], dice)
            case _:
                frames[at] = _rewritten(frames[at], dice)
    return frames


def _other_kind(frame: Frame) -> Frame:
    return frame.encode(errors="replace") if isinstance(frame, str) else frame.decode("latin-1")


def _flipped(frame: Frame, dice: random.Random) -> Frame:
    data = bytearray(frame.encode(errors="replace") if isinstance(frame, str) else frame)
    for _ in range(dice.randint(1, 3)):
        if data:
            data[dice.randrange(len(data))] = dice.randrange(256)
    if dice.random() < 0.3:
        del data[dice.randint(0, len(data)) :]
    return data.decode(errors="replace") if isinstance(frame, str) else bytes(data)


def _rewritten(frame: Frame, dice: random.Random) -> Frame:
    """Put something else at one place of a JSON frame."""
    try:
        fields: Any = json.loads(frame)
    except (ValueError, RecursionError):
        return _flipped(frame, dice)
    if not isinstance(fields, dict) or not fields:
        return json.dumps(dice.choice(_JUNK))
    whole = inner = cast("dict[str, Any]", fields)
    name = dice.choice(sorted(inner))
    while isinstance(inner[name], dict) and inner[name] and dice.random() < 0.7:
        inner = cast("dict[str, Any]", inner[name])
        name = dice.choice(sorted(inner))
    if dice.random() < 0.3:
        del inner[name]
    else:
        inner[name] = dice.choice(_JUNK)
    return json.dumps(whole)
