"""What shards and devices do, ``/v1/load``: a WebSocket that says it once a second, the last minutes first.

Nothing in it is of a tenant or of a call, so every key may see it, as everybody who can ask may see ``/metrics``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from server.auth import Keyring
from server.dialect import Action, Close, Dialect, Event, Send, Trouble, Upgrade
from server.native import CLOSE_CODES
from server.routes import Route
from streaming import messages
from streaming.message_codec import dump

PERIOD_S: Final = 1.0
"""Seconds between two samples."""

KEPT: Final = 180
"""Samples that are kept for who comes later."""

KEPT_CHARACTERS: Final = 262_144
"""The same in characters: half of what may wait for a reader by default, however many devices there are."""

DIGITS: Final = 4
"""Of a number after the point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLoad:
    """One device, over the last period where a rate is meant."""

    name: str
    state: str
    """``starting``, ``ready``, ``leaving`` or ``down``."""
    utilisation: float | None = None
    """Share of its streams' time that was spent on batches, 0..1."""
    waiting: int = 0
    """Windows in its queue."""
    running: int = 0
    """Batches inside the engine."""
    final_wait_s: float | None = None
    """Seconds a final that came now would wait."""
    backlog_s: float | None = None
    """Seconds until all it was given is done."""
    queue_p95_s: float | None = None
    """Seconds that 95 % of the windows decoded lately waited for less than."""
    batch: float | None = None
    """Windows in a batch, mean."""
    windows: float = 0.0
    """Windows decoded per second."""
    restarts: int = 0
    problem: str = ""
    """Its last fault in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardLoad:
    """One shard and its devices."""

    name: str
    calls: int
    slots: int
    load: float | None = None
    """Share of what it can do that it does, 0 and up; where shards are other processes."""
    draining: bool = False
    """Whether it takes no more calls."""
    cadence_s: float | None = None
    """Seconds of new audio between two partials of a channel: grows under load."""
    rung: int | None = None
    """Step of the quality ladder, 0 for the best."""
    rungs: int | None = None
    """How many steps there are."""
    models: tuple[str, ...] = ()
    """That write, that of finals first."""
    devices: tuple[DeviceLoad, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something that changed where or how well calls are served."""

    at: float
    """Unix seconds."""
    what: str
    """``device``, ``fault``, ``rung``, ``shard`` or ``move``."""
    where: str
    """The device or shard."""
    text: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What a gateway knows about the load at one moment."""

    shards: tuple[ShardLoad, ...] = ()
    happenings: tuple[Happening, ...] = ()
    """Since the sample before."""


@dataclass(frozen=True, slots=True)
class Finals:
    """The finals of the last half minute, of all shards."""

    p50_s: float | None
    """Median latency, in seconds."""
    p95_s: float | None
    count: int


Sampler = Callable[[], Sample]
"""Looks at the load; called once per period."""


class LoadHistory:
    """The last minutes, written once for all who watch.

    Args:
        sampler: Looks at the load.
        calls: Returns the calls in progress, of all tenants.
        finals: Returns how late finals are.
        wall_clock: Unix seconds.
    """

    def __init__(
        self,
        sampler: Sampler,
        calls: Callable[[], int],
        finals: Callable[[], Finals],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._sampler = sampler
        self._calls = calls
        self._finals = finals
        self._wall_clock = wall_clock
        self._frames: deque[str] = deque()
        self._size = 0
        self._taken = 0

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            self.take()
            await asyncio.sleep(PERIOD_S)

    def take(self) -> None:
        """Take a sample now."""
        sample = self._sampler()
        fields: dict[str, object] = {"type": "load", "at": self._wall_clock(), "calls": self._calls()}
        fields |= {"finals": dataclasses.asdict(self._finals()), **dataclasses.asdict(sample)}
        frame = json.dumps(_rounded(fields), separators=(",", ":"), ensure_ascii=False)
        self._frames.append(frame)
        self._size += len(frame)
        self._taken += 1
        while len(self._frames) > KEPT or (self._size > KEPT_CHARACTERS and len(self._frames) > 1):
            self._size -= len(self._frames.popleft())

    def after(self, seen: int) -> tuple[int, list[str]]:
        """Return the samples that came after the first ``seen`` ones and are still kept, and how many there were."""
        new = min(self._taken - seen, len(self._frames))
        return self._taken, list(self._frames)[len(self._frames) - new :]


def _rounded(value: object) -> object:
    match value:
        case float():
            return round(value, DIGITS)
        case dict():
            fields = cast("dict[str, object]", value)
            return {name: _rounded(item) for name, item in fields.items()}
        case tuple() | list():
            return [_rounded(item) for item in cast("Sequence[object]", value)]
        case _:
            return value


def route(keyring: Keyring, history: LoadHistory) -> Route:
    """Let every key see the load.

    Args:
        keyring: Knows the keys.
        history: What is shown.
    """

    def build(_upgrade: Upgrade) -> LoadDialect:
        return LoadDialect(history)

    return Route(
        pattern="/v1/load",
        identify=keyring.identify,
        build=build,
        idle_s=float("inf"),
        subprotocols=("trunkline.v1",),
        opens_call=False,
    )


class LoadDialect(Dialect):
    """Sends samples.

    Args:
        history: Where they come from.
    """

    name = "load"
    patient = True

    def __init__(self, history: LoadHistory) -> None:
        self._history = history
        self._seen = 0

    def begin(self, now: float) -> list[Action]:
        """Say what was, and come back for what will be."""
        return self.tick(now)

    def receive(self, message: str | bytes, now: float) -> list[Action]:
        """Ignore what a watcher says: nothing is expected."""
        del message, now
        return []

    def deliver(self, event: Event, now: float) -> list[Action]:
        """Say why it ends: nothing else is delivered to who opened no call."""
        del now
        if not isinstance(event, Trouble):
            return []
        error = messages.Error(event.ill, event.message, fatal=True, retry_after_s=event.retry_after_s)
        return [Send(dump(error)), Close(CLOSE_CODES[event.ill], event.ill)]

    def tick(self, now: float) -> list[Action]:
        """Send what is new."""
        self.deadline = now + PERIOD_S / 4
        self._seen, frames = self._history.after(self._seen)
        return [Send(frame) for frame in frames]

    def hung_up(self) -> list[Action]:
        """A watcher who goes ends nothing."""
        return []
