"""One connection's leg of a call: how it opens or joins it, what it adds to it, and how it leaves it.

What decides the life of a call on this side of the log lives here; how one goes on after its connection, in
``server.resuming``. A leg reads no socket, speaks no protocol, and is told the time.
"""

from __future__ import annotations

import dataclasses
import secrets
from typing import Final as Constant

import structlog
from structlog.typing import FilteringBoundLogger

from server.admission import Refused
from server.dialect import (
    Acked,
    Action,
    Appeared,
    Audio,
    Dialect,
    Dtmf,
    End,
    Finalize,
    Follow,
    Followed,
    Ill,
    Open,
    Opened,
    Pause,
    Resume,
    Watch,
)
from server.feed import CallFeed
from server.joining import Joint, Part
from server.resuming import Resuming, hash_of, new_token
from server.seat import Carrier, Seat
from server.services import Services
from server.watchdog import Overdue, Stage, Watchdog
from server.watching import Watching
from streaming.call import CallSpec
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

ELSEWHERE: Constant = (
    "a call of this id exists; if its other connections are at another gateway, "
    "send all of a call to one, e.g. by a hash of its id in the load balancer"
)
"""What a channel is told whose call was opened at another gateway, or ended lately."""


class Leg:
    """A connection's part in a call, or in what others say.

    Args:
        carrier: The connection.
        dialect: Its protocol: the name, and whether its peer may be late or come back.
        tenant: Who connected.
        idle_s: Seconds of silence on the wire after which a call counts as gone.
        services: What all connections share.
    """

    def __init__(self, carrier: Carrier, dialect: Dialect, tenant: str, idle_s: float, services: Services) -> None:
        limits, now = services.limits, services.clock()
        self.lost = False
        """Whether the peer went without a word: its connection broke."""
        self._carrier = carrier
        self._dialect = dialect
        self._tenant = tenant
        self._idle_s = idle_s
        self._start_s = idle_s if dialect.patient else limits.start_s
        self._services = services
        self._limits = limits
        self._began = self._acked_at = now
        self._watchdog = Watchdog(self._start_s, idle_s, limits, now)
        self._seat = Seat(carrier, dialect, tenant, services, self._watchdog)
        self._resuming = Resuming(self._seat, self.end)
        self._watching = Watching(self._seat)
        self._side: CallFeed | Part | None = None  # what takes its audio: the call, or one channel of it
        self._part: Part | None = None  # of a call whose channels come over several connections
        self._joined = False  # whether another connection opened the call
        self._finals = 0

    @property
    def stage(self) -> Stage:
        """How far the connection is."""
        return self._seat.stage

    @property
    def call(self) -> str | None:
        """The call it makes, joins, takes over or watches."""
        return self._seat.call

    @property
    def feed(self) -> CallFeed | None:
        """What it writes to the call; None before it may."""
        return self._seat.feed

    def heard(self, now: float) -> None:
        """Note that the peer sent something."""
        self._watchdog.heard_at = now

    @property
    def broken(self) -> bool:
        """Whether the call was joined and the connection that writes it is gone."""
        return self._part is not None and self._joined and self._part.broken

    # --- what the peer wants ---

    def carry_out(self, action: Action, now: float) -> None:
        """Do what the dialect made of a frame; what only a call in progress can take is dropped where there is none."""
        live = self._side if self.stage is Stage.LIVE else None
        match action:
            case Finalize(channel, marker) if live is not None:
                live.finalize(channel, marker)
            case Dtmf(channel, digit) if live is not None:
                live.dtmf(channel, digit)
            case Pause(paused) if live is not None:
                live.pause(paused=paused)
            case End(reason):
                self.end(reason, now)
            case Open():
                self._open(action, now)
            case Resume():
                self._rejoin(action, now)
            case Watch(call):
                self._watching.watch(call, now)
            case Follow():
                self._watching.follow(now)
            case _:
                pass

    def take_audio(self, audio: Audio, now: float) -> None:
        """Add audio to the call; it is dropped where none is in progress."""
        side = self._side
        if side is None or self.stage is not Stage.LIVE or side.audio(audio, now):
            return
        limit = self._limits
        self.trouble(
            Ill.TOO_FAST,
            f"after {limit.catch_up_s:g} s at once audio may come at {limit.speed:g} times real time; send slower",
            now,
        )

    def _open(self, asked: Open, now: float) -> None:
        spec, services = asked.spec, self._services
        joint = services.joining.find(spec.call) if asked.channel is not None else None
        if joint is not None and asked.channel is not None and joint.fits(spec, asked.channel):
            self._join(joint, asked.channel, now)
            return
        decision = services.admission.decide(spec, now)
        if isinstance(decision, Refused):
            self._refuse(decision, now, lonely=asked.channel is not None and joint is None)
            return
        services.metrics.admission.labels("accepted", "").inc()
        token = new_token() if asked.resumable and self._limits.resume_s else None
        spec = dataclasses.replace(
            spec,
            protocol=self._dialect.name,
            opened_at=services.wall_clock(),
            resume_s=self._limits.resume_s if token else 0.0,
            kept=True,
        )
        feed = self._feed(spec, decision.slot, now)
        if asked.channel is not None:
            self._side = self._part = services.joining.open(feed, asked.channel, now, keep_s=self._limits.resume_s)
        services.directory.place(spec, decision.slot, hash_of(token) if token else "")
        self._seat.listen(spec.call)
        self._seat.move(Stage.LIVE, now)
        log.info("call.opened", call=spec.call, tenant=spec.tenant, protocol=self._dialect.name, slot=decision.slot)
        self._carrier.tell(Opened(spec, token), now)

    def _refuse(self, refused: Refused, now: float, *, lonely: bool) -> None:
        """Say that there is no place for the call; a channel that is alone here may be at the wrong gateway."""
        self._services.metrics.admission.labels("refused", refused.code).inc()
        elsewhere = lonely and refused.code == Ill.DUPLICATE_CALL and self._services.shared
        message = ELSEWHERE if elsewhere else refused.message
        self.trouble(Ill(refused.code), message, now, refused.retry_after_s)

    def _join(self, joint: Joint, channel: int, now: float) -> None:
        """Be one more channel of a call that another connection opened."""
        self._seat.feed, self._joined = joint.feed, True
        self._side = self._part = joint.take(channel)
        spec = joint.feed.spec
        self._seat.listen(spec.call)
        self._seat.move(Stage.LIVE, now)
        log.info("call.joined", call=spec.call, tenant=spec.tenant, protocol=self._dialect.name, channel=channel)
        self._carrier.tell(Opened(spec), now)
        self._seat.hear(self._services.delivery.so_far(spec.call))

    def _rejoin(self, asked: Resume, now: float) -> None:
        place = self._resuming.rejoin(asked, now)
        if place is not None:
            self._feed(place.spec, place.slot, now, secrets.token_hex())

    def _feed(self, spec: CallSpec, slot: int, now: float, nonce: str | None = None) -> CallFeed:
        feed = self._seat.feed = self._side = CallFeed(self._services.log, spec, slot, self._limits, now, nonce=nonce)
        self._carrier.start(feed.run(), "connection-feed")
        return feed

    # --- what the log says ---

    def hear(self, event: OutRecord | Partial | Followed | Appeared, now: float) -> None:
        """Take what is said of the call, or of the calls that are followed."""
        match event:
            case Final():
                self._finals += 1
            case Partial() if self.feed is not None and self.stage is Stage.LIVE:
                behind = max(0.0, self.feed.received_s - event.end)
                self._services.metrics.partial_latency.labels(event.model).observe(behind)
            case _:
                pass
        if isinstance(event, Resumed) and self.feed is not None:
            self._resuming.handed_over(self.feed, event, now)
        elif self.stage is not Stage.HELD:
            self._pass_on(event, now)
        elif isinstance(event, CallClosed):
            self._resuming.release(event.reason)

    def _pass_on(self, event: OutRecord | Partial | Followed | Appeared, now: float) -> None:
        if isinstance(event, CallClosed):
            self._ack(now)
            self._over(event)
        if isinstance(event, CallClosed) and event.reason == INTERNAL and self.feed is not None:
            self.trouble(Ill.INTERNAL, "the call could not be served any further; start another one", now)
        else:
            self._carrier.tell(event, now)

    def _over(self, closed: CallClosed) -> None:
        """Note that whoever serves the call ended it, by itself or as we asked."""
        if self.feed is not None and not self.feed.ended:
            self.feed.ended = True
            self._seat.reason = closed.reason

    def _ack(self, now: float) -> None:
        upto = self.feed.acked() if self.feed is not None else 0.0
        if upto:
            self._acked_at = now
            self._carrier.tell(Acked(upto), now)

    def tell_of_the_log(self, now: float, *, away: bool) -> None:
        """Tell the peer that the log is away, or back."""
        if self.feed is not None and self.stage is Stage.LIVE:
            news = QualityChanged(STANDING, self.feed.spec.call, "", LOG_AWAY if away else LOG_BACK)
            self._carrier.tell(news, now)

    def keep(self, now: float) -> bool:
        """Keep the call of a peer that is gone, where it may come back; return whether it does."""
        return self._resuming.keep(now)

    # --- time and trouble ---

    def pulse(self, now: float) -> None:
        """Do what is due."""
        if self.feed is not None and not self._joined:
            self.feed.pulse(now)
            if self._part is not None:
                self._part.joint.pulse(now)
            if now - self._acked_at >= self._limits.ack_s and self.stage is not Stage.HELD:
                self._ack(now)
        if self._part is not None and self.stage is Stage.ENDING and not self._part.joint.over.is_set():
            self._watchdog.enter(Stage.ENDING, now)  # others go on with the call, so its last finals are not late yet
        overdue = self._watchdog.overdue(now)
        if overdue is not None:
            self._late(overdue, now)

    def _late(self, overdue: Overdue, now: float) -> None:
        match overdue:
            case Overdue.START:
                self.trouble(Ill.START_TIMEOUT, f"nothing started a call within {self._start_s:g} s", now)
            case Overdue.FRAMES:
                self.trouble(Ill.IDLE, f"neither audio nor keepalive for {self._idle_s:g} s", now)
            case Overdue.ANSWER if self.feed is not None:
                self.feed.ask_again(secrets.token_hex())
            case Overdue.HANDOVER:
                self.trouble(Ill.OVERLOADED, "nobody serves the call at the moment; resume it again", now, 1.0)
            case Overdue.PEER:
                self._resuming.give_up(now)
            case Overdue.FINALS:
                late_s = self._limits.closing_s
                self.trouble(Ill.INTERNAL, f"the last finals did not come within {late_s:g} s", now)
            case _:
                pass

    def drain(self, now: float) -> None:
        """Send the peer elsewhere; what was heard is still finished, here or where the call goes on."""
        if self._part is not None and not self._joined:
            self._part.joint.give_up()
        if not self._resuming.drain(now) and self.stage in (Stage.NEW, Stage.LIVE, Stage.WATCHING):
            self.trouble(Ill.DRAINING, "the server is about to stop; connect again", now)

    def trouble(self, ill: Ill, message: str, now: float, retry_after_s: float | None = None) -> None:
        """Tell the peer that the connection cannot go on, unless that is decided already."""
        self._seat.trouble(ill, message, now, retry_after_s)

    def fail(self) -> None:
        """Wait for nobody any more: something of ours is broken."""
        self._seat.reason = Ill.INTERNAL
        self._resuming.fail()

    # --- the end ---

    def end(self, reason: str, now: float) -> None:
        """End what the connection adds to its call, and the call if nobody else adds to it; finals may still come."""
        if self._side is None or self._side.ended:
            return
        if self._part is not None and self.lost:
            self._part.lose(now)
            if self._part.joint.kept:
                log.info("call.held", call=self.call, tenant=self._tenant, for_s=self._limits.resume_s)
        else:
            self._side.end(reason)
        self._seat.reason = reason
        if self.stage is Stage.LIVE:
            self._seat.move(Stage.ENDING, now)

    def close(self, reason: str, now: float) -> None:
        """Take it that the connection is about to be closed."""
        self.end(reason, now)
        self._seat.move(Stage.CLOSED, now)

    async def finish(self) -> None:
        """Wait, behind the connection, until the call needs this leg no more; then let its feed come to its end."""
        if self.stage is Stage.HELD:
            await self._resuming.released()
        part, feed = self._part, self.feed
        if part is not None:
            part.end(self._seat.reason)
        if feed is None or self._joined:
            return
        if part is not None:  # others may go on with the call, which this connection writes
            self._services.delivery.ignore(feed.spec.call, self._carrier.hear)
            await part.joint.over.wait()
        feed.finish()

    def leave(self) -> None:
        """Hear nothing more, and account for it all."""
        seat, feed, services = self._seat, self.feed, self._services
        seat.leave()
        self._watching.stop()
        if self._part is not None and not self._joined:
            self._part.joint.close()  # where the opener failed, the others must not go on, nor wait for room
            self._part.joint.feed.abandon()
        services.metrics.closes.labels(self._dialect.name, seat.reason).inc()
        if feed is not None and not self._joined:
            services.metrics.audio_seconds.labels(self._dialect.name).inc(feed.audio_seconds)
        log.info(
            "call.closed" if feed is not None else "connection.closed",
            call=self.call,
            tenant=self._tenant,
            protocol=self._dialect.name,
            reason=seat.reason,
            audio_s=round(feed.received_s, 3) if feed is not None else 0.0,
            chunks=feed.sequence if feed is not None else 0,
            finals=self._finals,
            open_s=round(services.clock() - self._began, 3),
        )
