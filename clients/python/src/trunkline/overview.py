"""All calls of a tenant and the load of a server, as two feeds tell them: what ``trunkline top`` shows."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from websockets.exceptions import ConnectionClosed

from trunkline.errors import ConnectionLost
from trunkline.link import address, authorization, open_socket
from trunkline.wire import Fields, read_object

CALLS: Final = "/v1/calls"
"""Path of the feed of calls."""

LOAD: Final = "/v1/load"
"""Path of the feed of the load."""

KEPT: Final = 120
"""Values of each line that are kept: two minutes of them."""


@asynccontextmanager
async def feed(url: str, path: str, *, key: str | None = None) -> AsyncGenerator[AsyncGenerator[Fields]]:
    """Read a feed of the server.

    Args:
        url: Address of the server, such as ``ws://127.0.0.1:8080``.
        path: ``CALLS`` or ``LOAD``.
        key: API key of a tenant.

    Yields:
        Its messages.

    Raises:
        Refused: If the key may not.
        Unreachable: If there is no server.
        ConnectionLost: From the messages, if the server ends them.
    """
    async with open_socket(address(url, path), authorization(key)) as socket:

        async def messages() -> AsyncGenerator[Fields]:
            try:
                async for frame in socket:
                    yield read_object(frame)
            except ConnectionClosed:
                pass
            raise ConnectionLost(f"the server ended {path}", close_code=socket.close_code)

        async with aclosing(messages()) as told:
            yield told


@dataclass(slots=True)
class Side:
    """One side of a call."""

    label: str
    fixed: str = ""
    """Its newest words that will not change."""
    open: str = ""
    """Those that may."""


@dataclass(slots=True)
class CallLine:
    """One call in a list."""

    call: str
    opened_at: float
    """Unix seconds."""
    sides: tuple[Side, ...]


@dataclass(slots=True)
class DeviceLine:
    """One device in a list."""

    shard: str
    name: str
    state: str
    utilisation: float | None
    """0..1."""
    waiting: int
    """Windows in its queue."""
    queue_p95_s: float | None
    batch: float | None
    """Windows in a batch, mean."""
    windows: float
    """Per second."""
    restarts: int


@dataclass(slots=True)
class ShardLine:
    """One shard in a list."""

    name: str
    calls: int
    slots: int
    load: float | None
    cadence_s: float | None
    rung: str


@dataclass(slots=True)
class Overview:
    """What both feeds add up to."""

    calls: dict[str, CallLine] = field(default_factory=dict[str, CallLine])
    """Calls of the tenant in progress, by id."""
    all_calls: int = 0
    """Calls in progress, of all tenants."""
    final_p50_s: float | None = None
    final_p95_s: float | None = None
    shards: tuple[ShardLine, ...] = ()
    devices: tuple[DeviceLine, ...] = ()
    late: deque[float | None] = field(default_factory=lambda: deque[float | None](maxlen=KEPT))
    """Latency of finals, 95th percentile, one value a second."""
    busy: deque[float | None] = field(default_factory=lambda: deque[float | None](maxlen=KEPT))
    """Utilisation of the busiest device, or load of the busiest shard."""
    happened: deque[tuple[float, str, str]] = field(default_factory=lambda: deque[tuple[float, str, str]](maxlen=KEPT))
    """Unix seconds, where, what."""

    def take_call(self, message: Fields) -> None:
        """Take a message of the feed of calls."""
        match message.text("type"):
            case "calls":
                self.calls.clear()
                for each in message.sections("calls"):
                    self._open(each)
            case "opened":
                self._open(message)
            case "partial" | "final" as kind:
                self._say(message, final=kind == "final")
            case "closed":
                self.calls.pop(message.text("call"), None)
            case _:
                pass

    def take_load(self, message: Fields) -> None:
        """Take a message of the feed of the load."""
        if message.text("type") != "load":
            return
        finals, shards = message.section("finals"), message.sections("shards")
        self.all_calls = message.integer("calls")
        self.final_p50_s, self.final_p95_s = finals.maybe_number("p50_s"), finals.maybe_number("p95_s")
        self.shards = tuple(map(_shard, shards))
        self.devices = tuple(
            _device(shard.text("name"), each) for shard in shards for each in shard.sections("devices")
        )
        self.late.append(self.final_p95_s)
        loads = [shard.load for shard in self.shards] + [device.utilisation for device in self.devices]
        self.busy.append(max((load for load in loads if load is not None), default=None))
        for each in message.sections("happenings"):
            where = each.maybe_text("where") or each.text("what")
            self.happened.append((each.number("at"), where, each.text("text")))

    def _open(self, message: Fields) -> None:
        sides = tuple(Side(label) for label in message.texts("labels"))
        line = CallLine(message.text("call"), message.number("opened_at"), sides)
        self.calls[line.call] = line

    def _say(self, message: Fields, *, final: bool) -> None:
        line = self.calls.get(message.text("call"))
        channel = message.integer("channel")
        if line is None or channel >= len(line.sides):
            return
        side, text = line.sides[channel], message.text("text")
        if final:
            side.fixed, side.open = text, ""
            return
        words, stable = text.split(" "), message.integer("stable")
        side.fixed, side.open = " ".join(words[:stable]), " ".join(words[stable:])


def _shard(fields: Fields) -> ShardLine:
    rung, rungs = fields.maybe_integer("rung"), fields.maybe_integer("rungs")
    models = " / ".join(fields.texts("models"))
    return ShardLine(
        name=fields.text("name"),
        calls=fields.integer("calls"),
        slots=fields.integer("slots"),
        load=fields.maybe_number("load"),
        cadence_s=fields.maybe_number("cadence_s"),
        rung=models if rung is None else f"{models}, rung {rung + 1} of {rungs}",
    )


def _device(shard: str, fields: Fields) -> DeviceLine:
    return DeviceLine(
        shard=shard,
        name=fields.text("name"),
        state=fields.text("state"),
        utilisation=fields.maybe_number("utilisation"),
        waiting=fields.integer("waiting"),
        queue_p95_s=fields.maybe_number("queue_p95_s"),
        batch=fields.maybe_number("batch"),
        windows=fields.number("windows"),
        restarts=fields.integer("restarts"),
    )
