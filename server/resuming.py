"""Calls that go on after their connection: another takes one over, here or at another gateway, or nobody comes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Final

import structlog
from structlog.typing import FilteringBoundLogger

from server.dialect import GoAway, Ill, Rejoined, Resume
from server.directory import Place
from server.feed import CallFeed, Handover
from server.seat import Seat
from server.watchdog import Stage
from streaming.records import CallClosed, Resumed

log: FilteringBoundLogger = structlog.get_logger()

TOKEN_BYTES: Final = 24
"""Chance in a token: nobody guesses 192 bits."""


def new_token() -> str:
    """Make what who resumes a call must show."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def hash_of(token: str) -> str:
    """Return what is remembered of a token: its SHA-256, in hex."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def may_resume(place: Place, tenant: str, token: str) -> bool:
    """Tell whether a tenant who shows a token may go on with a call."""
    return place.tenant == tenant and hmac.compare_digest(hash_of(token), place.resume_hash)


class Resuming:
    """One connection's taking a call over, and keeping its own for a peer that is gone.

    Args:
        seat: Of the connection.
        end: Ends what the connection adds to its call, for a reason.
    """

    def __init__(self, seat: Seat, end: Callable[[str, float], None]) -> None:
        self._seat = seat
        self._end = end
        self._limits = seat.services.limits
        self._released = asyncio.Event()
        self._leaving = False  # whether the peer was told to go to another gateway

    # --- a call that another connection had ---

    def rejoin(self, asked: Resume, now: float) -> Place | None:
        """Tell what a call said so far to who may go on with it.

        Returns:
            The call, if there is something to go on with: whoever serves it is to be asked for it.
        """
        seat, services, call = self._seat, self._seat.services, asked.call
        place = services.directory.find(call)
        so_far = services.delivery.so_far(call)
        known = services.directory.is_live(call) or any(isinstance(record, CallClosed) for record in so_far)
        if place is None or not known or not may_resume(place, seat.tenant, asked.token):
            services.metrics.resumes.labels("refused").inc()
            seat.trouble(Ill.UNKNOWN_CALL, "this key and token can resume no call of this id", now)
            return None
        seat.listen(call)
        seat.move(Stage.REJOINING, now)
        seat.carrier.tell(Rejoined(place.spec), now)
        seat.hear(so_far)
        return place if services.directory.is_live(call) else None

    def handed_over(self, feed: CallFeed, resumed: Resumed, now: float) -> None:
        """Begin with a call that is ours now, or stop with one that another connection has."""
        seat = self._seat
        match feed.handed_over(resumed):
            case Handover.TO_US if seat.stage is Stage.REJOINING:
                seat.services.directory.adopt(resumed.call)
                seat.services.metrics.resumes.labels("resumed").inc()
                log.info("call.resumed", call=resumed.call, tenant=seat.tenant, connection=resumed.connection)
                seat.move(Stage.LIVE, now)
                seat.carrier.tell(resumed, now)
            case Handover.FROM_US if seat.stage is Stage.HELD:
                self.release(Ill.TAKEN_OVER)
            case Handover.FROM_US:
                seat.trouble(Ill.TAKEN_OVER, "another connection has taken the call over", now)
            case _:
                pass

    # --- a call whose peer is gone ---

    def keep(self, now: float) -> bool:
        """Keep the call of a peer that is gone, where it may come back; return whether it does."""
        seat = self._seat
        if not seat.dialect.resumable or seat.stage not in (Stage.LIVE, Stage.REJOINING):
            return False
        seat.move(Stage.HELD, now)
        log.info("call.held", call=seat.call, tenant=seat.tenant, for_s=self._limits.resume_s)
        if self._leaving or seat.feed is None:
            self._go_elsewhere(now)
        return True

    def drain(self, now: float) -> bool:
        """Let the call go on at another gateway; return whether it can."""
        seat = self._seat
        if seat.stage is Stage.HELD:
            self._go_elsewhere(now)
            return True
        if not (seat.services.shared and seat.dialect.resumable and seat.stage in (Stage.LIVE, Stage.REJOINING)):
            return False
        self._leaving = True
        seat.carrier.tell(GoAway(self._limits.drain_s), now)
        return True

    def _go_elsewhere(self, now: float) -> None:
        """Nobody comes back here: end the call, unless another gateway may go on with it."""
        if not self._seat.services.shared:
            self.give_up(now)
            return
        if self._seat.feed is not None:
            self._seat.feed.let_go()
        self.release("moved")

    def give_up(self, now: float) -> None:
        """Wait for the peer no longer: end the call."""
        self._end("disconnected", now)
        self.release("disconnected")

    def release(self, reason: str) -> None:
        """Keep the call no longer: it is over, or somebody else's."""
        seat = self._seat
        if seat.feed is not None:
            seat.feed.ended = True
        seat.reason = reason
        seat.services.metrics.resumes.labels(reason).inc()
        self._released.set()

    def fail(self) -> None:
        """Keep nothing: something of ours is broken."""
        self._released.set()

    async def released(self) -> None:
        """Wait until the call is kept no longer."""
        await self._released.wait()
