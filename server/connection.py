"""One connection: socket, dialect and log, each moving at its own pace.

The reader never waits for a model or for its own writer; it waits only where the log has taken nothing for seconds.
What decides the protocol lives in the dialect; what decides the life of a connection lives here.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final as Constant
from typing import Protocol

import structlog
from prometheus_client import Gauge
from structlog.typing import FilteringBoundLogger
from websockets.exceptions import ConnectionClosed

from server.admission import Admission, Refused
from server.delivery import Delivery
from server.dialect import (
    Acked,
    Action,
    Appeared,
    Audio,
    Close,
    Dialect,
    Dtmf,
    End,
    Finalize,
    Follow,
    Followed,
    GoAway,
    Ill,
    Open,
    Opened,
    Pause,
    Rejoined,
    Resume,
    Send,
    Trouble,
    Watch,
    Watched,
)
from server.directory import Directory, Place
from server.feed import CallFeed
from server.following import Following
from server.joining import Joining, Joint, Part
from server.limits import TokenBucket
from server.metrics import Metrics
from server.outbox import Outbox
from server.settings import Limits
from streaming.call import CallSpec
from streaming.log import Log
from streaming.records import (
    INTERNAL,
    LOG_AWAY,
    LOG_BACK,
    STANDING,
    CallClosed,
    Final,
    OutRecord,
    Partial,
    QualityChanged,
    Resumed,
)

log: FilteringBoundLogger = structlog.get_logger()

CONTROL_BURST_S: Constant = 10.0
"""Seconds' worth of control messages that may come at once."""

ASK_AGAIN_S: Constant = 3.0
"""Seconds after which a call that nobody handed over is asked for again: its shard may have been lost meanwhile."""

HAND_OVER_S: Constant = 15.0
"""Seconds after which a peer is told to come back later: a lost shard's calls are served again within 10."""


ELSEWHERE: Constant = (
    "a call of this id exists; if its other connections are at another gateway, "
    "send all of a call to one, e.g. by a hash of its id in the load balancer"
)
"""What a channel is told whose call was opened at another gateway, or ended lately."""

TOKEN_BYTES: Constant = 24
"""Chance in a token by which a call is resumed: nobody guesses 192 bits."""


class Socket(Protocol):
    """The part of a WebSocket that a connection uses."""

    def __aiter__(self) -> AsyncIterator[str | bytes]: ...

    async def send(self, message: str | bytes) -> None:
        """Send one frame; waits where the peer reads slowly."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close, and wait until the peer did or too long has passed."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """What all connections of a gateway share."""

    log: Log
    directory: Directory
    delivery: Delivery
    admission: Admission
    metrics: Metrics
    limits: Limits
    clock: Callable[[], float]
    """Monotonic seconds."""
    wall_clock: Callable[[], float]
    """Unix seconds."""
    shared: bool = False
    """Whether other gateways share the log, so that calls can go on there when this one stops."""
    joining: Joining = field(default_factory=Joining)
    """Calls that further connections may join."""


class Stage(Enum):
    """How far a connection is."""

    NEW = "new"
    """No call yet."""
    LIVE = "live"
    """A call in progress."""
    REJOINING = "rejoining"
    """A call that another connection had is asked for."""
    HELD = "held"
    """The peer is gone and may come back, here or elsewhere."""
    WATCHING = "watching"
    """Reads a call that others make."""
    ENDING = "ending"
    """No more audio; the last finals are awaited."""
    CLOSED = "closed"
    """The close is decided; nothing counts any more."""


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
        self._socket = socket
        self._dialect = dialect
        self._tenant = tenant
        self._idle_s = idle_s
        self._services = services
        self._limits = services.limits
        self._start_s = idle_s if dialect.patient else services.limits.start_s
        now = services.clock()
        self._began = self._heard = self._ending_since = self._acked_at = now
        self._stage = Stage.NEW
        self._gauge().inc()
        self._control = TokenBucket(self._limits.control_per_s, self._limits.control_per_s * CONTROL_BURST_S, now)
        self._outbox = Outbox(self._limits.unsent_bytes)
        self._unsent = asyncio.Event()
        self._call: CallFeed | None = None
        self._part: Part | None = None  # of a call whose channels come over several connections
        self._joined = False  # whether another connection opened the call
        self._asked_at = now  # when the call was asked for last
        self._asking_since = now
        self._held_until = now
        self._released = asyncio.Event()
        self._leaving = False  # whether the peer was told to go to another gateway
        self._watched: str | None = None
        self._following: Following | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._writer: asyncio.Task[None] | None = None
        self._overfull = False
        self._reason = "no_call"
        self._finals = 0

    async def run(self) -> None:
        """Serve until the socket is closed and all that was heard is in the log."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._writer = tasks.create_task(self._write(), name="connection-writer")
                await self._read()
                self._writer.cancel()
                if self._stage is Stage.HELD:
                    await self._released.wait()
                if self._part is not None:
                    await self._part_over(self._part)
                if self._call is not None and not self._joined:
                    self._call.finish()
        except* Exception:
            log.exception("connection.failed", protocol=self._dialect.name, call=self._call_id)
            self._reason = Ill.INTERNAL
            await self._socket.close(1011, Ill.INTERNAL)
        finally:
            self._leave()

    def hear(self, event: OutRecord | Partial | Followed | Appeared) -> None:
        """Take what the log says about the call, or about the calls that are followed."""
        now = self._services.clock()
        match event:
            case Final():
                self._finals += 1
            case Partial() if self._call is not None and self._stage is Stage.LIVE:
                behind = max(0.0, self._call.received_s - event.end)
                self._services.metrics.partial_latency.labels(event.model).observe(behind)
            case _:
                pass
        try:
            if isinstance(event, Resumed) and self._call is not None:
                self._handed_over(self._call, event, now)
            elif self._stage is not Stage.HELD:
                self._pass_on(event, now)
            elif isinstance(event, CallClosed):
                self._release(event.reason)
        except Exception:  # a dialect's fault ends its own connection, never the delivery to others
            log.exception("connection.failed", protocol=self._dialect.name, call=self._call_id)
            self._fault(now)

    def _pass_on(self, event: OutRecord | Partial | Followed | Appeared, now: float) -> None:
        if isinstance(event, CallClosed):
            self._ack(now)
            self._over(event)
        if isinstance(event, CallClosed) and event.reason == INTERNAL and self._call is not None:
            self._trouble(Ill.INTERNAL, "the call could not be served any further; start another one", now)
        else:
            self._apply(self._dialect.deliver(event, now), now)

    def pulse(self, now: float) -> None:
        """Do what is due: a few times per second and connection, from one timer for all."""
        try:
            if self._part is not None and self._joined and self._part.broken:
                self._fault(now)
            elif self._call is not None and not self._joined:
                self._call.pulse(now)
                if now - self._acked_at >= self._limits.ack_s and self._stage is not Stage.HELD:
                    self._ack(now)
            self._check_time(now)
            if now >= self._dialect.deadline and self._stage is not Stage.HELD:
                self._apply(self._dialect.tick(now), now)
        except Exception:  # as above: one connection's fault is its own
            log.exception("connection.failed", protocol=self._dialect.name, call=self._call_id)
            self._fault(now)

    def tell_of_the_log(self, now: float, *, away: bool) -> None:
        """Tell the peer that the log is away, or back."""
        if self._call is not None and self._stage is Stage.LIVE:
            news = QualityChanged(STANDING, self._call.spec.call, "", LOG_AWAY if away else LOG_BACK)
            self._apply(self._dialect.deliver(news, now), now)

    def drain(self) -> None:
        """Tell the peer to go elsewhere; what was heard is still finished, here or where the call goes on."""
        if self._stage is Stage.HELD:
            self._give_up_waiting()
        elif self._services.shared and self._dialect.resumable and self._stage in (Stage.LIVE, Stage.REJOINING):
            self._leaving = True
            now = self._services.clock()
            self._apply(self._dialect.deliver(GoAway(self._limits.drain_s), now), now)
        elif self._stage in (Stage.NEW, Stage.LIVE, Stage.WATCHING):
            self._trouble(Ill.DRAINING, "the server is about to stop; connect again", self._services.clock())

    # --- reading and writing ---

    async def _read(self) -> None:
        clock = self._services.clock
        try:
            await self._translate()
        except ConnectionClosed:
            pass
        except Exception:
            log.exception("connection.failed", protocol=self._dialect.name, call=self._call_id)
            self._fault(clock())
            await self._throw_away()
        finally:
            self._gone(clock())

    def _gone(self, now: float) -> None:
        """Do what follows from the peer having gone."""
        if self._dialect.resumable and self._stage in (Stage.LIVE, Stage.REJOINING):
            self._hold(now)
            return
        if self._stage in (Stage.LIVE, Stage.NEW):
            self._apply([action for action in self._dialect.hung_up() if not isinstance(action, Send | Close)], now)
        self._end_call("disconnected", now)

    async def _translate(self) -> None:
        clock, dialect = self._services.clock, self._dialect
        self._apply(dialect.begin(clock()), clock())
        async for message in self._socket:
            now = self._heard = clock()
            actions = dialect.receive(message, now)
            is_audio = actions and type(actions[0]) is Audio
            if not is_audio and not self._control.take(1, now):
                self._trouble(Ill.TOO_FAST, "too many control messages; send fewer per second", now)
                continue
            self._apply(actions, now)
            if self._call is not None:
                await self._call.room()

    async def _throw_away(self) -> None:
        """Wait for the close that a fault decided."""
        try:
            async for _ in self._socket:
                pass
        except ConnectionClosed:
            pass

    async def _write(self) -> None:
        try:
            while True:
                await self._unsent.wait()
                match self._outbox.take():
                    case None:
                        self._unsent.clear()
                    case Send(payload):
                        await self._socket.send(payload)
                    case Close(code, reason):
                        await self._socket.close(code, reason)
                        return
        except ConnectionClosed:
            return

    # --- actions ---

    def _apply(self, actions: list[Action], now: float) -> None:
        for action in actions:
            if self._stage is Stage.CLOSED:
                return
            match action:
                case Audio():
                    self._take_audio(action, now)
                case Send() | Close():
                    self._put(action, now)
                case Finalize(channel, marker) if self._call is not None and self._stage is Stage.LIVE:
                    self._call.finalize(channel if self._part is None else self._part.channel, marker)
                case Dtmf(channel, digit) if self._call is not None and self._stage is Stage.LIVE:
                    self._call.dtmf(channel if self._part is None else self._part.channel, digit)
                case Pause(paused) if self._call is not None and self._stage is Stage.LIVE:
                    self._call.pause(paused=paused)
                case End(reason):
                    self._end_call(reason, now)
                case Open():
                    self._open(action, now)
                case Resume():
                    self._rejoin(action, now)
                case Watch() | Follow():
                    self._look_on(action, now)
                case _:  # what only a call in progress can take
                    pass

    def _open(self, asked: Open, now: float) -> None:
        spec = asked.spec
        joint = self._services.joining.find(spec.call) if asked.channel is not None else None
        if joint is not None and asked.channel is not None and joint.fits(spec, asked.channel):
            self._join(joint, asked.channel, now)
            return
        decision = self._services.admission.decide(spec, now)
        count = self._services.metrics.admission
        if isinstance(decision, Refused):
            count.labels("refused", decision.code).inc()
            self._reason = decision.code
            duplicate = decision.code == Ill.DUPLICATE_CALL
            elsewhere = duplicate and asked.channel is not None and joint is None and self._services.shared
            self._trouble(Ill(decision.code), ELSEWHERE if elsewhere else decision.message, now, decision.retry_after_s)
            return
        count.labels("accepted", "").inc()
        token = secrets.token_urlsafe(TOKEN_BYTES) if asked.resumable and self._limits.resume_s else None
        spec = dataclasses.replace(
            spec,
            protocol=self._dialect.name,
            opened_at=self._services.wall_clock(),
            resume_s=self._limits.resume_s if token else 0.0,
            kept=True,
        )
        call = self._feed(spec, decision.slot, now)
        if asked.channel is not None:
            self._part = self._services.joining.open(call, asked.channel, now)
        self._services.directory.place(spec, decision.slot, _hash(token) if token else "")
        self._services.delivery.listen(spec.call, self.hear)
        self._move(Stage.LIVE)
        log.info("call.opened", call=spec.call, tenant=spec.tenant, protocol=self._dialect.name, slot=decision.slot)
        self._apply(self._dialect.deliver(Opened(spec, token), now), now)

    def _feed(self, spec: CallSpec, slot: int, now: float, nonce: str | None = None) -> CallFeed:
        call = self._call = CallFeed(self._services.log, spec, slot, self._limits, now, nonce=nonce)
        if self._tasks is not None:
            self._tasks.create_task(call.run(), name="connection-feed")
        return call

    def _join(self, joint: Joint, channel: int, now: float) -> None:
        """Be one more channel of a call that another connection opened."""
        self._call, self._part, self._joined = joint.feed, joint.take(channel), True
        spec = joint.feed.spec
        self._services.delivery.listen(spec.call, self.hear)
        self._move(Stage.LIVE)
        log.info("call.joined", call=spec.call, tenant=spec.tenant, protocol=self._dialect.name, channel=channel)
        self._apply(self._dialect.deliver(Opened(spec), now), now)

    async def _part_over(self, part: Part) -> None:
        """Leave a call that others may go on with; who opened it writes it until they are gone."""
        if part.leave() and not part.joint.feed.ended:
            part.joint.feed.end(self._reason)
        if not self._joined:
            self._services.delivery.ignore(part.joint.feed.spec.call, self.hear)
            await part.joint.over.wait()

    def _watch(self, call: str, now: float) -> None:
        place = self._services.directory.find(call)
        so_far = self._services.delivery.so_far(call)
        self._watched = call
        self._services.delivery.listen(call, self.hear)
        self._move(Stage.WATCHING)
        self._apply(self._dialect.deliver(Watched(call, place.labels if place else ()), now), now)
        for record in so_far:
            self.hear(record)

    def _look_on(self, wish: Watch | Follow, now: float) -> None:
        if isinstance(wish, Watch):
            self._watch(wish.call, now)
        else:
            self._follow()

    def _follow(self) -> None:
        self._move(Stage.WATCHING)
        self._following = Following(self._services.directory, self._services.delivery, self._tenant, self.hear)
        self._following.start()

    def _take_audio(self, audio: Audio, now: float) -> None:
        call, part = self._call, self._part
        if call is None or self._stage is not Stage.LIVE:
            return
        if all(call.audio(one, now) for one in ([audio] if part is None else part.placed(audio, now))):
            return
        limit = self._limits
        self._trouble(
            Ill.TOO_FAST,
            f"after {limit.catch_up_s:g} s at once audio may come at {limit.speed:g} times real time; send slower",
            now,
        )

    # --- calls that go on after their connection ---

    def _rejoin(self, asked: Resume, now: float) -> None:
        services, call = self._services, asked.call
        place = services.directory.find(call)
        so_far = services.delivery.so_far(call)
        known = services.directory.is_live(call) or any(isinstance(record, CallClosed) for record in so_far)
        if place is None or not known or not self._may_resume(place, asked.token):
            services.metrics.resumes.labels("refused").inc()
            self._trouble(Ill.UNKNOWN_CALL, "this key and token can resume no call of this id", now)
            return
        self._watched = call
        services.delivery.listen(call, self.hear)
        self._move(Stage.REJOINING)
        self._asked_at = self._asking_since = now
        self._apply(self._dialect.deliver(Rejoined(place.spec), now), now)
        for record in so_far:
            self.hear(record)
        if services.directory.is_live(call):
            self._feed(place.spec, place.slot, now, secrets.token_hex())

    def _may_resume(self, place: Place, token: str) -> bool:
        return place.tenant == self._tenant and hmac.compare_digest(_hash(token), place.resume_hash)

    def _handed_over(self, call: CallFeed, resumed: Resumed, now: float) -> None:
        """Begin with a call that is ours now, or stop with one that another connection has."""
        if resumed.nonce == call.nonce:
            if call.connection is None:
                call.begin(resumed)
            if self._stage is Stage.REJOINING:
                self._services.directory.adopt(resumed.call)
                self._services.metrics.resumes.labels("resumed").inc()
                log.info("call.resumed", call=resumed.call, tenant=self._tenant, connection=resumed.connection)
                self._move(Stage.LIVE)
                self._apply(self._dialect.deliver(resumed, now), now)
        elif call.connection is not None and resumed.connection > call.connection:
            call.let_go()
            if self._stage is Stage.HELD:
                self._release(Ill.TAKEN_OVER)
            else:
                self._trouble(Ill.TAKEN_OVER, "another connection has taken the call over", now)

    def _hold(self, now: float) -> None:
        """Keep the call of a peer that is gone: it may come back."""
        self._move(Stage.HELD)
        self._held_until = now + self._limits.resume_s
        log.info("call.held", call=self._call_id, tenant=self._tenant, for_s=self._limits.resume_s)
        if self._leaving or self._call is None:
            self._give_up_waiting()

    def _give_up_waiting(self) -> None:
        """Nobody comes back here: end the call, unless another gateway may go on with it."""
        if self._services.shared:
            if self._call is not None:
                self._call.let_go()
            self._release("moved")
        else:
            self._end_call("disconnected", self._services.clock())
            self._release("disconnected")

    def _release(self, reason: str) -> None:
        if self._call is not None:
            self._call.ended = True
        self._reason = reason
        self._services.metrics.resumes.labels(reason).inc()
        self._released.set()

    def _end_call(self, reason: str, now: float) -> None:
        if self._call is None or self._call.ended or (self._part is not None and not self._part.connected):
            return
        if self._part is None or self._part.leave():
            self._call.end(reason)
        self._reason = reason
        self._ending_since = now
        if self._stage is Stage.LIVE:
            self._move(Stage.ENDING)

    def _over(self, closed: CallClosed) -> None:
        """Note that whoever serves the call ended it, by itself or as we asked."""
        if self._call is not None and not self._call.ended:
            self._call.ended = True
            self._reason = closed.reason

    def _put(self, frame: Send | Close, now: float) -> None:
        within = self._outbox.put(frame)
        self._unsent.set()
        if isinstance(frame, Close):
            self._end_call(frame.reason or "closed", now)
            self._move(Stage.CLOSED)
            if self._overfull and self._tasks is not None:
                self._tasks.create_task(self._cut_off(frame), name="connection-cut-off")
        elif not within and not self._overfull:
            self._overfull = True
            self._trouble(Ill.SLOW_READER, "the connection takes text too slowly; connect again", now)

    async def _cut_off(self, close: Close) -> None:
        """Close without waiting for what the peer does not read."""
        if self._writer is not None:
            self._writer.cancel()
        await self._socket.close(close.code, close.reason)

    # --- time and trouble ---

    def _ack(self, now: float) -> None:
        upto = self._call.acked() if self._call is not None else 0.0
        if upto:
            self._acked_at = now
            self._apply(self._dialect.deliver(Acked(upto), now), now)

    def _check_time(self, now: float) -> None:
        limits = self._limits
        match self._stage:
            case Stage.NEW if now - self._began >= self._start_s:
                self._trouble(Ill.START_TIMEOUT, f"nothing started a call within {self._start_s:g} s", now)
            case Stage.HELD if now >= self._held_until:
                self._end_call("disconnected", now)
                self._release("disconnected")
            case Stage.REJOINING if now - self._asking_since >= HAND_OVER_S:
                self._trouble(Ill.OVERLOADED, "nobody serves the call at the moment; resume it again", now, 1.0)
            case Stage.REJOINING if now - self._asked_at >= ASK_AGAIN_S and self._call is not None:
                self._asked_at = now
                self._call.ask_again(secrets.token_hex())
            case Stage.LIVE if now - self._heard >= self._idle_s:
                self._trouble(Ill.IDLE, f"neither audio nor keepalive for {self._idle_s:g} s", now)
            case Stage.ENDING if self._part is not None and not self._part.joint.over.is_set():
                self._ending_since = now  # others go on with the call
            case Stage.ENDING if now - self._ending_since >= limits.closing_s:
                self._trouble(Ill.INTERNAL, f"the last finals did not come within {limits.closing_s:g} s", now)
            case _:
                pass

    def _trouble(self, ill: Ill, message: str, now: float, retry_after_s: float | None = None) -> None:
        if self._stage is Stage.CLOSED:
            return
        self._reason = ill
        self._apply(self._dialect.deliver(Trouble(ill, message, retry_after_s), now), now)

    def _fault(self, now: float) -> None:
        self._reason = Ill.INTERNAL
        self._released.set()
        if self._stage is not Stage.CLOSED:
            self._put(Close(1011, Ill.INTERNAL), now)

    def _leave(self) -> None:
        call = self._call
        listened = self._watched if call is None else call.spec.call
        if listened is not None:
            self._services.delivery.ignore(listened, self.hear)
        if self._following is not None:
            self._following.stop()
        if self._part is not None and not self._joined:
            self._part.joint.close()  # where the opener failed, the others must not go on
        self._gauge().dec()
        metrics = self._services.metrics
        metrics.closes.labels(self._dialect.name, self._reason).inc()
        if call is not None and not self._joined:
            metrics.audio_seconds.labels(self._dialect.name).inc(call.audio_seconds)
        log.info(
            "call.closed" if call is not None else "connection.closed",
            call=self._call_id,
            tenant=self._tenant,
            protocol=self._dialect.name,
            reason=self._reason,
            audio_s=round(call.received_s, 3) if call is not None else 0.0,
            chunks=call.sequence if call is not None else 0,
            finals=self._finals,
            open_s=round(self._services.clock() - self._began, 3),
        )

    @property
    def _call_id(self) -> str | None:
        return self._watched if self._call is None else self._call.spec.call

    def _move(self, stage: Stage) -> None:
        self._gauge().dec()
        self._stage = stage
        self._gauge().inc()

    def _gauge(self) -> Gauge:
        return self._services.metrics.sessions.labels(self._dialect.name, self._stage.value)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
