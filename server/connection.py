"""One connection: socket, dialect and call, each moving at its own pace.

The reader never waits for a model or for its own writer; it waits only where the log has taken nothing for seconds.
What decides the protocol lives in the dialect, what decides the life of its call in the leg; that neither's fault
reaches another connection is decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Final as Constant

import structlog
from structlog.typing import FilteringBoundLogger
from websockets.exceptions import ConnectionClosed

from server.dialect import Action, Appeared, Audio, Close, Dialect, Event, Followed, Ill, Send
from server.leg import Leg
from server.limits import TokenBucket
from server.services import Services
from server.transport import Socket, Writer
from server.watchdog import Stage
from streaming.errors import LogError
from streaming.records import OutRecord, Partial

log: FilteringBoundLogger = structlog.get_logger()

CONTROL_BURST_S: Constant = 10.0
"""Seconds' worth of control messages that may come at once."""


class Connection:
    """One connection, from the upgrade to the close.

    Args:
        socket: The open WebSocket.
        dialect: Translates for it.
        tenant: Who connected.
        idle_s: Seconds of silence on the wire after which a call counts as gone.
        services: What all connections share.
    """

    def __init__(self, socket: Socket, dialect: Dialect, tenant: str, idle_s: float, services: Services) -> None:
        limits, self._clock = services.limits, services.clock
        self._socket = socket
        self._dialect = dialect
        self._leg = Leg(self, dialect, tenant, idle_s, services)
        self._control = TokenBucket(limits.control_per_s, limits.control_per_s * CONTROL_BURST_S, self._clock())
        self._writer = Writer(socket, limits.unsent_bytes)
        self._overfull = False  # whether the peer was found to read too slowly
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Serve until the socket is closed and all that was heard is in the log."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._writer.start(tasks)
                await self._read()
                self._writer.stop()
                await self._leg.finish()
        except* Exception as several:  # noqa: BLE001  whatever it was, it is said, and ends this connection alone
            self._say_what_failed(several.exceptions[0])
            self._leg.fail()
            await self._socket.close(1011, Ill.INTERNAL)
        finally:
            self._leg.leave()

    def hear(self, event: OutRecord | Partial | Followed | Appeared) -> None:
        """Take what the log says about the call, or about the calls that are followed."""
        now = self._clock()
        try:
            self._leg.hear(event, now)
        except Exception as problem:  # noqa: BLE001  a dialect's fault ends its own connection, never others' delivery
            self._say_what_failed(problem)
            self._fault(now)

    def pulse(self, now: float) -> None:
        """Do what is due: a few times per second and connection, from one timer for all."""
        try:
            if self._leg.broken:
                self._fault(now)
            self._leg.pulse(now)
            if now >= self._dialect.deadline and self._leg.stage is not Stage.HELD:
                self._apply(self._dialect.tick(now), now)
        except Exception as problem:  # noqa: BLE001  as above: one connection's fault is its own
            self._say_what_failed(problem)
            self._fault(now)

    def tell(self, event: Event, now: float) -> None:
        """Tell the peer what happened, in the words of its protocol."""
        self._apply(self._dialect.deliver(event, now), now)

    def tell_of_the_log(self, now: float, *, away: bool) -> None:
        """Tell the peer that the log is away, or back."""
        self._leg.tell_of_the_log(now, away=away)

    def drain(self) -> None:
        """Tell the peer to go elsewhere; what was heard is still finished, here or where the call goes on."""
        self._leg.drain(self._clock())

    def start(self, work: Coroutine[object, object, None], name: str) -> None:
        """Run something beside the reader; the connection is over only when that is."""
        assert self._tasks is not None  # nothing happens to a call before its connection runs
        self._tasks.create_task(work, name=name)

    async def _read(self) -> None:
        try:
            await self._translate()
        except ConnectionClosed:
            self._leg.lost = True
        except Exception:
            log.exception("connection.failed", **self._about)
            self._fault(self._clock())
            await self._throw_away()
        finally:
            self._gone(self._clock())

    async def _translate(self) -> None:
        clock, dialect, leg = self._clock, self._dialect, self._leg
        self._apply(dialect.begin(clock()), clock())
        async for message in self._socket:
            now = clock()
            leg.heard(now)
            actions = dialect.receive(message, now)
            is_audio = actions and type(actions[0]) is Audio
            if not is_audio and not self._control.take(1, now):
                leg.trouble(Ill.TOO_FAST, "too many control messages; send fewer per second", now)
                continue
            self._apply(actions, now)
            if leg.feed is not None and leg.feed.is_full:
                await leg.feed.room()

    async def _throw_away(self) -> None:
        """Wait for the close that a fault decided."""
        try:
            async for _ in self._socket:
                pass
        except ConnectionClosed:
            pass

    def _gone(self, now: float) -> None:
        """Do what follows from the peer having gone."""
        if self._leg.keep(now):
            return
        if self._leg.stage in (Stage.LIVE, Stage.NEW):
            self._apply([action for action in self._dialect.hung_up() if not isinstance(action, Send | Close)], now)
        self._leg.end("disconnected", now)

    def _apply(self, actions: list[Action], now: float) -> None:
        for action in actions:
            if isinstance(action, Audio):  # nearly all that comes
                self._leg.take_audio(action, now)
            elif self._leg.stage is Stage.CLOSED:
                return
            elif isinstance(action, (Send, Close)):
                self._put(action, now)
            else:
                self._leg.carry_out(action, now)

    def _put(self, frame: Send | Close, now: float) -> None:
        within = self._writer.put(frame)
        if isinstance(frame, Close):
            self._leg.close(frame.reason or "closed", now)
            if self._overfull:
                self.start(self._writer.cut_off(frame), "connection-cut-off")
        elif not within and not self._overfull:
            self._overfull = True
            self._leg.trouble(Ill.SLOW_READER, "the connection takes text too slowly; connect again", now)

    def _fault(self, now: float) -> None:
        self._leg.fail()
        if self._leg.stage is not Stage.CLOSED:
            self._put(Close(1011, Ill.INTERNAL), now)

    def _say_what_failed(self, problem: BaseException) -> None:
        if isinstance(problem, LogError):  # says what to do, and holds nothing that was said
            log.error("connection.log_failed", problem=str(problem), **self._about)
        else:
            log.error("connection.failed", exc_info=problem, **self._about)

    @property
    def _about(self) -> dict[str, str | None]:
        return {"protocol": self._dialect.name, "call": self._leg.call}
